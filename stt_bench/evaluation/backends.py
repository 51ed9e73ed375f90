"""Which library does the coarse neighbour search, and on which device."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch

from stt_bench.evaluation.checks import check_choice

BACKENDS = ("auto", "torch-cpu", "torch-cuda", "faiss-cpu", "faiss-gpu", "dense")


def load_faiss(what: str) -> Any:
    """Return the module `faiss`, for `what` asks for it.

    Raises:
        ValueError: it is not installed, or not in order.
    """
    reason = "which is not installed"
    try:
        import faiss
    except ModuleNotFoundError as error:
        if error.name != "faiss":
            reason = f"which is broken: {_first_line(error)}"
    except Exception as error:  # whatever a broken library raises
        reason = f"which is broken: {_first_line(error)}"
    else:
        if hasattr(faiss, "IndexFlatL2"):
            return faiss
        reason = f"and {faiss.__name__} is another module here"
    raise ValueError(f"{what} needs the package faiss-cpu or faiss-gpu, {reason}.")


def faiss_gpus() -> int:
    """Return how many GPUs FAISS can use: 0 with faiss-cpu, whatever the machine holds."""
    try:
        faiss = load_faiss("The search")
        return int(faiss.get_num_gpus()) if hasattr(faiss, "StandardGpuResources") else 0
    except (ValueError, RuntimeError):
        return 0


_chosen: ContextVar[torch.device | None] = ContextVar("device", default=None)


@contextmanager
def on_device(device: str | torch.device | None) -> Iterator[None]:
    """Search and cluster on this device within, wherever nothing else is asked for by name.

    None: on a GPU where there is one. A CUDA device with a number keeps FAISS on that GPU, too.

    >>> with on_device("cpu"):
    ...     chosen_backend()
    'torch-cpu flat'
    """
    token = _chosen.set(None if device is None else torch.device(device))
    try:
        yield
    finally:
        _chosen.reset(token)


def torch_device() -> torch.device:
    """Return the device on which torch searches and clusters: that of `on_device`, or the best."""
    chosen = _chosen.get()
    if chosen is not None:
        return chosen
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def devices_of(backend: str) -> tuple[torch.device, list[int]]:
    """Return where a resolved backend has torch compute, and the GPUs that FAISS searches on."""
    device = torch_device()
    if backend == "torch-cpu":
        return torch.device("cpu"), []
    if backend == "torch-cuda" and device.type != "cuda":
        return torch.device("cuda"), []
    if backend != "faiss-gpu":
        return device, []
    return device, [*range(faiss_gpus())] if device.index is None else [device.index]


def resolve_backend(backend: str = "auto") -> str:
    """Return the backend that `backend` stands for here, or say why it is not to be had.

    `auto` is torch on the device of `on_device`: torch-cuda where there is a GPU, else torch-cpu,
    which is faster than faiss-cpu (`tests/perf/retrieval.py`). faiss-gpu, which took 2.1 s where
    torch-cuda took 1.5 s (`docs/performance.md`), is for those who ask for it.
    """
    check_choice("backend", backend, BACKENDS)
    if backend == "auto":
        return f"torch-{torch_device().type}"
    if backend.startswith("faiss"):
        load_faiss(f"backend '{backend}'")
    if backend == "faiss-gpu" and not faiss_gpus():
        raise ValueError("backend 'faiss-gpu' needs faiss-gpu and a visible GPU.")
    if backend == "torch-cuda" and not torch.cuda.is_available():
        raise ValueError("backend 'torch-cuda' needs a CUDA build of torch and a visible GPU.")
    return backend


def chosen_backend(backend: str = "auto") -> str:
    """Describe, for a log, the backend that `backend` stands for on this machine.

    The numbers do not depend on it: every backend ranks by the same exact distances.

    >>> chosen_backend("dense")
    'dense float64'
    """
    resolved = resolve_backend(backend)
    if resolved == "dense":
        return "dense float64"
    if resolved != "faiss-gpu":
        return f"{resolved} flat"
    count = len(devices_of(resolved)[1])
    return f"faiss-gpu flat ({count} GPU{'s' if count > 1 else ''})"


@contextmanager
def full_precision() -> Iterator[None]:
    """Keep matrix products from being taken in TF32 or bfloat16, which no error bound allows."""
    backends: Any = torch.backends  # mkldnn.matmul is not in its type stubs
    libraries = (backends.cuda.matmul, backends.mkldnn.matmul)
    before = [library.fp32_precision for library in libraries]
    for library in libraries:
        library.fp32_precision = "ieee"
    try:
        yield
    finally:
        for library, precision in zip(libraries, before, strict=True):
            library.fp32_precision = precision


def _first_line(error: Exception) -> str:
    """Return what an exception says, in one line of at most 200 characters."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200].rstrip(".")
