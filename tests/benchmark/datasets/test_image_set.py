import threading

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from stt_bench.benchmark.config.sections import InputConfig
from stt_bench.benchmark.datasets import (
    ArrayStore,
    FileStore,
    ItemTable,
    image_set,
    prepared_images,
)
from stt_bench.benchmark.datasets.image_set import ImageSet
from stt_bench.benchmark.datasets.transforms import center_crop, prepare
from stt_bench.benchmark.system import blocks
from stt_bench.benchmark.system.errors import BenchError


def table(store, paths: list[str]) -> ItemTable:
    frame = pd.DataFrame({"path": paths, "label": "a", "split": "train", "role": "both"})
    return ItemTable("t", frame, store.read, "", store.arrays)


def arrays(shape=(10, 12), n=9, channels=None) -> ItemTable:
    full = (n, *shape) if channels is None else (n, *shape, channels)
    pixels = np.random.default_rng(0).integers(0, 256, full, np.uint8)
    paths = [f"{i}" for i in range(n)]
    return table(ArrayStore(paths, pixels), paths)


@pytest.fixture
def photos(tmp_path, save) -> ItemTable:
    sizes = [(30, 20), (20, 30), (25, 25), (64, 20)] * 3
    paths = [f"{i}.png" for i in range(12)]
    for seed, (path, size) in enumerate(zip(paths, sizes, strict=True)):
        save(tmp_path / path, size, seed=seed)
    return table(FileStore(tmp_path), paths)


ROWS = np.array([3, 0, 3, 8])


def expected(items: ItemTable, rows, config: InputConfig) -> torch.Tensor:
    paths = items.frame["path"]
    images = [prepare(items.read(paths[row]), config) for row in rows]
    return torch.stack([center_crop(image, config.size) for image in images])


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("loaded", [False, True])
@pytest.mark.parametrize("crop", ["center", "random", "random_resized"])
@pytest.mark.parametrize("aspect", ["keep", "squash"])
def test_without_a_generator_the_crop_is_central(photos, training, loaded, crop, aspect):
    config = InputConfig(size=12, resize=16, crop=crop, aspect=aspect, flip=True)
    images = ImageSet(photos, photos.frame, config, training=training)
    if loaded:
        assert images.load()
    assert torch.equal(images.batch(ROWS), expected(photos, ROWS, config))


@pytest.mark.parametrize("crop", ["center", "random", "random_resized"])
def test_memory_changes_nothing(photos, monkeypatch, crop):
    config = InputConfig(size=12, resize=16, crop=crop, flip=True)
    kept = ImageSet(photos, photos.frame, config, training=True)
    assert kept.load()
    monkeypatch.setattr(prepared_images, "memory_limit", lambda: 1000)
    decoded = ImageSet(photos, photos.frame, config, training=True)
    assert not decoded.load()
    for seed in range(5):
        batch = kept.batch(ROWS, np.random.default_rng(seed))
        assert torch.equal(batch, decoded.batch(ROWS, np.random.default_rng(seed)))
    assert not torch.equal(batch, kept.batch(ROWS))


def test_the_memory_estimate(photos, monkeypatch):
    config = InputConfig(size=12, resize=16, crop="random")
    need = sum(prepare(photos.read(p), config).numel() for p in photos.frame["path"])
    monkeypatch.setattr(prepared_images, "memory_limit", lambda: need)
    assert ImageSet(photos, photos.frame, config, training=True).load()
    monkeypatch.setattr(prepared_images, "memory_limit", lambda: need - 1)
    assert not ImageSet(photos, photos.frame, config, training=True).load()


@pytest.mark.parametrize("threads", [1, 4])
def test_threads_keep_the_order(photos, monkeypatch, threads):
    monkeypatch.setattr(prepared_images, "_WORTH_THREADS", 0 if threads > 1 else 1e9)
    monkeypatch.setattr(prepared_images, "thread_count", lambda: threads)
    monkeypatch.setattr(blocks, "BLOCK", 1)
    config = InputConfig(size=16)
    images = ImageSet(photos, photos.frame, config)
    images.load()
    rows = np.arange(12)
    assert torch.equal(images.batch(rows), expected(photos, rows, config))


