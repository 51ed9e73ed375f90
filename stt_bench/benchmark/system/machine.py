"""What an experiment runs on: threads, seeds, memory, versions."""

from __future__ import annotations

import os
import platform
import re
import resource
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path

import torch
import torch.utils.deterministic

from stt_bench import __version__
from stt_bench.benchmark.system.devices import set_float32
from stt_bench.benchmark.system.freed_memory import (
    give_back_freed_memory,
    keep_freed_memory,
)
from stt_bench.benchmark.system.resources import SHARE

_DEFAULT_THREADS = torch.get_num_threads()
_PACKAGE = Path(__file__).resolve().parents[2]
_PACKAGES = ("torch", "torchvision", "timm", "numpy", "scikit-learn", "pandas")


def make_deterministic(threads: int | None, *, tf32: bool = False) -> None:
    """Make the same seed give the same bytes: fixed threads, deterministic kernels.

    float32 is what its name says on every device, unless `tf32` is asked for. Memory that is freed
    is kept for the next step, as `keep_freed_memory` says.
    """
    set_float32(tf32=tf32)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # The same switch as use_deterministic_algorithms, which would import the compiler (seconds).
    torch.set_deterministic_debug_mode("warn")
    # It would fill all new memory with NaN first, for those who look for reads of it.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    torch.set_num_threads(threads or _DEFAULT_THREADS)
    keep_freed_memory()


def share_threads(among: int, *, cores: int | None = None) -> None:
    """Leave this process its part of threads and memory, where `among` work side by side.

    A number of threads that a config sets (`train.threads`) stays what it is.

    Args:
        among: so many processes.
        cores: of the machine; None: as many as torch has threads before this is called.
    """
    os.environ[SHARE] = str(among)
    global _DEFAULT_THREADS
    _DEFAULT_THREADS = max(1, (cores or _DEFAULT_THREADS) // among)
    torch.set_num_threads(_DEFAULT_THREADS)


def seed_torch(seed: int, step: int, chunk: int = 0) -> None:
    """Seed torch for one step, so that a resumed run draws what an uninterrupted one would.

    The chunks of a batch that is encoded in parts, from 0, draw each its own.
    """
    number = (seed * 1_000_003 + step + chunk * 0x9E3779B97F4A7C15) % 2**63
    torch.default_generator.manual_seed(number)
    if torch.cuda.is_initialized():  # else nothing is drawn on a GPU before the next seed
        torch.cuda.manual_seed_all(number)


def restart_peak_memory(device: torch.device) -> None:
    """Start measuring peak memory afresh."""
    if device.type == "cuda":
        torch.cuda.init()  # without which a GPU of any number is refused
        torch.cuda.reset_peak_memory_stats(device)
        return
    give_back_freed_memory()  # which would count to what comes
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return  # not Linux: the peak of the whole process is reported


def peak_memory_mib(device: torch.device) -> float:
    """Return the peak since `restart_peak_memory`: of the GPU's memory, or of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
    except OSError:
        pass
    unit = 1 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


@cache
def versions() -> dict[str, str]:
    """Return the versions a result depends on."""
    found = {"stt-bench": __version__, "python": platform.python_version()}
    for package in (*_PACKAGES, "faiss-cpu", "faiss-gpu"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


@cache
def commit() -> str | None:
    """Return the git commit of the source tree this runs from; None where it is no checkout.

    ``+changes`` follows where the package's code is not that of the commit, new files included.
    """
    head = _git("rev-parse", "HEAD")
    if head is None:
        return None
    changes = _git("status", "--porcelain", "--", _PACKAGE.name)
    return head if changes == "" else f"{head}+changes"


def same_code(one: str | None, other: str | None) -> bool:
    """Tell whether the package's code is the same at two commits, by the source tree's history.

    The tables are no code. False where it cannot be told: without a checkout that has both, or of
    code with changes.
    """
    if not all(re.fullmatch(r"[0-9a-f]{40,64}", commit or "") for commit in (one, other)):
        return False
    tables = [f":!{_PACKAGE.name}/{name}" for name in ("configs", "table.schema.json")]
    return one == other or (
        _git("diff", "--quiet", str(one), str(other), "--", _PACKAGE.name, *tables) is not None
    )


def _git(*arguments: str) -> str | None:
    """Return what git says of the source tree, or None where there is no checkout or no git."""
    if not (_PACKAGE.parent / ".git").exists():
        return None
    command = ["git", "--no-optional-locks", *arguments]
    try:
        done = subprocess.run(
            command, cwd=_PACKAGE.parent, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
