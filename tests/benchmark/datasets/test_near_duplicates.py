"""Near-duplicates: planted copies are found, look-alikes are not, and what was found is kept."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageOps
from scipy.fft import dctn
from scipy.ndimage import uniform_filter, zoom

from stt_bench.benchmark.datasets import ArrayStore, FileStore, ItemTable
from stt_bench.benchmark.datasets import near_duplicates as module
from stt_bench.benchmark.datasets.duplicate_search import (
    Thumbnails,
    hashes_of,
    similar_pairs,
)
from stt_bench.benchmark.datasets.items import item_table
from stt_bench.benchmark.datasets.near_duplicates import near_duplicates
from stt_bench.benchmark.datasets.verify import verify_dataset


def scene(seed: int, size: int = 96) -> Image.Image:
    """Return a picture of smooth random colours with some detail."""
    rng = np.random.default_rng(seed)
    coarse = zoom(rng.uniform(0, 255, (7, 7, 3)), (size / 7, size / 7, 1), order=1)
    fine = zoom(rng.uniform(-40, 40, (24, 24, 3)), (size / 24, size / 24, 1), order=1)
    return Image.fromarray(np.clip(coarse + fine, 0, 255).astype(np.uint8))


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "smaller": lambda image: image.resize((70, 70)),
    "larger": lambda image: image.resize((200, 200)),
    "squashed": lambda image: image.resize((96, 80)),
    "brighter": lambda image: image.point(lambda value: min(255, value * 5 // 4)),
    "darker": lambda image: image.point(lambda value: value * 4 // 5),
    "grey": lambda image: image.convert("L"),
    "mirrored": ImageOps.mirror,
    "cropped": lambda image: image.crop((3, 3, 93, 93)),
    "cropped at two sides": lambda image: image.crop((4, 4, 96, 96)),
}


@pytest.fixture
def table(tmp_path: Path) -> Callable[[], ItemTable]:
    """Eight training and eight test scenes; copies are planted before the table is made."""
    for seed in range(16):
        path = tmp_path / ("train" if seed < 8 else "test") / f"{seed}.png"
        path.parent.mkdir(exist_ok=True)
        scene(seed).save(path)

    def make() -> ItemTable:
        paths = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("*/*"))
        labels = [f"{path[:2]}{int(Path(path).stem.split('-')[0]) % 4}" for path in paths]
        frame = pd.DataFrame(
            {
                "path": paths,
                "label": labels,
                "split": [path.partition("/")[0] for path in paths],
                "role": "both",
            }
        )
        return item_table("scenes", frame, FileStore(tmp_path))

    return make


@pytest.mark.parametrize("way", COPIES)
def test_a_copy_in_the_test_split_is_found(table, tmp_path: Path, way: str) -> None:
    COPIES[way](scene(2)).save(tmp_path / "test" / "30.jpg", quality=60)
    found = near_duplicates(table())
    assert [(m.image, m.other, m.exact) for m in found.matches] == [
        ("test/30.jpg", "train/2.png", False)
    ]
    assert (found.pairs_exact, found.pairs_similar, found.pairs_across_classes) == (0, 1, 0)


def test_the_same_file_is_exact_and_counted_by_its_pairs(table, tmp_path: Path) -> None:
    for name in ("train/20.png", "test/21.png", "test/22.png", "test/23.png"):
        shutil.copy(tmp_path / "train" / "3.png", tmp_path / name)
    found = near_duplicates(table())
    assert (found.pairs_exact, found.pairs_similar) == (2 * 3, 0)
    assert [m.image for m in found.matches] == ["test/21.png", "test/22.png", "test/23.png"]
    assert all(m.exact and m.similarity == 1 for m in found.matches)
    assert found.pairs_across_classes == 3  # classes te1, te2 and te3
    assert len(found.across_classes) == 3


def test_copies_of_one_class_within_the_test_split_are_no_label_noise(table, tmp_path) -> None:
    shutil.copy(tmp_path / "test" / "9.png", tmp_path / "test" / "13.png")  # of one class
    found = near_duplicates(table())
    assert not found.matches
    assert found.pairs_across_classes == 0
    scene(9).resize((70, 70)).save(tmp_path / "test" / "10.png")  # of another
    found = near_duplicates(table())
    assert found.pairs_across_classes == 2
    assert {m.image for m in found.across_classes} == {f"test/{n}.png" for n in (9, 10, 13)}


def test_look_alikes_and_empty_images_are_no_copies(table, tmp_path: Path) -> None:
    for n, place in ((30, 40), (31, 41)):  # strokes of a pen, a pixel apart
        drawing = np.full((105, 105), 255, np.uint8)
        drawing[30:70, place : place + 3] = 0
        Image.fromarray(drawing).save(tmp_path / ("train", "test")[n - 30] / f"{n}.png")
    Image.new("L", (80, 80), 200).save(tmp_path / "train" / "32.png")
    Image.new("L", (80, 80), 90).save(tmp_path / "test" / "33.png")
    found = near_duplicates(table())
    assert not found.matches
    assert found.pairs_similar == 0


def test_images_in_memory_are_compared_by_their_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 28, 28), np.uint8)
    pixels[9], pixels[10] = pixels[2], np.clip(pixels[3].astype(int) + 3, 0, 255)
    frame = pd.DataFrame(
        {
            "path": [f"{n:02}" for n in range(12)],
            "label": list("aabbaabbccdd"),
            "split": ["train"] * 8 + ["test"] * 4,
            "role": "both",
        }
    )
    items = item_table("noise", frame, ArrayStore(frame["path"].tolist(), pixels))
    found = near_duplicates(items)
    assert [(m.image, m.other, m.exact) for m in found.matches] == [
        ("09", "02", True),
        ("10", "03", False),
    ]
    vectors = ItemTable("v", frame, items.read, "hash", pixels.astype(np.float32))
    assert near_duplicates(vectors) is None


def test_what_was_found_is_kept_by_content(table, tmp_path: Path, monkeypatch) -> None:
    scene(1).save(tmp_path / "test" / "30.jpg")
    first = near_duplicates(table())
    with monkeypatch.context() as patch:
        patch.setattr(module, "_find", lambda *_: pytest.fail("was found before"))
        assert near_duplicates(table()) == first
    scene(77).save(tmp_path / "test" / "30.jpg")  # another content under the same name
    assert len(first.matches) == 1
    assert not near_duplicates(table()).matches


def test_hashes_are_the_signs_of_a_cosine_transform() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (5, 32, 32), np.uint8)
    for image, value in zip(pixels, hashes_of(pixels), strict=True):
        parts = dctn(image.astype(float), type=2)[:8, :8].ravel()
        bits = [0, *(int(part > np.median(parts[1:])) for part in parts[1:])]
        assert np.packbits(bits).view(np.uint64)[0] == value


def test_the_search_is_that_of_all_pairs() -> None:
    """Small images: the rule without crops, each pair by itself."""
    rng = np.random.default_rng(2)
    pixels = rng.integers(0, 256, (60, 32, 32)).astype(np.uint8)
    for copy in range(30, 60):
        noise = rng.normal(0, rng.uniform(1, 40), (32, 32))
        source = pixels[copy - 30][:, ::-1] if copy % 3 == 0 else pixels[copy - 30]
        pixels[copy] = np.clip(source + noise, 0, 255)
    thumbnails = Thumbnails(pixels, np.full(60, True))
    found = similar_pairs(thumbnails, range(30), range(30, 60))
    expected = {}
    for a, b in itertools.product(range(30), range(30, 60)):
        for image in (pixels[a], pixels[a][:, ::-1]):
            bits = [int(hashes_of(one[None])[0]) for one in (image, pixels[b])]
            if (bits[0] ^ bits[1]).bit_count() > 6:
                continue
            details = []
            for one in (image, pixels[b]):
                detail = one - uniform_filter(one.astype(float), 5, mode="nearest")
                details.append(detail.ravel())
            score = np.corrcoef(details)[0, 1]
            if score >= 0.99:
                expected[a, b] = score
    assert 5 < len(expected) < 30
    assert [(a, b) for a, b, _ in found] == sorted(expected)
    assert [score for *_, score in found] == pytest.approx(
        list(map(expected.get, sorted(expected))), abs=1e-5
    )
    inside = similar_pairs(thumbnails, range(60))
    assert {(a, b) for a, b, _ in inside} == set(expected)


def test_data_verify_names_the_pairs(tmp_path: Path) -> None:
    for n in range(12):
        folder = tmp_path / ("train" if n < 6 else "test") / "abcd"[n // 3]
        folder.mkdir(parents=True, exist_ok=True)
        scene(n).save(folder / f"{n}.png")
    shutil.copy(tmp_path / "train/a/1.png", tmp_path / "test/c/20.png")
    scene(4).resize((80, 80)).save(tmp_path / "test/d/21.png")
    found = verify_dataset("images", root=str(tmp_path))
    assert found.passed
    lines = list(found.lines())
    at = lines.index("retrieval: 2 of 8 test images have a near-duplicate in training")
    assert lines[at + 1] == "  test/c/20.png and train/a/1.png: the same content"
    assert lines[at + 2].startswith("  test/d/21.png and train/b/4.png: alike by ")


@pytest.mark.data
def test_the_real_photos_have_those_that_were_looked_at(real) -> None:
    found = near_duplicates(real("cub50", "classification"))
    assert {Path(m.image).stem: Path(m.other).stem for m in found.matches} == {
        "Crested_Auklet_0059_794929": "Crested_Auklet_0057_794932",
        "Bronzed_Cowbird_0025_796213": "Bronzed_Cowbird_0074_24045",
    }


def test_plain_and_flat_images_are_told_image_by_image() -> None:
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 256, (40, 32, 32)).astype(np.uint8)
    for row, image in enumerate(pixels[:30]):
        of_one = rng.random((32, 32)) < row / 29
        image[of_one] = (
            rng.integers(rng.integers(0, 252), 256, of_one.sum()) if row % 5 == 0 else row
        )
    pixels[35] = 255
    pixels[36] = 7 + rng.integers(0, 4, (32, 32))
    thumbnails = Thumbnails(pixels, np.arange(40) == 38)
    plain = [
        max(np.mean(abs(image.astype(int) - grey) <= 2) for grey in range(256)) >= 0.4
        for image in pixels
    ]
    plain[38] = True
    assert thumbnails.plain.tolist() == plain
    assert 10 < sum(plain) < 30
    assert thumbnails.flat.tolist() == [bool(image.std() < 2) for image in pixels]
    assert thumbnails.flat.sum() == 3
