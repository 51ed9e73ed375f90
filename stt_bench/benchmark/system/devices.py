"""Which device computes, why it is no GPU where one might be expected, and in which precision."""

from __future__ import annotations

import platform
import re
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch

from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.processes import processes
from stt_bench.benchmark.system.progress import Reporter

Precision = Literal["float32", "tf32", "bfloat16", "float16"]

AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}
_NVIDIA = (Path("/proc/driver/nvidia/version"), Path("/dev/nvidia0"))


def resolve_device(name: str) -> torch.device:
    """Return the torch device for ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        BenchError: there is no such device, or not here; it says why.
    """
    check_device_name(name)
    if processes().size > 1:
        return _own_device(name)
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            why = why_no_gpu() if not count else None
            raise BenchError(
                f"train.device is '{name}' but PyTorch finds {count} CUDA GPU(s)"
                + (f": {why}" if why else "")
            )
    return device


def _own_device(name: str) -> torch.device:
    """Return the device of one of several processes: the GPU of its number, or the CPU."""
    present, count = processes(), torch.cuda.device_count()
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if name.startswith("cuda:"):
        raise BenchError(
            f"train.device is '{name}', and {present.size} processes train together: set it to "
            "auto or cuda, which gives each its own GPU"
        )
    if present.local >= count:
        raise BenchError(
            f"process {present.rank} of {present.size} (from 0) finds no GPU of its own: this "
            f"machine has {count}; start as many processes as there are GPUs, or set train.device "
            "to cpu"
        )
    return torch.device("cuda", present.local)


def given_device(name: str, reporter: Reporter) -> torch.device:
    """Return the device of an option ``--device``, as `resolve_device` does; tell what it is.

    Raises:
        BenchError: there is no such device, or not here; it says why.
    """
    try:
        device = resolve_device(name)
    except BenchError as error:
        raise BenchError(str(error).replace("train.device", "--device")) from None
    tell_device(name, device, reporter, setting="--device")
    return device


def device_here(name: str, reporter: Reporter) -> torch.device:
    """Return the device of that name, or what ``auto`` is where this machine has none such.

    It is for what may follow a training on another machine: embedding and evaluation. Which one it
    is is told as `tell_device` does; that it is another one is a warning.
    """
    try:
        device = resolve_device(name)
    except BenchError as error:
        check_device_name(name)
        device = resolve_device("auto")
        reporter.once(f"{error}; the work is done on {_described(device)}", warn=True)
    else:
        tell_device(name, device, reporter)
    return device


def check_device_name(name: str) -> None:
    """Raise BenchError for a name that is no device's on any machine."""
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,2})?", name):
        raise BenchError(f"train.device '{name}' is unknown; use auto, cpu, cuda or cuda:N")


@cache
def why_no_gpu() -> str | None:
    """Return why torch finds no GPU, or None where it finds one, or there is none to be expected.

    One is expected of a torch that is built for CUDA, and of a machine with an NVIDIA driver.
    """
    if torch.cuda.is_available():
        return None
    if torch.version.cuda is None:
        if any(path.exists() for path in _NVIDIA):
            return (
                f"PyTorch {torch.__version__} is built without CUDA, and this machine has an "
                "NVIDIA GPU: install a build with CUDA to use it"
            )
        return None
    try:
        torch.cuda.init()  # which says why, each time; `is_available` warns once, or never
        told = "it sees none"
    except Exception as error:  # whatever torch and the driver say
        told = (" ".join(str(error).split()) or type(error).__name__).split(". ")[0].rstrip(".")
    return f"PyTorch {torch.__version__} is built for CUDA {torch.version.cuda}: {told}"


def tell_device(
    name: str, device: torch.device, reporter: Reporter, *, setting: str = "train.device"
) -> None:
    """Say once which device ``auto`` is here; warn where a GPU is there that cannot be used."""
    if name != "auto":
        return
    why = why_no_gpu() if device.type == "cpu" else None
    told = f"{setting}: auto is {_described(device)}" + (f" ({why})" if why else "")
    reporter.once(told, warn=why is not None and any(path.exists() for path in _NVIDIA))


def _described(device: torch.device) -> str:
    return f"{device if device.type == 'cuda' else 'the CPU'}, {device_name(device)}"


def device_name(device: torch.device) -> str:
    """Return the GPU's name, or the processor's."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def set_float32(*, tf32: bool) -> None:
    """Let a GPU take float32 convolutions and products in TF32 (10 bits of mantissa), or not.

    Not, unless it is asked for: torch's own default is TF32 in convolutions alone. On a CPU this
    changes nothing.
    """
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[Any]:
    """Return the context in which a network computes in a half precision, if it is one."""
    dtype = AUTOCAST.get(precision)
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)
