"""`input.resize_max`: the side of a training image is drawn for each batch."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy import stats
from torchvision.transforms.v2 import functional as tv

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.config.sections import InputConfig
from stt_bench.benchmark.datasets import (
    ArrayStore,
    FileStore,
    ItemTable,
    image_set,
    prepared_images,
)
from stt_bench.benchmark.datasets.augmentation import at_sizes, crop, draw_windows
from stt_bench.benchmark.datasets.batches import TrainingBatches, training_batches
from stt_bench.benchmark.datasets.image_set import ImageSet
from stt_bench.benchmark.datasets.transforms import prepare

CONFIG = InputConfig(size=10, resize=12, resize_max=20, crop="random", flip=True)
ROWS = np.array([3, 0, 3, 8])


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def smooth(width: int, height: int, seed: int = 0) -> Image.Image:
    """Return an image like a photo: neighbouring pixels are alike."""
    coarse = rng(seed).integers(0, 256, (max(2, height // 30), max(2, width // 30), 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def windows_of(images, config: InputConfig, rng: np.random.Generator):
    return draw_windows(np.array([image.shape[1:] for image in images]), config, rng)


def resized(images, config: InputConfig, rng: np.random.Generator) -> list[torch.Tensor]:
    return at_sizes(images, windows_of(images, config, rng).resized)


def table(store, paths: list[str]) -> ItemTable:
    frame = pd.DataFrame({"path": paths, "label": "a", "split": "train", "role": "both"})
    return ItemTable("t", frame, store.read, "", store.arrays)


@pytest.fixture
def photos(tmp_path) -> ItemTable:
    sizes = [(48, 36), (36, 48), (40, 40), (90, 30)] * 3
    for seed, size in enumerate(sizes):
        smooth(*size, seed).save(tmp_path / f"{seed}.png")
    return table(FileStore(tmp_path), [f"{i}.png" for i in range(12)])


def test_shorter_sides_are_uniform_and_both_ends_are_reached() -> None:
    wide = prepare(smooth(60, 40), CONFIG.model_copy(update={"resize": 20}))
    assert wide.shape == (3, 20, 30)
    found = resized([wide, wide.transpose(1, 2)] * 2000, CONFIG, rng())
    sides = np.array([min(image.shape[1:]) for image in found])
    counts = np.bincount(sides, minlength=21)
    assert counts[:12].sum() == 0
    assert len(counts) == 21
    assert stats.chisquare(counts[12:]).pvalue > 0.001
    assert np.corrcoef(sides[:-1], sides[1:])[0, 1] == pytest.approx(0, abs=0.05)
    for number, image in enumerate(found[:200]):
        height, width = image.shape[1:] if number % 2 == 0 else image.shape[:0:-1]
        assert width == int(height * 1.5)
        assert image.dtype == torch.uint8


def test_squashed_images_stay_square() -> None:
    config = CONFIG.model_copy(update={"aspect": "squash"})
    square = prepare(smooth(60, 40), config.model_copy(update={"resize": 20}))
    shapes = {tuple(image.shape) for image in resized([square] * 400, config, rng())}
    assert shapes == {(3, side, side) for side in range(12, 21)}


def test_without_resize_the_range_starts_at_the_size() -> None:
    config = InputConfig(size=10, resize_max=12, crop="random")
    image = prepare(smooth(30, 30), config.model_copy(update={"resize": 12}))
    assert {i.shape[1] for i in resized([image] * 100, config, rng())} == {10, 11, 12}


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_those_of_pil(channels: int) -> None:
    config = InputConfig(size=30, resize=30, resize_max=64, crop="random", channels=channels)
    prepared = prepare(smooth(120, 90), config.model_copy(update={"resize": 64}))
    for image in resized([prepared] * 30, config, rng()):
        height, width = image.shape[1:]
        by_pil = tv.to_pil_image(prepared).resize((width, height), Image.Resampling.BILINEAR)
        assert int((image.int() - tv.pil_to_tensor(by_pil).int()).abs().max()) <= 1


def test_two_resizings_are_near_to_one() -> None:
    config = InputConfig(size=30, resize=32, resize_max=64, crop="random")
    original = smooth(180, 180)
    prepared = prepare(original, config.model_copy(update={"resize": 64}))
    for image in resized([prepared] * 30, config, rng()):
        once = prepare(original, config.model_copy(update={"resize": image.shape[1]}))
        assert image.shape == once.shape
        assert float((image.float() - once.float()).abs().mean()) < 2  # of 255


def test_crops_are_windows_of_the_resized_images() -> None:
    images = [
        prepare(smooth(60, 40, s), CONFIG.model_copy(update={"resize": 20})) for s in range(8)
    ]
    crops = crop(images, windows_of(images, CONFIG, rng(5)), 10)
    assert crops.shape == (8, 3, 10, 10)
    for found, whole in zip(crops, resized(images, CONFIG, rng(5)), strict=True):
        windows = whole.unfold(1, 10, 1).unfold(2, 10, 1).permute(1, 2, 0, 3, 4)
        assert (windows == found).all(dim=(2, 3, 4)).any()


@pytest.mark.parametrize("aspect", ["keep", "squash"])
def test_batches_from_memory_from_disk_and_again(photos, monkeypatch, aspect) -> None:
    config = CONFIG.model_copy(update={"aspect": aspect})
    kept = ImageSet(photos, photos.frame, config, training=True)
    assert kept.load()
    monkeypatch.setattr(prepared_images, "memory_limit", lambda: 1000)
    decoded = ImageSet(photos, photos.frame, config, training=True)
    assert not decoded.load()
    batches = [kept.batch(ROWS, rng(seed)) for seed in range(5)]
    assert len({batch.numpy().tobytes() for batch in batches}) == 5
    for seed, batch in enumerate(batches):
        assert batch.shape == (4, 3, 10, 10)
        assert torch.equal(batch, kept.batch(ROWS, rng(seed)))
        assert torch.equal(batch, decoded.batch(ROWS, rng(seed)))


def test_testing_knows_one_side_only(photos) -> None:
    plain = InputConfig(size=10, resize=12)
    ours = ImageSet(photos, photos.frame, CONFIG)
    assert torch.equal(
        ours.batch(ROWS, rng()), ImageSet(photos, photos.frame, plain).batch(ROWS, rng())
    )

    def shared(config: InputConfig, training: bool) -> ImageSet:
        return image_set.image_set(photos, "train", config, training=training)

    without = CONFIG.model_copy(update={"resize_max": None})
    assert shared(CONFIG, False) is shared(without, False)
    assert shared(CONFIG, True) is not shared(without, True)


def test_an_array_of_the_largest_side_is_taken_as_it_is(monkeypatch) -> None:
    pixels = rng().integers(0, 256, (9, 20, 26), np.uint8)
    paths = [str(i) for i in range(9)]
    items = table(ArrayStore(paths, pixels), paths)
    config = CONFIG.model_copy(update={"channels": 1})
    by_pil = ImageSet(items, items.frame, config, training=True)
    monkeypatch.setattr(ImageSet, "_from_array", lambda self: None)
    assert by_pil.load()
    monkeypatch.undo()
    direct = ImageSet(items, items.frame, config, training=True)
    monkeypatch.setattr(ImageSet, "_prepare", None)  # PIL must not be asked
    assert direct.load()
    assert torch.equal(direct.batch(ROWS, rng(1)), by_pil.batch(ROWS, rng(1)))


def experiment(workers: int = 0) -> Experiment:
    settings = {
        "data": {"name": "x"},
        "loss": "softmax",
        "input": CONFIG.model_dump(),
        "sampler": {"p": 2, "k": 3},
        "train": {"workers": workers},
    }
    return Experiment.model_validate(settings)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_is_a_function_of_seed_and_step(load, mini_cub, workers) -> None:
    birds = load("cub50", mini_cub)
    whole = list(training_batches(birds, experiment(), 3, 0, 6))
    later = list(training_batches(birds, experiment(workers), 3, 4, 6))
    for one, other in zip(whole[4:], later, strict=True):
        assert one.step == other.step
        assert torch.equal(one.images, other.images)
    other_seed = TrainingBatches(birds, experiment(), 4)
    assert not torch.equal(other_seed[0].images, whole[0].images)
