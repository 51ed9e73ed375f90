"""Named tensors in files: what many files have in common is on the disk once."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from stt_bench.benchmark.system.atomic import (
    link_atomically,
    remove_leftovers,
    remove_unlinked,
    write_atomically,
)
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.files import sha256_of

FROZEN = "frozen.safetensors"
_KEY = "frozen_sha256"  # in the header of the file beside


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], frozen: Collection[str], folder: Path
) -> str:
    """Write tensors as safetensors; return the sha256 of the file.

    Those named in `frozen` lie beside it, in ``frozen.safetensors``, whose sha256 is in the header
    of the file. It is a hard link to the file in `folder` that holds the same bytes, where the
    file system has links; so a run's folder is whole, and an equal frozen part takes no more room.
    """
    apart = {name: tensors[name] for name in frozen}
    header = None
    if apart:
        content = safetensors.torch.save(apart)
        header = {_KEY: hashlib.sha256(content).hexdigest()}
        _write_once(path.with_name(FROZEN), content, folder / f"{header[_KEY]}.safetensors")
    own = {name: tensor for name, tensor in tensors.items() if name not in apart}
    content = safetensors.torch.save(own, header)
    write_atomically(path, lambda stream: stream.write(content))
    return hashlib.sha256(content).hexdigest()


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file, with those that lie beside it.

    Raises:
        BenchError: the file beside is gone, or another.
        safetensors.SafetensorError: the file holds no tensors.
    """
    check_frozen(path)
    tensors: dict[str, Tensor] = safetensors.torch.load_file(path)
    if _frozen_sha256(path) is not None:
        tensors |= safetensors.torch.load_file(path.with_name(FROZEN))
    return tensors


def check_frozen(path: Path) -> None:
    """Raise BenchError where tensors of a file should lie beside it, and do not."""
    beside, sha256 = path.with_name(FROZEN), _frozen_sha256(path)
    if sha256 is None:
        return
    if not beside.is_file():
        raise BenchError(
            f"{beside} is gone, which holds the frozen part of {path}: copy it back, or train "
            "again with --force"
        )
    if sha256_of(beside) != sha256:
        raise BenchError(f"{beside} is not what training wrote; train again with --force")


def whole_sha256(path: Path) -> str:
    """Return the sha256 of a file that would hold all its tensors itself."""
    if _frozen_sha256(path) is None:
        return sha256_of(path)
    return hashlib.sha256(safetensors.torch.save(read_tensors(path))).hexdigest()


def _frozen_sha256(path: Path) -> str | None:
    try:
        with safe_open(path, "pt") as file:
            return (file.metadata() or {}).get(_KEY)
    except SafetensorError:  # which whoever reads the tensors tells
        return None


def _write_once(path: Path, content: bytes, common: Path) -> None:
    """Write content to a path and make `common` another name of the file, or the reverse."""
    remove_leftovers(common.parent)
    if not (_holds(common, content) and link_atomically(path, common)):
        write_atomically(path, lambda stream: stream.write(content))
        with suppress(OSError):
            common.parent.mkdir(exist_ok=True)
        link_atomically(common, path)  # unless the file system has no links
    remove_unlinked(common.parent, common)  # whose runs are all gone


def _holds(common: Path, content: bytes) -> bool:
    try:
        return common.stat().st_size == len(content) and sha256_of(common) == common.stem
    except OSError:  # it is not there, or is removed by another process
        return False
