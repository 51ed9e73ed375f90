"""Half precision: the network's alone, with gradients at their true size; compiled networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from small import Small, batch, experiment_of

from stt_bench.benchmark.store.runs import run_of
from stt_bench.benchmark.suite import load_table
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.training import compiled as compiling
from stt_bench.benchmark.training.objective import Objective
from stt_bench.benchmark.training.step import take_step
from stt_bench.benchmark.training.train import train

TWO_HEADS = {"loss": "hard_triplet", "softmax_head": True, "loss_weight": 0.5}


def taken(precision: str, scale: float | None = None) -> Small:
    experiment = experiment_of("softmax", train={"precision": precision})
    learner = Small(experiment, torch.float32)
    if scale is not None:
        learner.scaler.load_state_dict(learner.scaler.state_dict() | {"scale": scale})
    take_step(learner, experiment, 0, 0, *batch(0))
    return learner


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_losses_see_float32(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the very embeddings that the step gave, the loss is that of a float64 objective."""
    experiment = experiment_of(**TWO_HEADS, train={"precision": precision})
    learner, seen = Small(experiment, torch.float32), []
    forward = Objective.forward
    double = Small(experiment).objective

    def watched(objective: Objective, *args: Any) -> Any:
        seen.append([one.detach() for one in args[:2]])
        return forward(objective, *args)

    monkeypatch.setattr(Objective, "forward", watched)
    step = take_step(learner, experiment, 0, 0, *batch(0))
    features, embeddings = seen[0]
    assert {one.dtype for one in (features, embeddings, step.loss)} == {torch.float32}
    wanted, _ = forward(double, features.double(), embeddings.double(), step.labels, 0)
    torch.testing.assert_close(step.loss.double(), wanted.detach(), rtol=1e-6, atol=1e-6)


def test_the_scale_of_the_loss_is_taken_out_of_the_gradients() -> None:
    """Powers of two change no digit, and gradients are those of float32 to half precision."""
    one, other, whole = taken("float16", 2.0**4), taken("float16", 2.0**10), taken("float32")
    for name, gradient in whole.gradients().items():
        size = gradient.abs().max()
        for half in (one, other):
            assert (half.gradients()[name] - gradient).abs().max() < 0.05 * size, name


@pytest.mark.parametrize("chunk", ["null", "5"])
def test_a_compiled_network_trains_as_the_plain_one(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: str
) -> None:
    """By the backend that needs no compiler; the way through torch.compile is the same."""
    monkeypatch.setattr(compiling, "BACKEND", "eager")
    weights = []
    for more in ([], ["train.compile=true"]):
        table = load_table(str(tiny), ["train.steps=2", f"train.chunk={chunk}", *more])
        run = run_of(table, "hard", 0, tmp_path / str(len(more)))
        train(run, Reporter(quiet=True))
        weights.append(safetensors.torch.load_file(run.weights))
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, msg=name)


def test_without_a_compiler_it_says_so_and_trains(
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        def call(_: Any) -> Any:
            raise RuntimeError("no working C++ compiler\nfound in /usr/bin")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    table = load_table(str(tiny), ["train.steps=2", "train.compile=true"])
    run = run_of(table, "hard", 0, tmp_path)
    train(run, Reporter())
    assert run.is_trained
    said = capsys.readouterr().err
    assert "train.compile: nothing can be compiled here (no working C++ compiler)" in said
    assert "it trains without" in said