@pytest.mark.parametrize(
    ("shape", "own_channels", "config"),
    [
        ((10, 12), None, InputConfig(size=10, channels=1)),
        ((10, 12), None, InputConfig(size=10, channels=3)),
        ((12, 12), None, InputConfig(size=9, resize=12, channels=1)),
        ((12, 12), None, InputConfig(size=12, channels=1, aspect="squash")),
        ((12, 12), 3, InputConfig(size=12, channels=3)),
    ],
)
@pytest.mark.parametrize("crop", ["center", "random"])
def test_the_array_shortcut_equals_pil(monkeypatch, shape, own_channels, config, crop):
    config = config.model_copy(update={"crop": crop, "flip": True})
    items = arrays(shape, channels=own_channels)
    frame = items.frame.iloc[[8, 1, 5, 2, 7]].reset_index(drop=True)
    by_pil = ImageSet(items, frame, config, training=True)
    monkeypatch.setattr(ImageSet, "_from_array", lambda self: None)
    assert by_pil.load()
    monkeypatch.undo()
    direct = ImageSet(items, frame, config, training=True)
    monkeypatch.setattr(ImageSet, "_prepare", None)  # PIL must not be asked
    assert direct.load()
    rows = np.array([4, 0, 0, 3])
    for rng in (None, 0, 1, 2):
        both = [
            images.batch(rows, None if rng is None else np.random.default_rng(rng))
            for images in (direct, by_pil)
        ]
        assert torch.equal(*both)
        assert both[0].is_contiguous()


@pytest.mark.parametrize(
    ("shape", "own_channels", "config"),
    [
        ((10, 12), None, InputConfig(size=11, channels=1)),
        ((10, 12), None, InputConfig(size=10, channels=1, aspect="squash")),
        ((10, 10), 3, InputConfig(size=10, channels=1)),
        ((10, 10), 4, InputConfig(size=10, channels=3)),
    ],
)
def test_where_the_shortcut_does_not_apply(shape, own_channels, config):
    items = arrays(shape, channels=own_channels)
    images = ImageSet(items, items.frame, config)
    assert images._from_array() is None
    images.load()
    assert torch.equal(images.batch(ROWS), expected(items, ROWS, config))


def test_a_batch_is_the_callers():
    items = arrays()
    images = ImageSet(items, items.frame, InputConfig(size=10, channels=1))
    images.load()
    before = images.batch(ROWS).clone()
    images.batch(ROWS).zero_()
    assert torch.equal(images.batch(ROWS), before)


def test_testing_never_flips():
    items = arrays((8, 8))
    config = InputConfig(size=8, channels=1, flip=True)
    tested = ImageSet(items, items.frame, config)
    batches = [tested.batch(ROWS, np.random.default_rng(seed)) for seed in range(8)]
    assert all(torch.equal(batch, tested.batch(ROWS)) for batch in batches)
    trained = ImageSet(items, items.frame, config, training=True)
    batches = [trained.batch(ROWS, np.random.default_rng(seed)) for seed in range(8)]
    assert any(torch.equal(b[0], tested.batch(ROWS)[0].flip(-1)) for b in batches)


