"""Which device is meant by a name, and what is said where it is not the one a user expects."""

import pytest
import torch

from stt_bench.benchmark.system import devices
from stt_bench.benchmark.system.devices import (
    device_here,
    given_device,
    resolve_device,
    set_float32,
    tell_device,
    why_no_gpu,
)
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.progress import Reporter

_OLD = (
    "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU "
    "driver by downloading and installing a new version from the URL: ..."
)


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Return a function that sets what torch and the system say of GPUs."""

    def pretend(*, gpus=0, built="12.8", error=None, driver=False):
        def init():
            if error:
                raise RuntimeError(error)

        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(torch.cuda, "init", init)
        monkeypatch.setattr(torch.version, "cuda", built)
        monkeypatch.setattr(devices, "device_name", lambda one: f"Some {one.type}")
        file = tmp_path / "version"
        file.touch() if driver else file.unlink(missing_ok=True)
        monkeypatch.setattr(devices, "_NVIDIA", (file,))
        why_no_gpu.cache_clear()

    yield pretend
    why_no_gpu.cache_clear()


def test_a_gpu_by_its_number(machine):
    machine(gpus=2)
    assert resolve_device("auto") == torch.device("cuda")
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(BenchError, match=r"'cuda:2' but PyTorch finds 2 CUDA GPU\(s\)$"):
        resolve_device("cuda:2")


def test_why_there_is_no_gpu(machine):
    machine(gpus=1)
    assert why_no_gpu() is None
    machine(built=None)
    assert why_no_gpu() is None  # neither torch nor the machine is made for one
    machine(built=None, driver=True)
    assert "is built without CUDA, and this machine has an NVIDIA GPU" in why_no_gpu()
    machine(error=_OLD, driver=True)
    assert why_no_gpu().endswith(
        "built for CUDA 12.8: The NVIDIA driver on your system is too old (found version 11040)"
    )
    with pytest.raises(BenchError, match=r"finds 0 CUDA GPU\(s\): .* driver .* is too old"):
        resolve_device("cuda")


def test_auto_says_once_what_it_is(machine, capfd):
    machine(error=_OLD, driver=True)
    reporter = Reporter(quiet=True)
    for _ in range(2):
        tell_device("auto", torch.device("cpu"), reporter)
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("warning: train.device: auto is the CPU, Some cpu (PyTorch")
    assert "too old" in line
    machine(error="Found no NVIDIA driver on your system. Please check")
    tell_device("auto", torch.device("cpu"), Reporter(quiet=True))
    assert capfd.readouterr().err == ""  # nothing is amiss: `--quiet` does not say it
    tell_device("auto", torch.device("cpu"), Reporter())
    assert "Found no NVIDIA driver on your system)" in capfd.readouterr().err
    machine(gpus=1)
    tell_device("auto", torch.device("cuda"), Reporter())
    assert capfd.readouterr().err == "train.device: auto is cuda, Some cuda\n"
    tell_device("cuda", torch.device("cuda"), Reporter())
    assert capfd.readouterr().err == ""


def test_another_device_than_the_one_that_is_named_is_a_warning_once(machine, capfd):
    machine(gpus=2)
    reporter = Reporter(quiet=True)
    assert device_here("cuda:1", reporter) == torch.device("cuda:1")
    assert capfd.readouterr().err == ""
    for _ in range(2):
        assert device_here("cuda:2", reporter) == torch.device("cuda")
    assert capfd.readouterr().err == (
        "warning: train.device is 'cuda:2' but PyTorch finds 2 CUDA GPU(s); the work is done on "
        "cuda, Some cuda\n"
    )
    machine(error=_OLD, driver=True)
    assert device_here("cuda", reporter) == torch.device("cpu")
    (line,) = capfd.readouterr().err.splitlines()
    assert "too old" in line
    assert line.endswith("; the work is done on the CPU, Some cpu")
    assert device_here("auto", reporter) == torch.device("cpu")
    assert capfd.readouterr().err.startswith("warning: train.device: auto is the CPU, Some cpu (Py")
    with pytest.raises(BenchError, match="unknown"):
        device_here("gpu", reporter)


def test_the_device_of_an_option_is_told_by_its_name(machine, capfd):
    machine(gpus=1)
    assert given_device("auto", Reporter()) == torch.device("cuda")
    assert capfd.readouterr().err == "--device: auto is cuda, Some cuda\n"
    with pytest.raises(BenchError, match=r"^--device is 'cuda:1' but PyTorch finds 1 CUDA"):
        given_device("cuda:1", Reporter())


def test_float32_is_not_tf32_unless_asked_for():
    cuda, convolution = torch.backends.cuda.matmul, torch.backends.cudnn.conv
    for asked in (True, False):
        set_float32(tf32=asked)
        assert (cuda.fp32_precision == "tf32") is asked
        assert (convolution.fp32_precision == "tf32") is asked
        # The older names, which other libraries read: torch refuses them where both disagree.
        assert (cuda.allow_tf32, torch.backends.cudnn.allow_tf32) == (asked, asked)
