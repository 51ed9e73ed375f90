"""The moving average of the weights: its formula, and that it is what is evaluated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from small import Small, batch, experiment_of

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.store.protocol import protocol_of
from stt_bench.benchmark.store.runs import Run, run_of
from stt_bench.benchmark.suite import load_table
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.training.learner import Learner
from stt_bench.benchmark.training.step import take_step
from stt_bench.benchmark.training.train import train
from stt_bench.benchmark.training.validation import Selection

QUIET = Reporter(quiet=True)


def make_run(config: Path, row: str, runs: Path, *overrides: str) -> Run:
    return run_of(load_table(str(config), overrides), row, 0, runs)


@pytest.mark.parametrize("decay", [0.15, 0.9])
def test_it_is_that_of_a_plain_loop(decay: float) -> None:
    experiment = experiment_of("proxy_nca", train={"ema": decay})
    learner = Small(experiment)
    parameters = [*learner.network.named_parameters(), *learner.objective.named_parameters()]
    wanted = {name: p.detach().numpy().copy() for name, p in parameters}
    for step in range(5):
        take_step(learner, experiment, 0, step, *batch(step))
        share = min(decay, [0.1, 2 / 11, 3 / 12, 4 / 13, 5 / 14][step])
        for name, p in parameters:
            wanted[name] = share * wanted[name] + (1 - share) * p.detach().numpy()
    own = {name: p.detach().clone() for name, p in parameters}
    with learner.evaluated():
        for name, p in parameters:
            torch.testing.assert_close(p.detach(), torch.from_numpy(wanted[name]), msg=name)
            assert not torch.equal(p, own[name])
    for name, p in parameters:
        assert torch.equal(p, own[name]), name


def test_training_goes_on_as_without_it(tiny: Path, tmp_path: Path, at_step: Any) -> None:
    """The average is looked at only; the weights that the optimiser moves are as ever."""
    seen: list[torch.Tensor] = []

    def keep(objective: Any) -> None:
        seen.append(objective.softmax.linear.weight.clone())

    selecting = ["data.validation=0.4", "train.validate_every=4", "sampler.p=3"]
    for more in ([], ["train.ema=0.9"]):
        with at_step(10, keep):  # the probe takes other steps
            train(make_run(tiny, "softmax", tmp_path / str(len(more)), *selecting, *more), QUIET)
    assert torch.equal(*seen)


def test_it_is_written_and_buffers_are_the_networks_own(tiny: Path, tmp_path: Path) -> None:
    head = "model={backbone: small_cnn, head: fc1024, embedding_dim: 8}"
    plain, averaged = (
        make_run(tiny, "center", tmp_path / str(number), head, *more)
        for number, more in enumerate(([], ["train.ema=0.9"]))
    )
    for run in (plain, averaged):
        train(run, QUIET)
    one, other = (safetensors.torch.load_file(run.weights) for run in (plain, averaged))
    for name, tensor in one.items():
        still = not tensor.is_floating_point() or any(
            part in name for part in ("running", ".mean", ".std", "centers")
        )
        assert torch.equal(other[name], tensor) == still, name


def test_a_stopped_run_ends_in_the_same_bytes(tiny: Path, tmp_path: Path, killed_at: Any) -> None:
    whole, parted = (make_run(tiny, "hard", tmp_path / name, "train.ema=0.9") for name in "ab")
    train(whole, QUIET)
    with killed_at(7):
        train(parted, QUIET)
    train(parted, QUIET)
    assert parted.weights.read_bytes() == whole.weights.read_bytes()


def test_the_average_is_what_selects(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []

    def spy(self: Selection, step: int, network: Any, objective: Any) -> float:
        looks.append({n: t.clone() for n, t in network.state_dict().items()})
        return look(self, step, network, objective)

    look = Selection.look
    monkeypatch.setattr(Selection, "look", spy)
    selecting = ["data.validation=0.4", "train.validate_every=12", "sampler.p=3", "train.ema=0.9"]
    run = make_run(tiny, "hard", tmp_path, *selecting)
    train(run, QUIET)
    (seen,) = looks
    for name, tensor in safetensors.torch.load_file(run.weights).items():
        if name.startswith("network."):
            assert torch.equal(tensor, seen[name.removeprefix("network.")]), name


def test_a_checkpoint_of_other_weights_is_damaged(
    tiny: Path, tmp_path: Path, killed_at: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tiny, "hard", tmp_path, "train.ema=0.9")
    with killed_at(7):
        train(run, QUIET)
    load = Learner.load
    monkeypatch.setattr(
        Learner, "load", lambda self, state: load(self, state.model_copy(update={"average": None}))
    )
    with pytest.raises(BenchError, match="damaged"):
        train(run, QUIET)


def test_the_protocol_says_so() -> None:
    def selection(experiment: Experiment) -> Any:
        return protocol_of(experiment, data_hash="", initial_weights="", embedding_dim=1)[
            "selection"
        ]

    assert selection(experiment_of()) == "last step"
    averaged = "last step, of the moving average of the weights (decay 0.999)"
    assert selection(experiment_of(train={"ema": 0.999})) == averaged
