"""Training: determinism, resuming, schedules, weight decay, the two heads, health."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from pretend_cuda import pretended_gpus

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.config.loss_sections import LossConfig
from stt_bench.benchmark.config.sections import DataConfig, OptimizerConfig, TrainConfig
from stt_bench.benchmark.store.runs import Run, open_run, run_of
from stt_bench.benchmark.suite import load_table
from stt_bench.benchmark.system.errors import BenchError, TrainingStopped
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.system.signals import Stopped
from stt_bench.benchmark.training import loop
from stt_bench.benchmark.training.learner import new_model
from stt_bench.benchmark.training.objective import Objective
from stt_bench.benchmark.training.optimization import build_optimizer, learning_rate_factor
from stt_bench.benchmark.training.train import train

QUIET = Reporter(quiet=True)


def make_run(config: Path, row: str, runs: Path, *overrides: str, seed: int = 0) -> Run:
    return run_of(load_table(str(config), overrides), row, seed, runs)


def trained(run: Run) -> bytes:
    train(run, QUIET)
    return run.weights.read_bytes()


@pytest.mark.parametrize("row", ["softmax", "hard", "two_head", "center"])
def test_same_seed_same_bytes_another_seed_others(tiny: Path, tmp_path: Path, row: str) -> None:
    first = trained(make_run(tiny, row, tmp_path / "a"))
    assert trained(make_run(tiny, row, tmp_path / "b")) == first
    assert trained(make_run(tiny, row, tmp_path / "c", seed=1)) != first


@pytest.mark.parametrize("row", ["hard", "center"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_stopped_run_ends_in_the_same_bytes(
    tiny: Path, tmp_path: Path, row: str, optimizer: str, killed_at: Any
) -> None:
    settings = [f"optimizer.name={optimizer}", "optimizer.schedule=cosine"]
    whole = make_run(tiny, row, tmp_path / "whole", *settings)
    expected = trained(whole)
    parted = make_run(tiny, row, tmp_path / "parted", *settings)
    with killed_at(7):
        train(parted, QUIET)
    assert parted.checkpoint.exists()
    assert trained(parted) == expected
    assert parted.metrics.read_bytes() == whole.metrics.read_bytes()
    assert not parted.checkpoint.exists()


def test_an_interrupt_saves_the_last_step(tiny: Path, tmp_path: Path, at_step: Any) -> None:
    run = make_run(tiny, "hard", tmp_path)
    interrupt = at_step(6, lambda _: os.kill(os.getpid(), signal.SIGINT))
    with interrupt, pytest.raises(TrainingStopped, match="step 7"):
        train(run, QUIET)
    assert torch.load(run.checkpoint, weights_only=True)["step"] == 7


class Signalled(Reporter):
    """A signal comes at the beginning of a stage."""

    def __init__(self, stage: str) -> None:
        super().__init__(quiet=True)
        self.stage = stage

    def bar(self, description: str, *args: Any, **options: Any) -> Any:
        if self.stage in description:
            signal.raise_signal(signal.SIGTERM)
        return super().bar(description, *args, **options)


@pytest.mark.parametrize("stage", ["read images", "check train images", "check test images"])
def test_before_the_first_step_a_signal_ends_it_at_once(
    tiny: Path, tmp_path: Path, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tiny, "hard", tmp_path)
    monkeypatch.setattr(loop, "take_step", lambda *_: pytest.fail("a step was taken"))
    with pytest.raises(Stopped, match="SIGTERM"):
        train(run, Signalled(stage))
    assert not run.checkpoint.exists()


def test_a_signal_to_all_processes_is_heeded_by_the_trainer_alone(
    tiny: Path, tmp_path: Path, at_step: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tiny, "hard", tmp_path, "train.workers=2")
    workers: list[int] = []
    fork = os.fork

    def forked() -> int:
        workers.append(fork())
        return workers[-1]

    monkeypatch.setattr(os, "fork", forked)

    def stop(_: object) -> None:
        assert len(workers) == 2
        for process in (*workers, os.getpid()):
            os.kill(process, signal.SIGTERM)

    with at_step(6, stop), pytest.raises(TrainingStopped, match="step 7"):
        train(run, QUIET)
    assert torch.load(run.checkpoint, weights_only=True)["step"] == 7


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_what_makes_batches_ends_with_the_training_while_its_error_is_kept(
    tiny: Path, tmp_path: Path, at_step: Any, device: str
) -> None:
    settings = "train.workers=2", f"train.device={device}"
    stop = at_step(6, lambda _: os.kill(os.getpid(), signal.SIGTERM))
    threads = set(threading.enumerate())
    makers: list[int] = []
    fork = os.fork
    gpus = pretended_gpus() if device == "cuda" else nullcontext()
    with gpus, stop, pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fork", lambda: makers.append(fork()) or makers[-1])
        with pytest.raises(TrainingStopped, match="step 7") as kept:
            train(make_run(tiny, "hard", tmp_path, *settings), QUIET)
    assert len(makers) == 2
    for maker in makers:
        with pytest.raises(ProcessLookupError):
            os.kill(maker, 0)
    assert set(threading.enumerate()) <= threads
    assert kept.value.__traceback__ is not None


def test_another_config_in_the_same_folder_is_refused(tiny: Path, tmp_path: Path) -> None:
    other = make_run(tiny, "hard", tmp_path, "optimizer.lr=0.5")
    other.save()  # a run that failed before its first checkpoint holds nothing to protect
    train(make_run(tiny, "hard", tmp_path), QUIET)
    with pytest.raises(BenchError, match=r"optimizer\.lr.*--force"):
        train(other, QUIET)
    file = other.folder / "run.json"
    content = json.loads(file.read_text())
    del content["experiment"]["optimizer"]["proxy_lr_factor"]  # as a version before it wrote it
    file.write_text(json.dumps(content))
    with pytest.raises(BenchError, match=r"another 'train\.steps'"):
        train(make_run(tiny, "hard", tmp_path, "train.steps=24"), QUIET)


def test_evaluation_settings_do_not_ask_for_new_training(tiny: Path, tmp_path: Path) -> None:
    first = trained(make_run(tiny, "hard", tmp_path))
    assert trained(make_run(tiny, "hard", tmp_path, "evaluation.ks=[1,2]")) == first


def test_weight_decay_shrinks_what_has_no_gradient(tiny: Path, tmp_path: Path) -> None:
    run = make_run(tiny, "hard", tmp_path, "optimizer.name=sgd", "optimizer.weight_decay=0.1")
    experiment = run.experiment
    network, objective = new_model(experiment, 5)
    optimizer = build_optimizer(experiment.optimizer, network, objective)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    lr = experiment.optimizer.lr
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter.detach(), before[name] * (1 - lr * 0.1))


@pytest.mark.parametrize(
    ("schedule", "warmup", "expected"),
    [
        ("constant", 0, [1, 1, 1, 1]),
        ("linear", 0, [1, 0.75, 0.5, 0.25]),
        ("linear", 2, [0.5, 1, 1, 0.5]),
        ("cosine", 0, [1, 0.5 + 0.5 * math.sqrt(0.5), 0.5, 0.5 - 0.5 * math.sqrt(0.5)]),
    ],
)
def test_schedules(schedule: Any, warmup: int, expected: list[float]) -> None:
    experiment = Experiment(
        data=DataConfig(name="digits"),
        loss=LossConfig(name="softmax"),
        optimizer=OptimizerConfig(schedule=schedule, warmup_steps=warmup),
        train=TrainConfig(steps=4),
    )
    factors = [learning_rate_factor(experiment, step) for step in range(4)]
    assert factors == pytest.approx(expected)


def test_two_head_total_is_cross_entropy_plus_weighted_ranking_loss(tiny: Path) -> None:
    experiment = load_table(str(tiny)).rows["two_head"]
    objective = Objective(experiment, 3, feature_dim=4, embedding_dim=2).double()
    features = torch.randn(6, 4, dtype=torch.float64)
    embeddings = torch.randn(6, 2, dtype=torch.float64)
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    total, _ = objective(features, embeddings, labels)
    logits = objective.logits(features, embeddings)
    assert logits is not None
    cross_entropy = sum(
        (torch.logsumexp(logits[i], 0) - logits[i, labels[i]]).item() for i in range(6)
    )
    hard = 0.0
    for a in range(6):
        distances = [(embeddings[a] - embeddings[b]).norm().item() for b in range(6)]
        positive = max(d for b, d in enumerate(distances) if labels[b] == labels[a] and b != a)
        negative = min(d for b, d in enumerate(distances) if labels[b] != labels[a])
        hard += math.log1p(math.exp(positive - negative))
    assert total.item() == pytest.approx(cross_entropy / 6 + 0.5 * hard / 6, abs=1e-9)
    first, _ = objective(features, embeddings, labels, None, torch.eye(6)[0])
    others, _ = objective(features, embeddings, labels, None, 1 - torch.eye(6)[0])
    assert first.item() + 5 * others.item() == pytest.approx(6 * total.item(), abs=1e-9)
    assert first.item() != pytest.approx(total.item(), rel=1e-3)


def test_metrics_file_holds_the_health_of_the_study(tiny: Path, tmp_path: Path) -> None:
    run = make_run(tiny, "hard", tmp_path)
    train(run, QUIET)
    entries = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert [entry["step"] for entry in entries] == [1, 4, 8, 12]
    health = ["loss", "active", "mean_norm", "distance_within", "distance_between"]
    health += ["hardest_positive", "hardest_negative", "gradient_norm"]
    for name in health:
        assert all(math.isfinite(entry[name]) for entry in entries), name
    assert list((run.folder / "tensorboard").glob("events*"))


def test_the_progress_tells_a_huge_loss_in_a_few_characters(
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(loop, "measured", lambda *_: {"step": 1, "loss": 1e30})
    train(make_run(tiny, "hard", tmp_path, "train.steps=1"), Reporter(line_every=0))
    assert re.search(r"loss 1\.0e\+30, [0-9,]+ images/s", capsys.readouterr().err)


def test_the_untrained_network_is_saved_as_it_starts(tiny: Path, tmp_path: Path) -> None:
    run = make_run(tiny, "softmax", tmp_path, "train.steps=0")
    train(run, QUIET)
    torch.manual_seed(0)
    network, _ = new_model(run.experiment, 5)
    saved = safetensors.torch.load_file(run.weights)
    for name, tensor in network.state_dict().items():
        assert torch.equal(saved[f"network.{name}"], tensor), name


def test_open_run_gives_back_what_was_saved(tiny: Path, tmp_path: Path) -> None:
    run = make_run(tiny, "two_head", tmp_path)
    run.save()
    assert open_run(run.folder) == run
    with pytest.raises(BenchError, match=r"is not a run: there is no run\.json in it$"):
        open_run(tmp_path)
    with pytest.raises(BenchError, match=r"no run\.json in it; did you mean '.*seed-0'\?"):
        open_run(run.folder.parent)
    with pytest.raises(BenchError, match="is not a run: there is no such folder"):
        open_run(tmp_path / "nowhere")


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_trains(
    tiny: Path, tmp_path: Path, precision: str, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = (f"train.precision={precision}", "train.device=cpu", "train.workers=2")
    run = make_run(tiny, "hard", tmp_path, *settings)
    train(run, Reporter())
    told = capfd.readouterr().err
    assert told.count("train.workers: batches are made ahead in 2 processes\n") == 1
    slow = "warning: train.precision: float16 is slow on a CPU"
    assert told.count(slow) == (precision == "float16")
    entries = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert all(math.isfinite(entry["loss"]) for entry in entries)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_training_on_a_gpu(tiny: Path, tmp_path: Path, precision: str) -> None:
    settings = ["train.device=cuda", f"train.precision={precision}"]
    first = trained(make_run(tiny, "two_head", tmp_path / "a", *settings))
    assert trained(make_run(tiny, "two_head", tmp_path / "b", *settings)) == first
