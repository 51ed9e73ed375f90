"""Images that were left out stand in facts, record and page; without the option nothing runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from command_line import Command
from PIL import Image

from stt_bench.benchmark.store.records import read_record

TABLE = """\
title: Scenes
description: For tests.
seeds: [0]
data: {name: images, root: %s%s}
input: {size: 16, channels: 3}
model: {backbone: small_cnn, embedding_dim: 8}
sampler: {name: pxk, p: 2, k: 2}
train: {steps: 0, threads: 1}
evaluation: {ks: [1], restarts: 1, distance: cosine}
rows: {softmax: {label: Softmax, loss: softmax}}
"""


def test_from_the_config_to_the_page(stt_bench: Command, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(20):
        label = "abcd"[number // 5]
        folder = tmp_path / "photos" / ("train" if label in "ab" else "test") / label
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (20, 24, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    bad = ["test/c/12.png", "train/a/03.png"]
    for name in bad:
        (tmp_path / "photos" / name).write_bytes(b"")
    table, results = tmp_path / "scenes.yaml", tmp_path / "results"
    command = ("run", table, "--runs", tmp_path / "runs", "--results", results, "-q")

    table.write_text(TABLE % (tmp_path / "photos", ""))
    done = stt_bench(*command)
    assert done.returncode == 1
    assert "2 of 20 images cannot be used" in done.stderr
    assert "data.skip_unreadable: true" in done.stderr
    assert not list(results.rglob("seed-0.json"))

    table.write_text(TABLE % (tmp_path / "photos", ", skip_unreadable: true"))
    done = stt_bench(*command, "--force")
    assert done.returncode == 0, done
    record = read_record(results / "records/scenes/softmax/seed-0.json")
    facts = json.loads((tmp_path / "runs/scenes/softmax/seed-0/training.json").read_text())
    assert record.training.unreadable is not None
    assert sorted(record.training.unreadable) == bad
    assert facts["unreadable"] == record.training.unreadable
    assert record.metrics["queries"] == 9
    page = (results / "scenes.md").read_text().replace("\\", "")
    told = f"2 images could not be read and are left out of the data {record.data_hash[:16]}: "
    assert told in page
    assert all(f"{name} (it is empty, or of no format that Pillow reads)" in page for name in bad)
