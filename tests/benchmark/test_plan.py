"""`run --dry-run`: what would run, from which data, for how long; and nothing happens."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Done

from stt_bench.benchmark.datasets import items
from stt_bench.benchmark.store.records import checksum, record_path
from stt_bench.benchmark.store.runs import run_of
from stt_bench.benchmark.suite import load_table


@pytest.fixture
def places(tmp_path: Path) -> tuple[object, ...]:
    return ("--runs", tmp_path / "runs", "--results", tmp_path / "results")


def everything_in(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_states_and_times(
    stt_bench: Callable[..., Done], tiny: Path, tmp_path: Path, places: tuple[object, ...]
) -> None:
    assert stt_bench("run", tiny, "--rows", "softmax", "-q", *places).returncode == 0
    path = record_path(tmp_path / "results", "tiny", "softmax", 0)
    record = json.loads(path.read_text())
    record["training"]["seconds"] = 1200.0  # for 12 steps
    path.write_text(json.dumps(record | {"checksum": checksum(record)}))
    table = load_table(str(tiny), ["optimizer.lr=0.5"], only=["center"])
    for row in ("hard", "center"):
        run = run_of(table, row, 0, tmp_path / "runs")
        run.folder.mkdir(parents=True)
        run.save()
        run.checkpoint.write_bytes(b"")
    before = everything_in(tmp_path)
    done = stt_bench("run", tiny, "--dry-run", "--seeds", "0,5", *places)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "tiny: 8 run(s)",
        "  data digits (retrieval): 1,797 images, with the packages",
        "  data digits (classification): 1,797 images, with the packages",
        "  softmax, seed 0: has a record",
        "  softmax, seed 5: starts; 20 min 0 s of training each",
        "  hard, seed 0: continues from its checkpoint; an unknown time of training each",
        "  hard, seed 5: starts; an unknown time of training each",
        "  two_head, seed 0, 5: starts; an unknown time of training each",
        "  center, seed 0: would be refused: its folder holds a run with other settings",
        "  center, seed 5: starts; an unknown time of training each",
        "  6 to train, about 20 min 0 s for 1 of them; the time of 5 is not known: "
        "their rows have no record",
    ]
    longer = stt_bench(
        "run", tiny, "--dry-run", "--rows", "softmax", "--set", "train.steps=36", *places
    )
    assert "softmax, seed 0: would be refused" in longer.stdout  # its folder has the old training
    forced = stt_bench("run", tiny, "--dry-run", "--rows", "softmax", "--force", *places,
                       "--set", "train.steps=36")  # fmt: skip
    assert "softmax, seed 0: starts; 1 h 0 min of training each" in forced.stdout
    assert everything_in(tmp_path) == before


def test_a_sampler_that_does_not_fit_the_data_is_told(
    stt_bench: Callable[..., Done], tiny: Path, places: tuple[object, ...]
) -> None:
    done = stt_bench("run", tiny, "--dry-run", "--rows", "hard", "--set", "sampler.p=9", *places)
    assert "hard, seed 0: would be refused: sampler.p is 9, but only 5 classes" in done.stdout
    assert done.stdout.splitlines()[-1] == "  0 to train"


def test_chunks_that_batch_norm_would_see_are_told(
    stt_bench: Callable[..., Done], tiny: Path, places: tuple[object, ...]
) -> None:
    trained = ("--set", "model.backbone=timm/resnet10t", "--set", "input.channels=3",
               "--set", "input.mean=[0.5,0.5,0.5]", "--set", "input.std=[0.5,0.5,0.5]")  # fmt: skip
    told = stt_bench("run", tiny, "--dry-run", "--rows", "hard", *trained, *places,
                     "--set", "train.chunk=8")  # fmt: skip
    assert "hard, seed 0: would be refused: train.chunk: 8: the batch norm '" in told.stdout
    whole = ("--set", "train.chunk=4096")
    fine = stt_bench("run", tiny, "--dry-run", "--rows", "hard", *trained, *whole, *places)
    assert "hard, seed 0: starts" in fine.stdout


def test_one_refusal_is_told_once_and_an_untrained_row_draws_no_batch(
    stt_bench: Callable[..., Done], tiny: Path, places: tuple[object, ...]
) -> None:
    tiny.write_text(tiny.read_text() + "  untrained: {loss: softmax, train: {steps: 0}}\n")
    rows = ["--rows", "softmax,untrained,hard", "--seeds", "0,1", "--set", "sampler.p=9"]
    done = stt_bench("run", tiny, "--dry-run", *rows, *places)
    assert [line for line in done.stdout.splitlines()[2:] if "refused" in line] == [
        "  softmax, hard, seed 0, 1: would be refused: sampler.p is 9, but only 5 classes are "
        "trained on: lower sampler.p to 5 or less"
    ]
    assert "  untrained, seed 0, 1: starts" in done.stdout


def test_a_table_file_of_another_name_is_proposed(
    stt_bench: Callable[..., Done], tiny: Path
) -> None:
    done = stt_bench("run", tiny.with_suffix(".yml"), "--dry-run")
    assert f"there is no such file; did you mean '{tiny}'?" in done.stderr


def test_a_trained_run_is_only_evaluated(
    stt_bench: Callable[..., Done], tiny: Path, tmp_path: Path, places: tuple[object, ...]
) -> None:
    stt_bench("train", tiny, "--row", "hard", "-q", *places)
    done = stt_bench("run", tiny, "--dry-run", "--rows", "hard", *places)
    assert "hard, seed 0: is trained: will be embedded and evaluated" in done.stdout
    assert done.stdout.splitlines()[-1] == "  0 to train"


def test_data_that_are_not_here_are_not_downloaded(
    stt_bench: Callable[..., Done],
    tiny: Path,
    tmp_path: Path,
    places: tuple[object, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a dry run downloads nothing")

    monkeypatch.setattr(items, "download_into", refuse)
    monkeypatch.setattr(items, "find_folder", lambda *_: None)
    tiny.write_text(tiny.read_text().replace("name: digits", "name: fashion_mnist"))
    done = stt_bench("run", tiny, "--dry-run", "--rows", "softmax", *places)
    assert done.returncode == 0, done.stderr
    assert "data fashion_mnist (retrieval): is downloaded at first use" in done.stdout
    assert "softmax, seed 0: starts" in done.stdout
    assert list(tmp_path.iterdir()) == [tiny]
