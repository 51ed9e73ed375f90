"""One trial: its curves, when it stops, what wins, and what it may look at."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.config.table_sections import TuningConfig
from stt_bench.benchmark.datasets.training_items import folds_of, training_items
from stt_bench.benchmark.store.display import display_of
from stt_bench.benchmark.store.runs import Run
from stt_bench.benchmark.store.trials import DEFAULT, Trial
from stt_bench.benchmark.suite import load_table
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.system.tensor_files import read_tensors
from stt_bench.benchmark.training.train import train
from stt_bench.benchmark.tuning import trial as trials
from stt_bench.benchmark.tuning.trial import Material, run_trial
from stt_bench.benchmark.tuning.winners import winner

POINT = {"optimizer.lr": 0.01}


@pytest.fixture(scope="module")
def digits() -> Any:
    return training_items(a_row("digits").data)


def a_row(name: str, **settings: Any) -> Experiment:
    return Experiment.model_validate(
        {
            "data": {"name": name},
            "input": {"size": 12, "channels": 1, "mean": [0.3], "std": [0.37]},
            "model": {"backbone": "small_cnn", "embedding_dim": 4},
            "loss": "softmax",
            "sampler": {"name": "pxk", "p": 2, "k": 3},
            "train": {"steps": 7, "threads": 1},
            **settings,
        }
    )


def run(experiment: Experiment, items: Any, *, index: int = 0, **size: int) -> Trial:
    config = TuningConfig.model_validate({"folds": 2, "every": 3, "patience": 2, **size})
    material = Material(items, folds_of(items, experiment.data.task, config.folds))
    return run_trial(experiment, config, material, study=0, index=index, point=POINT)


def measured_as(monkeypatch: pytest.MonkeyPatch, curves: list[list[float]]) -> None:
    """Let the folds in turn measure what stands in their curves."""

    def values() -> Iterator[float]:
        for fold in zip(*curves, strict=True):
            yield from fold

    given = values()
    monkeypatch.setattr(trials, "value_of", lambda *_args, **_options: next(given))


def test_a_trial_is_its_study_index_and_fold_alone(digits: Any) -> None:
    row = a_row("digits")
    first = run(row, digits)
    torch.manual_seed(5)
    np.random.seed(5)
    assert first.agrees(run(row, digits))
    assert not first.agrees(run(row, digits, index=1))
    assert [len(curve) for curve in first.curves] == [3, 3]  # steps 3, 6 and 7


@pytest.mark.parametrize("freeze", [[], "all"])
def test_a_fold_trains_as_a_run_does(
    digits: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, freeze: Any
) -> None:
    """The other way to the same weights: a run of the fold's own items, with the fold's seed.

    A frozen backbone that starts at random is another one in each fold.
    """
    row = a_row("digits", model={"backbone": "small_cnn", "embedding_dim": 4, "freeze": freeze})
    seen = []
    monkeypatch.setattr(
        trials._Runner,
        "measured",
        lambda self: seen.append(self.learner.network.state_dict()) or 0.5,
    )
    run(row, digits, every=7)
    fold = folds_of(digits, "retrieval", 2)[1]
    seed = trials._seed(0, 0, 1)
    tuned = row.with_values(POINT)
    display = display_of(load_table("digits_retrieval"), "softmax")
    one = Run("t", "r", seed, tuned, tmp_path / "runs/t/r/seed-0", display)
    train(one, Reporter(quiet=True), items=fold.items)
    weights = read_tensors(one.weights)
    for name, value in seen[1].items():
        assert torch.equal(value, weights[f"network.{name}"]), name


def test_the_best_mean_over_the_folds_wins(digits: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # Means 0.5, 0.55, 0.55: the first of equals; the folds' own best are elsewhere.
    measured_as(monkeypatch, [[0.4, 0.5, 0.1], [0.6, 0.6, 1.0]])
    found = run(a_row("digits"), digits)
    assert found.objective == pytest.approx(0.55)
    assert found.steps == 6
    assert found.curves == [[0.4, 0.5, 0.1], [0.6, 0.6, 1.0]]


def test_the_last_validation_is_at_the_last_step(
    digits: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured_as(monkeypatch, [[0.1, 0.2, 0.3], [0.1, 0.2, 0.3]])
    assert run(a_row("digits"), digits).steps == 7


def test_patience_ends_all_folds_together(digits: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # The second fold alone gets better; their mean does not.
    measured_as(monkeypatch, [[0.9, 0.5, 0.4, 0.3], [0.1, 0.2, 0.3, 0.9]])
    found = run(a_row("digits", train={"steps": 60, "threads": 1}), digits)
    assert [len(curve) for curve in found.curves] == [3, 3]
    assert (found.objective, found.steps) == (0.5, 3)


def test_phases_come_first_and_are_never_the_whole_length(
    digits: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = a_row("digits", phases=[{"steps": 4, "loss": "priming"}])
    measured_as(monkeypatch, [[0.5, 0.1], [0.5, 0.1]])
    found = run(row, digits, every=2)
    assert (found.start, found.steps, len(found.curves[0])) == (4, 6, 2)
    assert row.with_values({"train.steps": found.steps}).train.steps == 6


def test_a_trial_that_diverges_says_so_and_counts_as_0(digits: Any, at_step: Any) -> None:
    def spoil(objective: Any) -> None:
        objective.softmax.linear.weight.data.fill_(float("nan"))

    with at_step(4, spoil):
        found = run(a_row("digits"), digits)
    assert found.error is not None
    assert "step 6" in found.error
    assert (found.objective, found.steps) == (0.0, 0)
    assert [len(curve) for curve in found.curves] == [1, 1]  # before


def test_a_tie_goes_to_the_lower_index_and_the_own_settings_never_win() -> None:
    def made(index: int, objective: float, error: str | None = None) -> Trial:
        return Trial(
            study=0, index=index, point=POINT, base_digest="0" * 64, every=1, patience=1,
            curves=[[objective], [objective]], objective=0 if error else objective,
            steps=0 if error else 1, seconds=0, error=error,
        )  # fmt: skip

    found = [made(DEFAULT, 0.9), made(0, 0.2), made(1, 0.5), made(2, 0.5), made(3, 0.8, "nan")]
    best = winner(list(reversed(found)), 0)
    assert best is not None
    assert best.index == 1
    assert winner(found, 1) is None
    assert winner([made(0, 0.5, "nan")], 0) is None


def test_a_classifier_is_tuned_for_its_accuracy_on_held_out_images() -> None:
    row = a_row("digits", data={"name": "digits", "task": "classification"})
    items = training_items(row.data)
    short = run(row, items, folds=3, every=7)
    assert len(short.curves) == 3
    assert 0 < short.objective < 1


def test_a_sampler_that_does_not_fit_the_folds_is_told(digits: Any) -> None:
    row = a_row("digits", sampler={"name": "pxk", "p": 4, "k": 3})
    with pytest.raises(BenchError, match=r"does not fit the folds .* sampler\.p"):
        run(row, digits)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Return a csv of 6 training and 2 test classes of 4 images."""
    rng = np.random.default_rng(0)
    lines = ["path,label,split"]
    for label in range(8):
        for number in range(4):
            pixels = rng.integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"{label}-{number}.png")
            lines.append(f"{label}-{number}.png,{label},{'train' if label < 6 else 'test'}")
    (tmp_path / "items.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_the_test_split_is_not_read(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Missing, broken, poisoned and relabelled test images change no byte of a trial."""

    def tuned(folder: Path) -> Trial:
        row = a_row(
            "images", data={"name": "images", "options": {"items": str(folder / "items.csv")}}
        )
        found = run(row, training_items(row.data))
        return found.model_copy(update={"base_digest": "0" * 64})  # holds the folder's name

    clean = tuned(photos)
    for kind in ("missing", "broken", "poisoned", "more"):
        folder = tmp_path_factory.mktemp("data") / kind
        shutil.copytree(photos, folder)
        for number in range(4):
            for label in (6, 7):
                file = folder / f"{label}-{number}.png"
                if kind == "missing":
                    file.unlink()
                elif kind == "broken":
                    file.write_bytes(b"no image")
                elif kind == "poisoned":
                    shutil.copy(folder / f"{number}-0.png", file)
        if kind == "more":
            lines = (folder / "items.csv").read_text()
            (folder / "items.csv").write_text(lines + "9.png,9,test\n8.png,9,test\n")
        assert clean.agrees(tuned(folder)), kind
