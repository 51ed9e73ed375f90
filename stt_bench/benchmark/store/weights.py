"""The two files of a network: the checkpoint of an unfinished training, and the final weights."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from pydantic import Field, FiniteFloat
from safetensors import SafetensorError
from torch import Tensor, nn

from stt_bench.benchmark.store.facts import Origin
from stt_bench.benchmark.system.atomic import write_atomically
from stt_bench.benchmark.system.errors import BenchError, NewerError
from stt_bench.benchmark.system.files import sha256_of


class Checkpoint(Origin):
    """All that a later process needs to continue a training."""

    step: int = Field(ge=0)
    seconds: FiniteFloat = Field(ge=0)
    collapsed_at: int | None
    terms: dict[int, float] = Field(default_factory=dict)
    network: dict[str, Any]
    objective: dict[str, Any]
    optimizer: dict[str, Any]
    scaler: dict[str, Any]
    best: dict[str, Any] | None = None
    average: list[Any] | None = None  # of the weights that train, in the optimiser's order
    probe: dict[str, FiniteFloat] | None = None  # of the code that began the training


def write_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write all that a later process needs to continue."""
    content = io.BytesIO()  # torch tells a full disk as a fault of its own
    torch.save(dict(state), content)
    write_atomically(path, lambda stream: stream.write(content.getbuffer()))


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint whose bytes are those that were written.

    Raises:
        BenchError: it is damaged, if by a single bit, or no checkpoint of a training.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip() is not None  # torch itself compares no checksums
        state = {} if damaged else torch.load(path, map_location="cpu", weights_only=True)
        unknown = sorted(state.keys() - Checkpoint.model_fields.keys())
        if not unknown:
            return Checkpoint.model_validate(state)
    except Exception:  # torch and zipfile raise many kinds for a damaged file
        raise BenchError(damaged_checkpoint(path)) from None
    raise NewerError(
        f"{path}: was written by a newer stt-bench (it has '{unknown[0]}'): use that one, or train "
        "again with --force"
    )


def damaged_checkpoint(path: Path) -> str:
    """Say that a checkpoint is damaged, and how to fix it."""
    return f"{path} is damaged; train again with --force"


def write_weights(path: Path, modules: Mapping[str, nn.Module]) -> str:
    """Write the weights of named modules as safetensors; return the sha256 of the file."""
    tensors = {
        f"{part}.{name}": tensor.detach().cpu().contiguous()
        for part, module in modules.items()
        for name, tensor in module.state_dict().items()
    }
    content = safetensors.torch.save(tensors)
    write_atomically(path, lambda stream: stream.write(content))
    return sha256_of(path)


def check_weights(path: Path, sha256: str) -> None:
    """Check that the weights are those that training wrote.

    Raises:
        BenchError: they are not.
    """
    if sha256_of(path) != sha256:
        raise BenchError(_not_ours(path))


def read_weights(path: Path, sha256: str, modules: Mapping[str, nn.Module]) -> None:
    """Give named modules the weights that training wrote for them.

    Raises:
        BenchError: the file is not what training wrote.
    """
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise BenchError(_not_ours(path))
    try:
        tensors: dict[str, Tensor] = safetensors.torch.load(content)
        for part, module in modules.items():
            prefix = f"{part}."
            module.load_state_dict(
                {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
            )
    except (RuntimeError, SafetensorError):
        raise BenchError(
            f"{path} does not fit the network of its run.json; train again with --force"
        ) from None


def _not_ours(path: Path) -> str:
    return f"{path} is not what training wrote; train again with --force"
