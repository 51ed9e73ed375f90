"""The same photo in train and test: counted in the record, scored without, told on the page."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from command_line import Command
from PIL import Image
from scipy.ndimage import zoom

from stt_bench.benchmark.datasets import ArrayStore
from stt_bench.benchmark.datasets.items import item_table
from stt_bench.benchmark.embedding.embed import _duplicates
from stt_bench.benchmark.store.records import Record, read_record
from stt_bench.benchmark.system.progress import Reporter

TABLE = """\
title: Scenes
description: For tests.
seeds: [0]
data: {name: images, root: %s}
input: {size: 16, channels: 3}
model: {backbone: small_cnn, embedding_dim: 8}
sampler: {name: pxk, p: 2, k: 2}
train: {steps: 0, threads: 1}
evaluation: {ks: [1], restarts: 1, distance: cosine}
rows: {softmax: {label: Softmax, loss: softmax}}
"""


def scene(seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    pixels = zoom(rng.uniform(0, 255, (12, 12, 3)), (8, 8, 1), order=1)
    return Image.fromarray(pixels.astype(np.uint8))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Four classes of five photos, two of them to train on."""
    for number in range(20):
        label = "abcd"[number // 5]
        folder = tmp_path / "photos" / ("train" if label in "ab" else "test") / label
        folder.mkdir(parents=True, exist_ok=True)
        scene(number).save(folder / f"{number:02}.png")
    return tmp_path / "photos"


@pytest.fixture
def record_of(stt_bench: Command, tmp_path: Path, photos: Path):
    def call() -> Record:
        table = tmp_path / "scenes.yaml"
        table.write_text(TABLE % photos)
        places = ("--runs", tmp_path / "runs", "--results", tmp_path / "results")
        done = stt_bench("run", table, *places, "-q")
        assert done.returncode == 0, done
        return read_record(tmp_path / "results/records/scenes/softmax/seed-0.json")

    return call


def retrieval_without(folder: Path, left_out: set[str]) -> tuple[float, float]:
    """Return Recall@1 and MAP@R by their definitions, without some items."""
    table = pd.read_csv(folder / "items.csv", dtype=str)
    kept = [row for row, name in enumerate(table["id"]) if name not in left_out]
    x = np.load(folder / "embeddings.npy").astype(float)[kept]
    labels = table["label"].to_numpy()[kept]
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    first, average = [], []
    for query in range(len(x)):
        order = np.argsort(-(x @ x[query]), kind="stable")
        hits = labels[order[order != query]] == labels[query]
        r = hits.sum()
        first.append(hits[0])
        average.append(sum(hits[: k + 1].mean() for k in range(r) if hits[k]) / r)
    return float(np.mean(first)), float(np.mean(average))


def test_copies_are_counted_and_left_out(record_of, photos: Path, tmp_path: Path) -> None:
    shutil.copy(photos / "train/a/01.png", photos / "test/c/90.png")
    scene(6).resize((70, 70)).save(photos / "test/d/91.jpg", quality=70)
    scene(11).resize((80, 80)).save(photos / "test/d/92.png")
    record = record_of()
    found = record.near_duplicates
    assert found is not None
    assert (found.pairs_exact, found.pairs_similar, found.pairs_across_classes) == (1, 1, 1)
    assert (found.test_items, found.items) == (2, 13)
    folder = tmp_path / "runs/scenes/softmax/seed-0/embeddings/test"
    copies = {"test/c/90.png", "test/d/91.jpg"}
    expected = retrieval_without(folder, copies)
    assert found.metrics_without is not None
    assert found.metrics_without["queries"] == 11
    told = [found.metrics_without[name] for name in ("recall@1", "map@r")]
    assert told == pytest.approx(expected, abs=1e-6)
    page = (tmp_path / "results/scenes.md").read_text().replace("\\", "")
    assert "2 of 13 test items have a near-duplicate in training: 1 pairs of one content, 1" in page
    whole, without = (100 * one["map@r"] for one in (record.metrics, found.metrics_without))
    assert f"Softmax: MAP@R {whole:.2f} with and {without:.2f} without them" in page
    assert "1 pair of test images that are alike is of two classes" in page


def test_where_there_are_none_the_page_says_so(record_of, tmp_path: Path) -> None:
    found = record_of().near_duplicates
    assert found is not None
    assert (found.test_items, found.items, found.metrics_without) == (0, 10, None)
    page = (tmp_path / "results/scenes.md").read_text().replace("\\", "")
    assert "No test item has a near-duplicate in training, by content and by perceptual" in page


def test_edited_counts_are_found_in_the_images(
    record_of, photos: Path, tmp_path: Path, stt_bench: Command
) -> None:
    shutil.copy(photos / "train/a/01.png", photos / "test/c/90.png")
    record = record_of()
    assert record.near_duplicates is not None
    none = {"pairs_exact": 0, "test_items": 0, "metrics_without": None}
    edited = record.near_duplicates.model_copy(update=none)
    path = tmp_path / "results/records/scenes/softmax/seed-0.json"
    record.model_copy(update={"near_duplicates": edited}).save(path)
    shutil.rmtree(tmp_path / "runs/scenes/softmax/seed-0/embeddings")
    places = ("--runs", tmp_path / "runs", "--results", tmp_path / "results")
    done = stt_bench("verify", "all", *places, "--data-root", photos)
    assert done.returncode == 1
    told = "near_duplicates.pairs_exact: 0 → 1 when the images are compared again"
    assert told in done.stdout
    assert "near_duplicates.test_items: 0 → 1" in done.stdout


def test_where_all_are_copies_nothing_is_left_to_measure(record_of, photos: Path) -> None:
    for label, start in (("c", 0), ("d", 5)):
        shutil.rmtree(photos / "test" / label)
        shutil.copytree(photos / "train" / "ab"[start > 0], photos / "test" / label)
    found = record_of().near_duplicates
    assert found is not None
    assert (found.pairs_exact, found.test_items, found.metrics_without) == (10, 10, None)


def test_a_clip_of_which_frames_are_copies_is_one_item() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 28, 28), np.uint8)
    pixels[8], pixels[9] = pixels[0], pixels[1]
    frame = pd.DataFrame(
        {
            "path": [f"{n:02}" for n in range(12)],
            "label": list("aabbaabbcccc"),
            "split": ["train"] * 8 + ["test"] * 4,
            "role": "both",
            "group": [f"clip{n // 2}" for n in range(12)],
        }
    )
    items = item_table("clips", frame, ArrayStore(frame["path"].tolist(), pixels))
    facts: Any = SimpleNamespace(data_hash=items.data_hash)
    quiet = Reporter(quiet=True)
    told = _duplicates(facts, items, "test", quiet)["near_duplicates"]
    assert (told["pairs_exact"], told["items"], told["test_ids"]) == (2, 2, ["clip4"])
    assert _duplicates(facts, items, "train", quiet) == {}
    other: Any = SimpleNamespace(data_hash="of other training data")
    assert _duplicates(other, items, "test", quiet) == {}
