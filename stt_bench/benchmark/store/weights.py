"""The two files of a network: the checkpoint of an unfinished training, and the final weights."""

from __future__ import annotations

import errno
import hashlib
import io
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from pydantic import Field, FiniteFloat
from safetensors import SafetensorError
from torch import nn

from stt_bench.benchmark.store.facts import Origin, TrainingFacts
from stt_bench.benchmark.system.atomic import write_atomically
from stt_bench.benchmark.system.errors import BenchError, NewerError
from stt_bench.benchmark.system.files import sha256_of
from stt_bench.benchmark.system.memory import of_full_memory
from stt_bench.benchmark.system.tensor_files import check_frozen, read_tensors, write_tensors


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
        BenchError: it is damaged, if by a single bit, or no checkpoint of a training; or the
            machine cannot read it now.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip() is not None  # torch itself compares no checksums
        state = {} if damaged else torch.load(path, map_location="cpu", weights_only=True)
        unknown = sorted(state.keys() - Checkpoint.model_fields.keys())
        if not unknown:
            return Checkpoint.model_validate(state)
    except Exception as error:  # torch and zipfile raise many kinds for a damaged file
        raise BenchError(unread_checkpoint(path, error)) from None
    raise NewerError(
        f"{path}: was written by a newer stt-bench (it has '{unknown[0]}'): use that one, or train "
        "again with --force"
    )


def unread_checkpoint(path: Path, error: Exception) -> str:
    """Say that a checkpoint is damaged, or that the machine is why it cannot be read."""
    if of_full_memory(error, "train") is not None:
        why = "memory is full: end what else runs there"
    elif isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
        why = str(error.strerror)
    else:  # also where a damaged file names a place before its beginning, which is EINVAL
        return f"{path} is damaged; train again with --force"
    return f"{path} cannot be read now ({why}); it is left as it is: the same command goes on"


def write_weights(
    path: Path, modules: Mapping[str, nn.Module], frozen: Collection[str], folder: Path
) -> tuple[str, str | None]:
    """Write the weights of named modules as safetensors.

    Those of `frozen` lie in a file beside it, which all runs that have the same share in `folder`.

    Returns:
        The sha256 of a file that holds them all, and that of the file where it does not.
    """
    tensors = {
        f"{part}.{name}": tensor.detach().cpu().contiguous()
        for part, module in modules.items()
        for name, tensor in module.state_dict().items()
    }
    written = write_tensors(path, tensors, frozen, folder)
    whole = hashlib.sha256(safetensors.torch.save(tensors)).hexdigest() if frozen else written
    return whole, written if frozen else None


def check_weights(path: Path, facts: TrainingFacts) -> None:
    """Check that the weights are those that training wrote.

    Raises:
        BenchError: they are not.
    """
    if sha256_of(path) != (facts.file_sha256 or facts.checkpoint_sha256):
        raise BenchError(f"{path} is not what training wrote; train again with --force")
    check_frozen(path)


def read_weights(path: Path, facts: TrainingFacts, modules: Mapping[str, nn.Module]) -> None:
    """Give named modules the weights that training wrote for them.

    Raises:
        BenchError: the file is not what training wrote.
    """
    check_weights(path, facts)
    try:
        tensors = read_tensors(path)
        for part, module in modules.items():
            prefix = f"{part}."
            module.load_state_dict(
                {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
            )
    except (RuntimeError, SafetensorError) as error:
        if of_full_memory(error, "embed") is not None:
            raise
        raise BenchError(
            f"{path} does not fit the network of its run.json; train again with --force"
        ) from None
