"""Memory that is full, told in one sentence with what to lower: the GPU's, the machine's, /dev/shm.

Libraries tell it in many ways: torch's own error, texts of cuBLAS, cuDNN and FAISS, a `MemoryError`
of NumPy, and worker processes that are killed.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from stt_bench.benchmark.system.errors import BenchError

Stage = Literal["train", "embed", "evaluate", "eval", "timing", "compare"]
"""What is done with the settings of a table; the last three with the options of a command."""

ADVICE: dict[Stage, str] = {
    "train": "set train.chunk (images encoded at once), lower the images of a batch (sampler) or "
    "input.size, or set train.precision: bfloat16",
    "embed": "lower evaluation.batch_size or input.size",
    "evaluate": "lower evaluation.memory_mib (`eval`: --memory)",
    "eval": "lower --memory",
    "timing": "lower --batch or --size, or name fewer --losses",
    "compare": "give a smaller --size or --backbone, or --train head",
}
_OTHERWISE: dict[Stage, str] = {
    "evaluate": ", or set evaluation.backend: torch-cpu (`eval`: --backend)",
    "eval": ", or give --device cpu",
}
"""Where the GPU's memory alone is full."""
_OF_OPTIONS = ("eval", "timing", "compare")
_OF_A_GPU = re.compile(
    r"cuda[^.]*out of memory|out of memory[^.]*cuda|hip out of memory|_STATUS_ALLOC_FAILED"
    r"|cudaMalloc error|Failed to cudaMalloc",
    re.IGNORECASE,
)
_OF_SHARED_MEMORY = re.compile(
    r"shared memory|Bus error|unable to (write to|open|mmap|resize) .*(torch_|shm)|/dev/shm",
    re.IGNORECASE,
)
_OF_THE_MACHINE = re.compile(
    r"can't allocate memory|Cannot allocate memory|worker .*(signal: Killed|exited unexpectedly)",
    re.IGNORECASE,
)
_ASKED = re.compile(r"[Tt]ried to allocate ([0-9.]+ [KMGT]?i?B)")
_WHOLE = re.compile(r"total capacity of ([0-9.]+ [KMGT]?i?B)")


@contextmanager
def full_memory_told(what: str, stage: Stage) -> Iterator[None]:
    """Turn full memory within into a `BenchError` that says what to lower; free the GPU's cache.

    Args:
        what: names the run in the sentence.
        stage: what is done within, which decides what may be lowered.
    """
    try:
        yield
    except (RuntimeError, MemoryError, OSError) as error:
        told = of_full_memory(error, stage)
        if told is None:
            raise
        # What the failed frames hold would stay in use as long as somebody keeps the error.
        traceback.clear_frames(error.__traceback__)
        release_gpu_memory()
        raise BenchError(f"{what}: {told}") from None


def of_full_memory(error: BaseException, stage: Stage) -> str | None:
    """Return the sentence on memory that is full, or None of an error about another thing."""
    text = str(error)
    if isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and _OF_A_GPU.search(text)
    ):
        asked, whole = _ASKED.search(text), _WHOLE.search(text)
        lacked = f" ({asked[1]} more were asked for" if asked else ""
        lacked += f", of {whole[1]} in all)" if asked and whole else ")" if asked else ""
        return f"the GPU's memory is full{lacked}: {ADVICE[stage]}{_OTHERWISE.get(stage, '')}"
    if isinstance(error, RuntimeError | OSError) and _OF_SHARED_MEMORY.search(text):
        return (
            "shared memory (/dev/shm), which hands images from process to process, is full: lower "
            "train.workers (0 needs none), or give it more (docker run --shm-size 8g)"
        )
    if isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError | OSError) and _OF_THE_MACHINE.search(text)
    ):
        workers = "" if stage in _OF_OPTIONS else "; lower train.workers where it is set"
        return f"the machine's memory is full: {ADVICE[stage]}{workers}"
    return None


def release_gpu_memory() -> None:
    """Give back what torch keeps of a GPU's memory for later, so that others can have it."""
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
