"""Sample weights: a column of a list, from there into every batch, fold and protocol."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from command_line import Command
from PIL import Image

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.config.sections import DataConfig
from stt_bench.benchmark.config.table_sections import TuningConfig
from stt_bench.benchmark.datasets import ItemTable, load_items
from stt_bench.benchmark.datasets.batches import training_batches
from stt_bench.benchmark.datasets.items import hash_items
from stt_bench.benchmark.datasets.loose import loose_images
from stt_bench.benchmark.datasets.training_items import folds_of, training_items
from stt_bench.benchmark.features.vector_set import VectorSet
from stt_bench.benchmark.store.records import read_record
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.tuning import trial as trials

CLASSES, EACH = 8, 4
TRAINED = CLASSES * EACH // 2
GIVEN = [f"{1 + number % 5}" for number in range(TRAINED)]  # of the training items, 1 to 5
TOLD = "training items count by their weight, a column of the list"


def write(folder: Path, weights: list[str] | None = None, name: str = "weight") -> Path:
    """Write vectors and their csv; of vector i every entry is i."""
    rows = np.arange(CLASSES * EACH, dtype=np.float32)
    np.save(folder / "x.npy", np.repeat(rows[:, None], 3, axis=1))
    label = np.repeat([f"c{number}" for number in range(CLASSES)], EACH)
    csv = pd.DataFrame({"label": label, "split": ["train"] * TRAINED + ["test"] * TRAINED})
    if weights is not None:
        csv[name] = [*weights, *[""] * (len(csv) - len(weights))]
    csv.to_csv(folder / "items.csv", index=False)
    return folder / "x.npy"


def config(folder: Path, **settings: Any) -> DataConfig:
    options = {"items": "items.csv"}
    return DataConfig(name="features", root=str(folder / "x.npy"), options=options, **settings)


def load(folder: Path, weights: list[str] | None = None, **settings: Any) -> ItemTable:
    write(folder, weights)
    return load_items(config(folder, **settings))


def row(folder: Path, **settings: Any) -> Experiment:
    return Experiment.model_validate(
        {
            "data": config(folder),
            "model": {"backbone": "identity", "embedding_dim": 2},
            "loss": "hard_triplet",
            "sampler": {"p": 2, "k": 3},
            "train": {"steps": 2, "threads": 1},
            **settings,
        }
    )


def test_the_column_is_read(tmp_path: Path) -> None:
    items = load(tmp_path, GIVEN)
    assert items.weights is not None
    assert items.weights.dtype == np.float32
    np.testing.assert_array_equal(items.weights, np.array(GIVEN, np.float32) / 5)
    assert TOLD in items.notes
    plain = load(tmp_path)
    assert plain.weights is None
    assert TOLD not in plain.notes


def test_the_hash_is_of_the_weights_of_training_items_and_as_it_was_without(tmp_path: Path) -> None:
    plain = load(tmp_path)
    columns = [plain.frame[name].tolist() for name in ("path", "label", "split", "role")]
    wanted = hashlib.sha256(json.dumps(columns).encode() + b"contents").hexdigest()
    assert hash_items(plain.frame, [b"contents"]) == wanted
    weighted, others = load(tmp_path, GIVEN), load(tmp_path, [*GIVEN, "7", "0"])
    assert plain.data_hash != weighted.data_hash == others.data_hash
    assert load(tmp_path, [*GIVEN[:-1], "2.5"]).data_hash != weighted.data_hash


@pytest.mark.parametrize("cell", ["-1", "nan", "inf", "1e999", "heavy", ""])
def test_a_weight_that_is_none(tmp_path: Path, cell: str) -> None:
    told = rf"items.csv:4: weight '{cell}' is not valid: give a number from 0 \(the column says"
    with pytest.raises(BenchError, match=told):
        load(tmp_path, ["1", "2", cell, *GIVEN[3:]])


def test_all_weights_0(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="every train item has the weight 0: leave weights out"):
        load(tmp_path, ["0"] * TRAINED)


def test_a_column_that_is_named_alike_is_no_slip(tmp_path: Path) -> None:
    write(tmp_path, GIVEN, name="height")
    items = load_items(config(tmp_path))
    assert items.weights is None
    kept = f"{tmp_path / 'items.csv'}: further column is kept as metadata: height"
    assert items.notes == (kept,)


def own_weights(images: torch.Tensor) -> torch.Tensor:
    """Return the weights that belong to vectors."""
    return torch.tensor([float(GIVEN[int(number)]) / 5 for number in images[:, 0]])


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_have_the_weights_of_their_items(tmp_path: Path, workers: int) -> None:
    settings = row(tmp_path, train={"steps": 4, "workers": workers})
    for items in (load(tmp_path, GIVEN), load(tmp_path, GIVEN, validation=0.5)):
        assert items.vectors is not None
        inputs = VectorSet(items.vectors, items.split("train")["path"].tolist())
        batches = list(training_batches(items, settings, 0, 0, 4, inputs=inputs))
        rows = np.arange(len(inputs))
        assert torch.equal(inputs.batch(rows, part=slice(1, 3)), inputs.batch(rows)[1:3])
        for batch in batches:
            assert batch.weights is not None
            torch.testing.assert_close(
                batch.weights / batch.weights.max(),
                own_weights(batch.images) / own_weights(batch.images).max(),
            )


def test_folds_keep_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, GIVEN)
    items = training_items(config(tmp_path))
    seen = []
    take_step = trials.take_step

    def spy(learner: Any, *rest: Any) -> Any:
        *_, images, _, weights = rest
        torch.testing.assert_close(weights / weights.max(), own_weights(images) / weights.max())
        seen.append(weights)
        return take_step(learner, *rest)

    monkeypatch.setattr(trials, "take_step", spy)
    tuning = TuningConfig.model_validate({"folds": 2, "every": 2})
    material = trials.Material(items, folds_of(items, "retrieval", 2))
    experiment = row(tmp_path, loss="softmax")
    trials.run_trial(experiment, tuning, material, study=0, index=0, point={})
    assert len(seen) == 4
    for fold in folds_of(items, "retrieval", 2):
        assert len(fold.items.weights) == len(fold.trained)  # type: ignore[arg-type]


def test_the_loss_is_told_that_takes_none(tmp_path: Path, stt_bench: Command) -> None:
    write(tmp_path, GIVEN)
    places = ["--runs", tmp_path / "runs", "--results", tmp_path / "results"]
    file = tmp_path / "own.yaml"
    file.write_text(
        "title: Own\nmodel: {backbone: identity, embedding_dim: 2}\n"
        f"data: {{name: features, root: {tmp_path / 'x.npy'}, options: {{items: items.csv}}}}\n"
        "sampler: {p: 2, k: 3}\ntrain: {steps: 2, threads: 1}\nevaluation: {ks: [1], restarts: 1}\n"
        "seeds: [0]\nrows:\n  hard: {loss: hard_triplet}\n  proxies: {loss: proxy_anchor}\n"
        "  none: {loss: softmax, train: {steps: 0}}\n"
    )
    told = (
        "the loss 'proxy_anchor' takes no sample weights, and dataset 'features' has some: leave "
        "out its column weight, or the row"
    )
    planned = stt_bench("run", file, "--dry-run", *places)
    assert told in " ".join(planned.stdout.split())
    done = stt_bench("run", file, *places)
    assert done.returncode == 1
    assert told in " ".join(done.stderr.split())
    record = read_record(tmp_path / "results/records/own/hard/seed-0.json")
    assert record.protocol["samples"] == "weighted by a column of the data"
    page = (tmp_path / "results/own.md").read_text()
    assert "samples weighted by a column of the data" in page


@pytest.fixture
def photo() -> Callable[[Path, int], None]:
    def save(path: Path, seed: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
        Image.fromarray(pixels).save(path)

    return save


def test_lists_of_images_and_clips(tmp_path: Path, photo: Callable[[Path, int], None]) -> None:
    for number in range(8):
        photo(tmp_path / f"{number}" / "0.png", number)
        photo(tmp_path / f"{number}" / "1.png", number + 8)
    lines = [f"{number}/0.png,{number // 2},{number}" for number in range(8)]
    (tmp_path / "one.csv").write_text("path,label,weight\n" + "\n".join(lines) + "\n")
    clips = [f"{number},{number // 2},{number}" for number in range(8)]
    (tmp_path / "clips.csv").write_text("clip,label,weight\n" + "\n".join(clips) + "\n")
    (tmp_path / "train.csv").write_text("path,label,weight\n" + "\n".join(lines[:4]) + "\n")
    (tmp_path / "test.csv").write_text(
        "path,label\n" + "\n".join(line.rpartition(",")[0] for line in lines[4:]) + "\n"
    )

    def weights(name: str, root: Path | None = None, **options: str) -> list[float]:
        where = None if root is None else str(root)
        found = load_items(DataConfig(name=name, root=where, options=options)).weights
        assert found is not None
        return (3 * found).round(4).tolist()

    assert weights("images", tmp_path / "one.csv") == [0, 1, 2, 3]
    assert weights("clips", tmp_path) == [0, 0, 1, 1, 2, 2, 3, 3]
    pair = {"train": str(tmp_path / "train.csv"), "test": str(tmp_path / "test.csv")}
    assert weights("images", **pair) == [0, 1, 2, 3]
    swapped = {"train": str(tmp_path / "test.csv"), "test": str(tmp_path / "train.csv")}
    assert load_items(DataConfig(name="images", options=swapped)).weights is None
    loose = loose_images(tmp_path / "one.csv")
    assert "weight" not in loose.frame
    assert f"{tmp_path / 'one.csv'}: the column weight is not used: nothing is trained" in (
        loose.notes
    )
