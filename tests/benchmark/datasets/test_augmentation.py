"""Sides, crops and flips of training images: against torchvision, and against a loop by image."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms import functional as tv
from torchvision.transforms.v2 import functional as v2

from stt_bench.benchmark.config.sections import InputConfig
from stt_bench.benchmark.datasets import ArrayStore, FileStore, ItemTable
from stt_bench.benchmark.datasets.augmentation import (
    crop,
    draw_mirrored,
    draw_windows,
    mirror,
    random_window,
)
from stt_bench.benchmark.datasets.image_set import ImageSet
from stt_bench.benchmark.datasets.transforms import center_crop, prepare, resized_size


def numbered(height: int, width: int) -> torch.Tensor:
    """Return an image whose pixels tell their place."""
    return torch.arange(height * width, dtype=torch.uint8).reshape(1, height, width)


def random_crops(images, config: InputConfig, rng: np.random.Generator) -> torch.Tensor:
    sizes = np.array([image.shape[1:] for image in images])
    return crop(images, draw_windows(sizes, config, rng), config.size)


def test_random_crops_reach_every_place():
    config = InputConfig(size=8, resize=10, crop="random", channels=1)
    image = numbered(10, 12)
    places = set()
    for seed in range(200):
        crops = random_crops([image] * 2, config, np.random.default_rng(seed))
        for found in crops:
            top, left = divmod(int(found[0, 0, 0]), 12)
            assert torch.equal(found, image[:, top : top + 8, left : left + 8])
            places.add((top, left))
    assert places == {(top, left) for top in range(3) for left in range(5)}


def test_random_crops_of_images_that_fit_exactly():
    config = InputConfig(size=10, crop="random", channels=1)
    image = numbered(10, 10)
    assert torch.equal(random_crops([image], config, np.random.default_rng(0))[0], image)


def test_half_of_the_images_are_flipped():
    images = torch.stack([numbered(4, 5)] * 2000)
    flipped = images.clone()
    mirror(flipped, draw_mirrored(2000, np.random.default_rng(0)))
    mirrored = (flipped == images.flip(-1)).all(dim=(1, 2, 3))
    assert (mirrored | (flipped == images).all(dim=(1, 2, 3))).all()
    assert float(mirrored.float().mean()) == pytest.approx(0.5, abs=0.04)


def test_random_windows_are_distributed_as_torchvisions():
    width, height = 60, 40
    rng = np.random.default_rng(0)
    ours = np.array([random_window(width, height, rng) for _ in range(4000)])
    torch.manual_seed(0)
    image = torch.empty(1, height, width)
    theirs = np.array(
        [RandomResizedCrop.get_params(image, (0.08, 1), (3 / 4, 4 / 3)) for _ in range(4000)]
    )
    np.testing.assert_allclose(ours.mean(0), theirs.mean(0), atol=0.6)
    np.testing.assert_allclose(ours.std(0), theirs.std(0), atol=0.6)
    for top, left, h, w in ours:
        assert 0 <= top <= height - h
        assert 0 <= left <= width - w


@pytest.mark.parametrize(("width", "height"), [(400, 2), (2, 400)])
def test_windows_of_extreme_images_are_central(width, height):
    windows = [random_window(width, height, np.random.default_rng(s)) for s in range(300)]
    expected = RandomResizedCrop.get_params(torch.empty(1, height, width), (2, 2), (3 / 4, 4 / 3))
    assert tuple(expected) in windows
    for top, left, h, w in windows:
        assert 0 <= top <= height - h
        assert 0 <= left <= width - w


def test_random_resized_crops_are_resized_as_torchvision_does():
    config = InputConfig(size=12, crop="random_resized")
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 20, 30), np.uint8))
    found = random_crops([image], config, np.random.default_rng(3))[0]
    window = random_window(30, 20, np.random.default_rng(3))
    expected = tv.resized_crop(tv.to_pil_image(image), *window, [12, 12])
    difference = found.int() - tv.pil_to_tensor(expected).int()
    assert found.shape == (3, 12, 12)
    assert int(difference.abs().max()) <= 1


def by_loop(items: ItemTable, rows, config: InputConfig, rng: np.random.Generator) -> torch.Tensor:
    """Return a batch made image by image, in the order in which the numbers have to be drawn."""
    largest = config.model_copy(update={"resize": config.resize_max or config.resize})
    images = [prepare(items.read(items.frame["path"][row]), largest) for row in rows]
    size = config.size
    if config.crop == "center":
        made = [center_crop(image, size) for image in images]
    elif config.crop == "random_resized":
        made = []
        for image in images:
            window = random_window(image.shape[2], image.shape[1], rng)
            made.append(v2.resized_crop(image, *window, [size, size], antialias=True))
    else:
        if config.resize_max is not None:
            sides = rng.integers(config.resize or size, config.resize_max + 1, len(rows))
            for place, side in enumerate(sides.tolist()):
                one = config.model_copy(update={"resize": side})
                width, height = resized_size(*images[place].shape[:0:-1], one)
                images[place] = v2.resize(images[place], [height, width], antialias=True)
        made = []
        for image in images:
            top = rng.integers(0, image.shape[1] - size + 1)
            left = rng.integers(0, image.shape[2] - size + 1)
            made.append(image[:, top : top + size, left : left + size])
    if config.flip:
        drawn = [rng.random() < 0.5 for _ in rows]
        made = [v2.hflip(one) if yes else one for one, yes in zip(made, drawn, strict=True)]
    return torch.stack(made)


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> dict[str, ItemTable]:
    """Return images of several sizes, and an array of images of one size."""
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    sizes = [(30, 20), (20, 30), (25, 25), (64, 20)] * 3
    for number, (width, height) in enumerate(sizes):
        pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    paths = [f"{number}.png" for number in range(12)]
    stores = {
        "files": FileStore(folder),
        "array": ArrayStore(paths, rng.integers(0, 256, (12, 20, 27, 3), np.uint8)),
    }
    frame = pd.DataFrame({"path": paths, "label": "a", "split": "train", "role": "both"})
    return {name: ItemTable("t", frame, s.read, "", s.arrays) for name, s in stores.items()}


ROWS = np.array([3, 0, 3, 8, 11, 5, 2])
CONFIGS = {
    "center": {"crop": "center"},
    "random": {"crop": "random"},
    "random at one size": {"crop": "random", "resize": 20},
    "random_resized": {"crop": "random_resized"},
    "resize_max": {"crop": "random", "resize_max": 22},
    "squash": {"crop": "random", "aspect": "squash"},
}


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("changes", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("source", ["files", "array"])
@pytest.mark.parametrize("loaded", [False, True])
def test_a_batch_and_its_parts_are_those_of_a_loop(
    sources, monkeypatch, source, changes, flip, loaded
):
    config = InputConfig(**{"size": 12, "resize": 16, "flip": flip, **changes})
    items = sources[source]
    images = ImageSet(items, items.frame, config, training=True)
    if loaded:
        assert images.load()
    for seed in range(3):
        expected = by_loop(items, ROWS, config, np.random.default_rng(seed))
        found = images.batch(ROWS, np.random.default_rng(seed))
        assert torch.equal(found, expected)
        assert found.is_contiguous()
        for part in (slice(0, 3), slice(3, 7), slice(6, 7), slice(None, None, 2)):
            # A new set has seen no size of the images beyond the part.
            fresh = images if loaded else ImageSet(items, items.frame, config, training=True)
            found = fresh.batch(ROWS, np.random.default_rng(seed), part)
            assert torch.equal(found, expected[part])


@pytest.mark.parametrize("changes", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("source", ["files", "array"])
def test_a_pixels_channels_lie_together_where_images_are_resized_for_each_batch(
    sources, source, changes
):
    """Torch resizes them in two thirds of the time; where they are only cropped, planes do."""
    config = InputConfig(**{"size": 12, "resize": 20, **changes})
    items = sources[source]
    images = ImageSet(items, items.frame, config, training=True)
    assert images.load()
    resized = "resize_max" in changes or config.crop == "random_resized"
    assert {image.stride(0) == 1 for image in images._kept} == {resized}
    assert images.batch(ROWS).is_contiguous()


def test_a_part_of_images_whose_sizes_are_known_decodes_no_other(sources, monkeypatch):
    items = sources["files"]
    config = InputConfig(size=12, resize=16, crop="random", flip=True)
    images = ImageSet(items, items.frame, config, training=True)
    images.check()
    whole, seen = images.batch(ROWS, np.random.default_rng(1)), []
    prepare_one = ImageSet._prepare
    monkeypatch.setattr(
        ImageSet, "_prepare", lambda self, row: seen.append(row) or prepare_one(self, row)
    )
    part = images.batch(ROWS, np.random.default_rng(1), slice(2, 4))
    assert torch.equal(part, whole[2:4])
    assert sorted(seen) == sorted(ROWS[2:4])
