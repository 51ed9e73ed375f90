"""What can go wrong in a training: it is told in one sentence, and nothing is lost."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from command_line import Command, disk_with

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.config.tables import read_table
from stt_bench.benchmark.datasets import load_items
from stt_bench.benchmark.store.runs import Run, run_of
from stt_bench.benchmark.store.weights import read_checkpoint
from stt_bench.benchmark.suite import load_table
from stt_bench.benchmark.system.errors import BenchError, TrainingStopped
from stt_bench.benchmark.system.files import read_json
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.training import learner
from stt_bench.benchmark.training.learner import new_model
from stt_bench.benchmark.training.objective import Objective
from stt_bench.benchmark.training.stop import stop_requested
from stt_bench.benchmark.training.train import train

QUIET = Reporter(quiet=True)


def make_run(config: Path, row: str, runs: Path, *overrides: str) -> Run:
    return run_of(load_table(str(config), overrides), row, 0, runs)


def trained(run: Run) -> bytes:
    train(run, QUIET)
    return run.weights.read_bytes()


def poison(objective: Objective) -> None:
    assert objective.softmax is not None
    with torch.no_grad():
        objective.softmax.linear.bias.fill_(math.nan)


def test_a_damaged_checkpoint_is_told(tiny: Path, tmp_path: Path) -> None:
    run = make_run(tiny, "hard", tmp_path)
    run.folder.mkdir(parents=True)
    run.checkpoint.write_bytes(b"not a checkpoint")
    with pytest.raises(BenchError, match=r"is damaged.*--force"):
        train(run, QUIET)


def test_classes_too_small_for_the_loss_are_counted(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tail = ["data.long_tail=178", "sampler.p=4", "sampler.k=4", "train.steps=1"]
    for loss in ("npairs", "lifted"):
        train(make_run(tiny, "hard", tmp_path / loss, *tail, f"loss={{name: {loss}}}"), Reporter())
        said = "does not train on 1 of 5 classes, which have fewer than 2 images"
        assert (said in capsys.readouterr().err) == (loss == "npairs")


def test_nothing_to_train_is_told(tiny: Path, tmp_path: Path) -> None:
    frozen = ["model.head=none", "optimizer.backbone_lr_factor=0"]
    with pytest.raises(BenchError, match="nothing trains"):
        train(make_run(tiny, "hard", tmp_path, *frozen), QUIET)


def test_collapse_is_told_in_words(
    tiny: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def at_one_point(experiment: Experiment, *classes: Any) -> Any:
        network, objective = new_model(experiment, *classes)
        with torch.no_grad():
            network.head.weight.zero_()  # all images at the head's bias
        return network, objective

    monkeypatch.setattr(learner, "new_model", at_one_point)
    run = make_run(tiny, "hard", tmp_path)
    train(run, QUIET)
    assert "has collapsed at step 1" in capsys.readouterr().err
    assert read_json(run.training)["collapsed_at"] == 1


def test_a_loss_that_is_not_finite_stops_the_run(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"loss is nan|loss is inf"):
        train(make_run(tiny, "softmax", tmp_path, "optimizer.name=sgd", "optimizer.lr=1e6"), QUIET)


@pytest.mark.parametrize("row", ["hard", "two_head"])
@pytest.mark.parametrize(
    "sampler", [["sampler.p=4", "sampler.k=1"], ["sampler.p=1", "sampler.k=4"]]
)
def test_a_loss_that_never_trained_is_told_and_noted(
    tiny: Path, tmp_path: Path, row: str, sampler: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    table = read_table(str(tiny), sampler)  # `load_table` would refuse it
    run = run_of(table, row, 0, tmp_path)
    assert train(run, QUIET).inactive
    assert read_json(run.training)["inactive"] is True
    assert "the loss never trained the network; give" in capsys.readouterr().err
    if row == "hard":
        untrained = run_of(
            read_table(str(tiny), [*sampler, "train.steps=0"]), row, 0, tmp_path / "0"
        )
        train(untrained, QUIET)
        kept, start = (safetensors.torch.load_file(r.weights) for r in (run, untrained))
        for name in (name for name in start if name.endswith("weight")):
            assert torch.equal(kept[name], start[name]), name


def test_a_loss_that_trained_is_not_called_inactive(
    tiny: Path, tmp_path: Path, killed_at: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    for row in ("softmax", "hard", "center"):
        assert not train(make_run(tiny, row, tmp_path), QUIET).inactive
    # Of one class in most batches: those that are logged have no term, others do.
    sorted_batches = "sampler={name: grouped, batch_size: 16, buffer: 16}"
    some = [sorted_batches, "train.log_every=1000", "train.steps=50"]
    run = run_of(read_table(str(tiny), some), "hard", 0, tmp_path / "some")
    assert not train(run, QUIET).inactive
    logged = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert {entry["terms"] for entry in logged} == {0}
    run = run_of(read_table(str(tiny), ["sampler.k=1"]), "hard", 0, tmp_path / "killed")
    with killed_at(11):
        train(run, QUIET)
    assert train(run, QUIET).inactive  # what was logged before the stop counts too
    assert capsys.readouterr().err.count("never trained") == 1


def test_the_last_finite_checkpoint_is_kept(tiny: Path, tmp_path: Path, at_step: Any) -> None:
    settings = ["train.log_every=100", "train.checkpoint_every=2"]
    run = make_run(tiny, "softmax", tmp_path, *settings)
    with (
        at_step(6, poison),
        pytest.raises(BenchError, match=r"loss is nan at step 7.*goes on from .* step 6"),
    ):
        train(run, QUIET)
    kept = read_checkpoint(run.checkpoint)
    assert kept.step == 6
    assert all(bool(t.isfinite().all()) for t in kept.network.values())
    whole = make_run(tiny, "softmax", tmp_path / "whole", *settings)
    assert trained(run) == trained(whole)
    assert not (run.folder / "not_finite.json").exists()


def steep(objective: Objective) -> None:
    """Make the gradient NaN and leave the loss as it is: √0 has none."""
    forward = objective.softmax.forward

    def rooted(embeddings: torch.Tensor, *rest: Any) -> torch.Tensor:
        objective.softmax.forward = forward
        return forward(embeddings, *rest) + (0 * embeddings.sum()).sqrt()

    objective.softmax.forward = rooted


@pytest.mark.parametrize(
    ("fault", "what"), [(poison, "the loss is nan"), (steep, "a gradient is not finite")]
)
@pytest.mark.parametrize("seen_at", ["log_every", "validate_every"])
def test_which_batch_was_not_finite_is_told_and_written(
    tiny: Path, tmp_path: Path, at_step: Any, fault: Any, what: str, seen_at: str
) -> None:
    later = ["train.log_every=100", "train.checkpoint_every=100", "train.steps=9"]
    more = {"log_every": "train.log_every=7", "validate_every": "train.validate_every=7"}
    settings = [*later, "data.validation=0.4", "sampler.p=3", *filter(None, [more.get(seen_at)])]
    run = make_run(tiny, "softmax", tmp_path, *settings)
    labels: list[Any] = []
    forward = Objective.forward

    def watched(objective: Objective, *args: Any) -> Any:
        if len(args[2]) == 12:  # not the probe's
            labels.append(args[2].tolist())
        return forward(objective, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Objective, "forward", watched)
        with at_step(4, fault), pytest.raises(BenchError) as told:
            train(run, QUIET)
    said = read_json(run.folder / "not_finite.json")
    assert (said["step"], said["continues_at_step"]) == (5, 0)
    paths = [item["path"] for item in said["items"]]
    assert str(told.value) == (
        f"{run.name}: {what} at step 5, in the batch of {', '.join(paths[:3])} and 9 more (all in "
        f"{run.folder / 'not_finite.json'}); lower optimizer.lr (with --force, which begins anew), "
        "or look at these items; the same command goes on from the start"
    )
    assert said["what"] == f"{what} at step 5"
    items = load_items(run.experiment.data, QUIET).split("train").set_index("path")["label"]
    assert [item["label"] for item in said["items"]] == [items[path] for path in paths]
    classes = load_items(run.experiment.data, QUIET).classes
    assert [classes.index(item["label"]) for item in said["items"]] == labels[4]
    assert not run.weights.exists()


def test_weights_that_are_not_finite_at_the_end_are_not_written(
    tiny: Path, tmp_path: Path, at_step: Any
) -> None:
    run = make_run(tiny, "two_head", tmp_path, "train.steps=3", "train.log_every=100")
    with at_step(1, poison), pytest.raises(BenchError, match=r"finite|loss is nan"):
        train(run, QUIET)
    assert not run.weights.exists()
    assert not run.training.exists()


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (BenchError("no room"), "no room"),
        (RuntimeError("g++ was killed"), "stopped within a step (RuntimeError)"),
    ],
)
def test_a_failure_after_the_signal_to_stop_does_not_pass_the_signal_over(
    error: Exception, told: str
) -> None:
    def fail(*, after_signal: bool) -> None:
        with stop_requested() as stop:
            if after_signal:
                stop.set()
            raise error

    with pytest.raises(TrainingStopped) as stopped:
        fail(after_signal=True)
    assert str(stopped.value) == told
    with pytest.raises(type(error)):
        fail(after_signal=False)


@pytest.mark.parametrize("size", [1000, 3000, 30_000])
def test_a_full_disk_is_one_sentence_and_the_same_command_continues(
    tiny: Path, tmp_path: Path, size: int, stt_bench: Command
) -> None:
    more = ("--set", "train.log_every=1", "--set", "train.checkpoint_every=1", "-q")
    places = ("--runs", tmp_path, "--results", tmp_path / "results")
    command = ("train", tiny, "--row", "hard", *places, *more)
    with disk_with(size):
        code, _, said = stt_bench(*command)
    assert (code, said.count("\n")) == (2, 1), said
    assert "cannot be written" in said
    assert not list(tmp_path.rglob("*.part"))
    assert stt_bench(*command)[0] == 0
    settings = ["train.log_every=1", "train.checkpoint_every=1"]
    run, whole = (make_run(tiny, "hard", tmp_path / place, *settings) for place in ("", "whole"))
    assert trained(whole) == run.weights.read_bytes()
    assert run.metrics.read_bytes() == whole.metrics.read_bytes()
