"""Which library does the coarse neighbour search, and the flat index it searches with."""

from types import ModuleType
from typing import Any

from evaluation.checks import check_choice

BACKENDS = ("auto", "faiss-cpu", "faiss-gpu", "dense")

# FAISS refuses to select more neighbours than this on a GPU.
GPU_MAX_NEIGHBOURS = 2048


def import_faiss() -> ModuleType | None:
    """Return the module ``faiss``, or None where neither faiss-cpu nor faiss-gpu is installed."""
    try:
        import faiss
    except ModuleNotFoundError:
        return None
    return faiss


def faiss_gpus() -> int:
    """Return how many GPUs FAISS can use: 0 with faiss-cpu, whatever the machine holds."""
    faiss = import_faiss()
    if faiss is None or not hasattr(faiss, "StandardGpuResources"):
        return 0
    return int(faiss.get_num_gpus())


def resolve_backend(backend: str = "auto") -> str:
    """Return the backend that ``backend`` stands for here, or say why it is not to be had."""
    check_choice("backend", backend, BACKENDS)
    if backend == "dense":
        return backend
    if import_faiss() is None:
        if backend == "auto":
            return "dense"
        raise ValueError(f"backend '{backend}' needs the package faiss-cpu or faiss-gpu.")
    if backend == "faiss-gpu" and not faiss_gpus():
        raise ValueError("backend 'faiss-gpu' needs faiss-gpu and a visible GPU.")
    if backend == "auto":
        return "faiss-gpu" if faiss_gpus() else "faiss-cpu"
    return backend


def chosen_backend(backend: str = "auto") -> str:
    """Describe, for a log, the backend that ``backend`` stands for on this machine.

    The numbers do not depend on it: every backend ranks by the same exact distances.

    >>> chosen_backend("dense")
    'dense float64'
    """
    resolved = resolve_backend(backend)
    if resolved == "dense":
        return "dense float64"
    if resolved == "faiss-cpu":
        return "faiss-cpu flat"
    count = faiss_gpus()
    return f"faiss-gpu flat ({count} GPU{'s' if count > 1 else ''})"


def flat_index(dimension: int, inner_product: bool, backend: str) -> Any:
    """Return an empty FAISS index that compares with every stored row."""
    faiss = import_faiss()
    assert faiss is not None, "resolve_backend comes first"
    index = faiss.IndexFlatIP(dimension) if inner_product else faiss.IndexFlatL2(dimension)
    return faiss.index_cpu_to_all_gpus(index) if backend == "faiss-gpu" else index
