"""A run stays on the device that it is given, from training to its record: on pretended GPUs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pretend_cuda import OnGpu, pretended_gpus

from stt_bench.benchmark.datasets import load_items
from stt_bench.benchmark.embedding.embed import embed
from stt_bench.benchmark.scoring.evaluate import evaluate
from stt_bench.benchmark.store.embedding_set import read_embedding_set
from stt_bench.benchmark.store.runs import Run, run_of
from stt_bench.benchmark.suite import load_table
from stt_bench.benchmark.system.machine import peak_memory_mib, restart_peak_memory
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.training.learner import Learner
from stt_bench.benchmark.training.step import take_step
from stt_bench.benchmark.training.train import train

QUIET = Reporter(quiet=True)
_SHORT = ["train.steps=4", "train.log_every=2", "data.validation=0.4", "train.validate_every=2"]
_SHORT += ["data.task=retrieval", "sampler.p=3"]
_SHORT += ["optimizer.name=sgd"]  # Adam makes whole steps of what is rounding alone


def _whole_run(table: Path, folder: Path, device: str, *more: str) -> tuple[Run, dict[str, float]]:
    settings = [*_SHORT, f"train.device={device}", *more]
    run = run_of(load_table(str(table), settings), "two_head", 0, folder / "runs")
    train(run, QUIET)
    embed(run, QUIET)
    return run, evaluate(run, folder / "results", QUIET).metrics


def test_a_run_uses_the_device_it_is_given_and_no_other(tiny: Path, tmp_path: Path) -> None:
    with pretended_gpus(2) as seen:
        plain, expected = _whole_run(tiny, tmp_path / "cpu", "cpu")
        assert not seen.devices
        run, found = _whole_run(tiny, tmp_path / "gpu", "cuda:1")
        assert not [line for line in seen.devices if not line.startswith("cuda:1 ")]
    # The images of training and validation, the search, and k-means:
    for place in ("datasets/transfer.py", "evaluation/coarse.py", "evaluation/kmeans.py"):
        assert any(place in line for line in seen.devices)
    facts = json.loads(run.training.read_text())
    assert (facts["device"], facts["peak_memory_mib"]) == ("Pretended GPU", 123.0)
    near = [read_embedding_set(one.embeddings("test")).embeddings for one in (run, plain)]
    np.testing.assert_allclose(*near, atol=1e-5)
    assert found["recall@1"] == pytest.approx(expected["recall@1"], abs=0.05)


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("row", ["softmax", "hard", "two_head", "center"])
def test_a_step_never_waits(tiny: Path, row: str, precision: str) -> None:
    experiment = load_table(str(tiny), [f"train.precision={precision}"]).rows[row]
    items = load_items(experiment.data)
    images = torch.randint(0, 256, (16, 1, 16, 16), dtype=torch.uint8)
    with pretended_gpus() as seen:
        learner = Learner(experiment, items, torch.device("cuda"))
        images, labels = images.to("cuda"), (torch.arange(16) // 4).to("cuda")
        seen.forget()
        step = take_step(learner, experiment, 0, 0, images, labels)
        waits = set(seen.waits)
        if precision == "float16":  # torch's scaler asks whether the gradients are finite
            waits = {why for why in waits if "training/step.py" not in why}
        assert not waits
        assert isinstance(step.loss, OnGpu)


def test_peak_memory_of_a_gpu_by_its_number_before_cuda_has_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Torch's own functions: its allocator refuses a number until something has started CUDA."""
    started = []

    def allocator(_: int) -> None:
        assert started, "invalid device argument: did you call init?"

    monkeypatch.setattr(torch.cuda, "init", lambda: started.append(True))
    monkeypatch.setattr(torch._C, "_cuda_resetPeakMemoryStats", allocator, raising=False)
    for name in ("cuda", "cuda:1"):
        started.clear()
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
        restart_peak_memory(torch.device(name))
        assert started
    with pretended_gpus(2):
        assert peak_memory_mib(torch.device("cuda:1")) == 123
