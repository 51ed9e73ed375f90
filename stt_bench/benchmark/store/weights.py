"""The two files of a network: the checkpoint of an unfinished training, and the final weights."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.files import sha256_of, write_atomically


def write_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write all that a later process needs to continue."""
    content = io.BytesIO()  # torch tells a full disk as a fault of its own
    torch.save(dict(state), content)
    write_atomically(path, lambda stream: stream.write(content.getbuffer()))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint.

    Raises:
        BenchError: it is damaged.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # torch raises many kinds for a damaged file
        raise BenchError(f"{path} is damaged; add --force to train again from the start") from None
    return state


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
        raise BenchError(f"{path} is not what training wrote; add --force to train again")


def read_weights(path: Path, sha256: str, modules: Mapping[str, nn.Module]) -> None:
    """Give named modules the weights that training wrote for them.

    Raises:
        BenchError: the file is not what training wrote.
    """
    check_weights(path, sha256)
    tensors: dict[str, Tensor] = safetensors.torch.load(path.read_bytes())
    for part, module in modules.items():
        prefix = f"{part}."
        module.load_state_dict(
            {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
        )
