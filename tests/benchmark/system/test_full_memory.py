"""Full memory is told in one sentence that says what to lower, whoever tells it."""

import re
import traceback

import pytest
import torch

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.memory import ADVICE, full_memory_told

_TORCH = (
    "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 23.68 GiB of "
    "which 1.10 GiB is free. Including non-PyTorch memory, this process has 22.5 GiB memory in use."
)
_WORKER = "DataLoader worker (pid 4711) is killed by signal: "


@pytest.mark.parametrize(
    ("error", "stage", "parts"),
    [
        (
            torch.OutOfMemoryError(_TORCH),
            "train",
            ["the GPU's memory is full (2.50 GiB more were asked for, of 23.68 GiB in all)"],
        ),
        (torch.OutOfMemoryError("?"), "train", ["full: set train.chunk", "(sampler)"]),
        (RuntimeError("CUDA error: out of memory"), "embed", ["GPU", "evaluation.batch_size"]),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"),
            "train",
            ["GPU", "train.precision: bfloat16"],
        ),
        (
            RuntimeError("StandardGpuResources: alloc fail: Cuda error: cudaMalloc error 2"),
            "evaluate",
            ["GPU", "evaluation.memory_mib", "evaluation.backend: torch-cpu"],
        ),
        (RuntimeError("CUDA error: out of memory"), "eval", ["GPU", "lower --memory, or give"]),
        (RuntimeError("CUDA error: out of memory"), "timing", ["GPU", "lower --batch or --size"]),
        (MemoryError("Unable to allocate 9.3 TiB for an array"), "evaluate", ["the machine's"]),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
            "train",
            ["the machine's memory is full", "input.size"],
        ),
        (RuntimeError(f"{_WORKER}Killed."), "train", ["the machine's memory", "train.workers"]),
        (
            RuntimeError(f"{_WORKER}Bus error. Workers may be out of shared memory"),
            "train",
            ["shared memory (/dev/shm)", "--shm-size"],
        ),
        (
            RuntimeError("unable to write to file </torch_1_2_3>: No space left on device (28)"),
            "train",
            ["shared memory (/dev/shm)"],
        ),
    ],
)
def test_full_memory_is_one_sentence_with_advice(error, stage, parts):
    with pytest.raises(BenchError) as told, full_memory_told("t/softmax/seed-0", stage):
        raise error
    assert str(told.value).startswith("t/softmax/seed-0: ")
    for part in parts:
        assert part in str(told.value)
    assert "\n" not in str(told.value)


def test_what_is_to_be_lowered_is_there():
    sections = Experiment.model_fields
    for advice in ADVICE.values():
        for section, field in re.findall(r"(train|input|evaluation)\.(\w+)", advice):
            assert field in sections[section].annotation.model_fields


@pytest.mark.parametrize("stage", ADVICE)
def test_the_machine_itself_is_no_way_out_where_its_memory_is_full(stage):
    with pytest.raises(BenchError) as told, full_memory_told("x", stage):
        raise MemoryError("Unable to allocate 9.3 TiB for an array")
    assert "cpu" not in str(told.value)


@pytest.mark.parametrize("error", [RuntimeError("sizes differ"), OSError(28, "No space left")])
def test_other_errors_stay_what_they_are(error):
    with pytest.raises(type(error)) as told, full_memory_told("t", "train"):
        raise error
    assert told.value is error


def test_what_the_failed_code_held_is_let_go():
    def fails():
        held = torch.zeros(8)
        raise torch.OutOfMemoryError(str(len(held)))

    with pytest.raises(BenchError) as told, full_memory_told("t", "train"):
        fails()
    frames = [
        frame.f_locals for frame, _ in traceback.walk_tb(told.value.__context__.__traceback__)
    ]
    assert not any("held" in names for names in frames)
