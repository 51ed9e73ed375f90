"""Whole trainings and embeddings in several processes, against one; stops, and errors of a run."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch
from forked import Ended, forked

from stt_bench.benchmark.cli.several import _follow
from stt_bench.benchmark.embedding.embed import embed, embed_split
from stt_bench.benchmark.store.runs import Run, run_of
from stt_bench.benchmark.suite import load_table
from stt_bench.benchmark.suite.one import Data
from stt_bench.benchmark.system import launch
from stt_bench.benchmark.system.errors import BenchError, TrainingStopped
from stt_bench.benchmark.system.orders import end_orders, watch
from stt_bench.benchmark.system.processes import Processes
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.system.signals import Stopped
from stt_bench.benchmark.training.train import train

QUIET = Reporter(quiet=True)
SGD = ("optimizer.name=sgd", "optimizer.lr=0.05", "train.steps=9", "train.validate_every=4")
RANDOM = ("input.crop=random", "input.resize=18", "input.flip=true", "data.validation=0.4")
RANDOM += ("sampler.p=3",)
ODD = ("sampler.name=uniform", "sampler.batch_size=7", "evaluation.batch_size=100")


def run_in(folder: Path, tiny: Path, row: str, *overrides: str) -> Run:
    return run_of(load_table(str(tiny), [*SGD, *RANDOM, *overrides], only=[row]), row, 0, folder)


def together(count: int, folder: Path, *runs: Run) -> list[str]:
    """Train and embed runs in several processes; return what the first met."""

    def work(present: Processes) -> list[str]:
        watch()
        if not present.leads:
            _follow()
            return []
        met = []
        for run in runs:
            try:
                train(run, QUIET)
                embed(run, QUIET)
            except (BenchError, TrainingStopped) as error:
                met.append(str(error))
        end_orders()
        return met

    first, *others = forked(count, folder, work)
    assert others == [[]] * (count - 1)
    return list(first)


def weights(run: Run) -> dict[str, np.ndarray]:
    return safetensors.numpy.load_file(run.weights)


def pictures(run: Run) -> list[tuple[int, bytes]]:
    """Return step and PNG of the hardest triplets in TensorBoard."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run.folder / "tensorboard"), size_guidance={"images": 0})
    events.Reload()
    tags = events.Tags()["images"]
    return [(one.step, one.encoded_image_string) for tag in tags for one in events.Images(tag)]


def assert_close(run: Run, other: Run) -> None:
    mine, wanted = weights(run), weights(other)
    for name, value in wanted.items():
        np.testing.assert_allclose(mine[name], value, rtol=1e-3, atol=2e-5, err_msg=name)


@pytest.mark.parametrize(("row", "size", "more"), [("center", 2, ()), ("two_head", 3, ODD)])
def test_a_training_is_that_of_one_process(
    tiny: Path, tmp_path: Path, row: str, size: int, more: tuple[str, ...]
) -> None:
    alone, shared = (run_in(tmp_path / name, tiny, row, *more) for name in ("one", "several"))
    train(alone, QUIET)
    assert together(size, tmp_path / "out", shared) == []
    assert_close(shared, alone)
    embed(alone, QUIET)
    mine, wanted = (np.load(one.embeddings() / "embeddings.npy") for one in (shared, alone))
    np.testing.assert_allclose(mine, wanted, rtol=0, atol=2e-6)  # as docs/cluster.md says
    assert shared.facts().processes == size
    assert "processes" not in json.loads(alone.training.read_text())
    steps = [[json.loads(one)["step"] for one in r.metrics.open()] for r in (alone, shared)]
    assert steps[0] == steps[1]
    assert pictures(shared) == pictures(alone) != []
    # The parts of the embedding together are, byte by byte, what one process makes of the weights.
    items = Data(QUIET).of(shared.experiment)
    whole = embed_split(shared, shared.facts(), items, QUIET, folder=tmp_path / "whole")
    stored = np.load(shared.embeddings() / "embeddings.npy")
    assert stored.tobytes() == np.asarray(whole.embeddings).tobytes()


def test_what_was_stopped_goes_on_with_another_number_of_processes(
    tiny: Path, tmp_path: Path, at_step: Any
) -> None:
    alone, stopped = (run_in(tmp_path / name, tiny, "hard") for name in ("one", "several"))
    train(alone, QUIET)
    with at_step(5, lambda _: os.kill(os.getpid(), signal.SIGTERM)):
        told = together(2, tmp_path / "first", stopped)
    assert told == ["tiny/hard/seed-0 stopped at step 6"]
    assert stopped.checkpoint.exists()
    assert together(3, tmp_path / "then", stopped) == []
    assert_close(stopped, alone)


def test_where_the_first_process_is_stopped_before_a_step_none_waits_for_it(
    tiny: Path, tmp_path: Path
) -> None:
    run = run_in(tmp_path / "runs", tiny, "hard")

    class Signalled(Reporter):
        def bar(self, description: str, *args: Any, **options: Any) -> Any:
            if "check train" in description:  # the other process waits until that is done
                signal.raise_signal(signal.SIGTERM)
            return super().bar(description, *args, **options)

    def work(present: Processes) -> str:
        watch()
        if not present.leads:
            _follow()
        try:
            train(run, Signalled(quiet=True))
        except Stopped as stopped:
            return str(stopped)
        finally:
            end_orders()
        return "trained"

    assert forked(2, tmp_path / "out", work) == ["SIGTERM", Ended(130)]


def test_a_run_that_fails_in_all_processes_leaves_the_next_to_them(
    tiny: Path, tmp_path: Path
) -> None:
    diverges = run_in(tmp_path / "runs", tiny, "hard", "optimizer.lr=1e6")
    small = run_in(
        tmp_path / "small", tiny, "softmax", "sampler.name=uniform", "sampler.batch_size=1"
    )
    good = run_in(tmp_path / "good", tiny, "softmax")
    met = together(2, tmp_path / "out", diverges, small, good)
    assert len(met) == 2
    assert "not finite" in met[0] or "is nan" in met[0] or "is inf" in met[0]
    assert "batches of 1 images cannot be shared among 2 processes" in met[1]
    assert good.is_trained


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA GPUs")
def test_two_gpus_train_as_one(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch.logging, "disable", lambda _: None)
    alone, shared = (run_in(tmp_path / name, tiny, "center") for name in ("one", "several"))
    train(alone, QUIET)
    settings = [part for one in (*SGD, *RANDOM) for part in ("--set", one)]
    where = ["--runs", str(tmp_path / "several"), "--results", str(tmp_path / "results")]
    assert launch.torchrun(2, ["train", str(tiny), "--row", "center", *settings, *where]) == 0
    assert shared.facts().processes == 2
    for name, value in weights(alone).items():
        np.testing.assert_allclose(weights(shared)[name], value, rtol=1e-2, atol=1e-3)