def test_progress(photos, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", 5)
    for items in (photos, arrays()):
        calls: list[tuple[int, int]] = []
        images = ImageSet(items, items.frame, InputConfig(size=10, channels=1))
        images.load(lambda done, total, calls=calls: calls.append((done, total)))
        assert calls == ([(5, 12), (10, 12), (12, 12)] if items is photos else [(9, 9)])
        assert images.load(lambda *_: pytest.fail("it is loaded"))


def test_images_of_one_size_are_one_tensor_and_all_others_a_list(photos, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", 2)
    for rows, config, kind in (
        (range(12), InputConfig(size=12, resize=16, crop="random"), list),
        ([0, 4, 8], InputConfig(size=12, resize=16, crop="random"), torch.Tensor),
        ([0, 4, 8, 1], InputConfig(size=12, resize=16, crop="random"), list),
        (range(12), InputConfig(size=12), torch.Tensor),
    ):
        frame = photos.frame.iloc[list(rows)].reset_index(drop=True)
        images = ImageSet(photos, frame, config, training=True)
        assert images.load()
        assert isinstance(images._kept, kind)
        some = ItemTable("t", frame, photos.read, "")
        every = np.arange(len(frame))
        assert torch.equal(images.batch(every), expected(some, every, config))


def test_stopped_while_progress_is_told_no_thread_reads_on(photos, monkeypatch):
    """Also while the error is held, as the command holds it until it ends."""
    monkeypatch.setattr(blocks, "BLOCK", 1)

    def stopped(*_):
        raise KeyboardInterrupt

    before = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt) as held:
        ImageSet(photos, photos.frame, InputConfig(size=10)).load(stopped)
    assert not set(threading.enumerate()) - before
    assert held.tb is not None


def test_bad_images_are_named(photos, tmp_path):
    (tmp_path / "4.png").write_bytes(b"no image")
    images = ImageSet(photos, photos.frame, InputConfig(size=10))
    with pytest.raises(BenchError, match=r"4.png cannot be read as an image"):
        images.load()
    with pytest.raises(BenchError, match=r"4.png cannot be read as an image"):
        images.batch(np.array([3, 4]))
    Image.new("F", (20, 20)).save(tmp_path / "f.tif")
    items = table(FileStore(tmp_path), ["f.tif"])
    with pytest.raises(BenchError, match=r"f.tif cannot be converted \(32-bit float pixels"):
        ImageSet(items, items.frame, InputConfig(size=10)).load()


def test_rows_with_the_same_preparation_share_their_images():
    items = arrays()
    config = InputConfig(size=8, crop="random", channels=1)

    def get(training: bool, **changes) -> ImageSet:
        changed = config.model_copy(update=changes)
        return image_set.image_set(items, "train", changed, training=training)

    assert get(True) is get(True, mean=[0.5], std=[0.5])
    assert get(False) is get(False, crop="center", flip=True)
    different = [
        get(True),
        get(False),
        get(True, flip=True),
        get(True, resize=9),
        get(False, size=9),
    ]
    assert len({id(images) for images in different}) == 5
    assert get(True).training
    assert not get(False).training


@pytest.mark.parametrize("aspect", ["keep", "squash"])
def test_views_are_the_same_from_memory_and_from_disk(photos, aspect):
    from torchvision.transforms.v2.functional import five_crop, hflip

    def five(image):
        return five_crop(image, [12, 12])

    config = InputConfig(size=12, resize=16, aspect=aspect)
    kept, decoded = (ImageSet(photos, photos.frame, config, five=True) for _ in range(2))
    assert kept.load()
    paths = photos.frame["path"]
    images = [prepare(photos.read(paths[row]), config) for row in ROWS]
    crops = [torch.stack(view) for view in zip(*map(five, images), strict=True)]
    for images in (kept, decoded):
        views = images.views(ROWS, flip=True)
        assert len(views) == 10
        assert all(map(torch.equal, views, [*crops, *map(hflip, crops)]))
        assert torch.equal(images.batch(ROWS), crops[4])


def test_rows_of_one_table_get_the_views_that_each_asks_for(photos):
    config = InputConfig(size=12, resize=16)
    counts = [
        len(image_set.image_set(photos, "train", config, training=False, crops=crops).views(ROWS))
        for crops in ("center", "five", "whole", "five", "center")
    ]
    assert counts == [1, 5, 1, 5, 1]


def test_whole_images_are_central_squares_before_the_crop(photos):
    config = InputConfig(size=12, resize=16)
    whole = image_set.image_set(photos, "train", config, training=False, crops="whole")
    [found] = whole.views(ROWS)
    assert torch.equal(found, expected(photos, ROWS, InputConfig(size=16)))
