"""A run stays on the device that it is given, from training to its record: on pretended GPUs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import Command
from pretend_cuda import OnGpu, pretended_gpus

from stt_bench.benchmark.datasets import load_items
from stt_bench.benchmark.embedding.embed import embed
from stt_bench.benchmark.scoring import clustering
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


def test_each_command_tells_the_device_and_warns_where_it_is_not_the_runs(
    tiny: Path, tmp_path: Path, stt_bench: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    runs, results = ("--runs", tmp_path / "runs"), ("--results", tmp_path / "results")
    folder = tmp_path / "runs/tiny/hard/seed-0"

    def told(*command: object) -> list[str]:
        done = stt_bench(*command)
        assert done.returncode == 0, done.stderr
        return [line for line in done.stderr.splitlines() if "device" in line]

    quick = ("--set", "train.steps=4", "--set", "evaluation.clustering=false")
    (line,) = told("run", tiny, "--rows", "hard", *quick, *runs, *results)
    assert line.startswith("train.device: auto is the CPU, ")
    commands = [("embed", folder, "--force"), ("eval", folder, *results)]
    commands += [("eval", folder, "--metrics", "map", *results)]
    for command in (*commands, ("verify", "tiny/hard/seed-0", *runs, *results)):
        assert told(*command) == [line]
    settings = folder / "run.json"
    settings.write_text(settings.read_text().replace('"device": "auto"', '"device": "cuda:3"'))
    frame = load_items(load_table(str(tiny)).rows["hard"].data).frame
    item = frame.loc[frame["split"] == "test", "path"].iloc[0]
    shown = ("neighbors", folder, item, "--k", 2)  # which embeds the items, and then the image
    for command in (*commands[:2], shown):
        if command is shown:
            shutil.rmtree(folder / "embeddings")
        (warning,) = told(*command, "--quiet")
        assert warning.startswith("warning: train.device is 'cuda:3' but PyTorch finds 0 CUDA GPU")
        assert "; the work is done on the CPU, " in warning


def test_anybodys_embeddings_are_searched_and_clustered_on_the_device_that_is_given(
    tmp_path: Path, stt_bench: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = tmp_path / "x.npy", tmp_path / "y.csv"
    np.save(x, np.random.default_rng(0).normal(size=(24, 4)))
    y.write_text("\n".join("abcdef" * 4))
    given = ("eval", "--embeddings", x, "--labels", y)
    found = {}
    used = {"cpu": set(), "cuda:1": {"cuda:1"}, "auto": {"cuda", "cuda:0"}}
    with pretended_gpus(2) as seen:
        for device, wanted in used.items():
            seen.forget()
            done = stt_bench(*given, "--device", device)
            found[device] = json.loads(done.stdout)
            assert {line.split()[0] for line in seen.devices} == wanted
            said = "--device: auto is cuda, Pretended GPU\n" in done.stderr
            assert said is (device == "auto")
        assert any("kmeans.py" in line for line in seen.devices)
        done = stt_bench(*given, "--device", "cuda:2")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("error: --device is 'cuda:2' but PyTorch finds 2 CUDA GPU(s)")
    retrieval = [{k: v for k, v in one.items() if "mi" not in k} for one in found.values()]
    assert retrieval[0] == retrieval[1] == retrieval[2]
    refused = stt_bench("eval", tmp_path, "--device", "cpu")
    assert "--device needs --embeddings" in refused.stderr

    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(clustering, "clustering_metrics", full)
    done = stt_bench(*given, "--device", "cpu", "--quiet")
    assert done.stderr == (
        f"error: {x}: the GPU's memory is full: lower --memory, or give --device cpu\n"
    )


@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
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
        assert not seen.waits
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
