"""Fixtures: loading, miniature copies of the datasets, and the real data where they are."""

from pathlib import Path

import numpy as np
import pytest
from dataset_miniatures import (
    CUB_CLASSES,
    lift_counts,
    miniature,
    write_cub_index,
    write_fashion,
    write_omniglot,
)
from PIL import Image

from stt_bench.benchmark.config.sections import DataConfig
from stt_bench.benchmark.datasets import Counts, ItemTable, find_folder, load_items
from stt_bench.benchmark.datasets.catalog import find_dataset


@pytest.fixture
def nowhere(tmp_path, monkeypatch) -> Path:
    """Work in an empty folder, so that no data are found."""
    folder = tmp_path / "work" / "checkout"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("STT_BENCH_DATA", raising=False)
    return folder


@pytest.fixture
def load():
    """Load items by the fields of a data section."""

    def call(name: str, root: Path | None = None, task: str = "retrieval", **options) -> ItemTable:
        where = None if root is None else str(root)
        return load_items(DataConfig(name=name, root=where, task=task, options=options))

    return call


@pytest.fixture
def real(load):
    """Load a dataset from its real copy or skip."""

    def call(name: str, task: str = "retrieval") -> ItemTable:
        folder = find_dataset(name).folder
        found = find_folder("data", folder)
        if found is None:
            pytest.skip(f"needs data/{folder} beside the checkout or in STT_BENCH_DATA")
        return load(name, found, task)

    return call


@pytest.fixture
def expect(monkeypatch):
    """Declare other counts for a dataset."""

    def declare(name: str, task: str, *counts: int) -> None:
        monkeypatch.setitem(find_dataset(name).counts, task, Counts(*counts))

    return declare


@pytest.fixture
def save():
    """Save an image of random pixels; the mode and format follow from shape and name."""

    def save_image(path: Path, size: tuple[int, int] = (6, 4), seed: int = 0, **kwargs) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
        Image.fromarray(pixels).save(path, **kwargs)
        return path

    return save_image


@pytest.fixture
def mini(tmp_path, monkeypatch):
    """Write a miniature and let its dataset have the miniature's counts."""

    def build(name: str) -> Path:
        lift_counts(monkeypatch, name)
        return miniature(name, tmp_path / name)

    return build


@pytest.fixture
def mini_fashion(tmp_path, expect) -> Path:
    root = tmp_path / "fashion"
    write_fashion(root)
    expect("fashion_mnist", "retrieval", 20, 10, 5, 5)
    expect("fashion_mnist", "classification", 40, 20, 10, 10)
    return root


@pytest.fixture
def mini_omniglot(tmp_path, expect) -> Path:
    root = tmp_path / "omniglot"
    write_omniglot(root)
    expect("omniglot", "retrieval", 6, 4, 3, 2)
    return root


@pytest.fixture
def mini_cub(tmp_path, expect, save) -> Path:
    """Four classes of 3 images each."""
    folder = tmp_path / "cub" / "CUB_200_2011"
    images: list[tuple[str, str, int, bool]] = []
    for c, name in enumerate(CUB_CLASSES, 1):
        for i in (3, 1, 2):
            number = len(images) + 1
            path = f"{name}/{name[4:]}_{i}.jpg"
            save(folder / "images" / path, (20 + number, 16), seed=number)
            images.append((str(number), path, c, number % 3 == 1))
    write_cub_index(folder, [f"{c} {name}" for c, name in enumerate(CUB_CLASSES, 1)], images)
    expect("cub50", "retrieval", 6, 6, 2, 2)
    expect("cub50", "classification", 4, 8, 4, 4)
    return folder.parent
