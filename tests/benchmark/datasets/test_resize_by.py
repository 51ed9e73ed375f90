"""`input.resize_by: torch`: nearly Pillow's pixels, whatever the threads and the kind of CPU."""

import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from math import ceil, floor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.config.sections import InputConfig
from stt_bench.benchmark.datasets import FileStore, ItemTable
from stt_bench.benchmark.datasets.ahead import CAN_FORK, by_processes
from stt_bench.benchmark.datasets.image_set import image_set
from stt_bench.benchmark.datasets.transforms import prepare
from stt_bench.benchmark.store.protocol import fingerprint, protocol_of

SIZES = [(37, 23), (23, 37), (40, 40), (300, 201), (500, 375), (256, 400)]


def config(side: int, *, by: str = "torch", channels: int = 3, aspect: str = "keep") -> InputConfig:
    return InputConfig.model_validate(
        {"size": 8, "resize": side, "resize_by": by, "channels": channels, "aspect": aspect}
    )


def picture(size: tuple[int, int], kind: str = "noise", seed: int = 0) -> Image.Image:
    """Return noise, or what is as smooth as a photo, of a view that is not contiguous."""
    rng, (width, height) = np.random.default_rng(seed), size
    if kind == "smooth":
        coarse = Image.fromarray(rng.integers(0, 256, (9, 11, 3), np.uint8))
        return coarse.resize(size, Image.Resampling.BICUBIC)
    pixels = rng.integers(0, 256, (2 * width, height, 3), np.uint8)
    return Image.fromarray(pixels[::2, ::-1].transpose(1, 0, 2))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("side", [16, 61, 224])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["noise", "smooth"])
@pytest.mark.parametrize("aspect", ["keep", "squash"])
def test_pixels_are_a_level_off_pillows_at_most(size, side, channels, kind, aspect):
    image = picture(size, kind)
    by_pillow = prepare(image, config(side, by="pillow", channels=channels, aspect=aspect))
    by_torch = prepare(image, config(side, channels=channels, aspect=aspect))
    assert (by_torch.dtype, by_torch.shape) == (torch.uint8, by_pillow.shape)
    assert by_torch.is_contiguous()
    assert (by_torch.int() - by_pillow.int()).abs().max() <= 1


@pytest.mark.parametrize("channels", [1, 3])
def test_few_pixels_of_a_photo_differ(channels):
    image = picture((500, 375), "smooth")
    by_pillow = prepare(image, config(256, by="pillow", channels=channels))
    differing = prepare(image, config(256, channels=channels)) != by_pillow
    assert 0 < differing.float().mean() < 0.005


def triangle_filtered(line: list[float], count: int) -> list[float]:
    """Return a line of values at `count` places: means weighted by a triangle, as the text-book."""
    scale = len(line) / count
    reach, made = max(scale, 1.0), []
    for place in range(count):
        center, total, weights = (place + 0.5) * scale, 0.0, 0.0
        for number in range(floor(center - reach) - 1, ceil(center + reach) + 1):
            weight = max(0.0, 1 - abs(number + 0.5 - center) / reach)
            if 0 <= number < len(line):
                total += weight * line[number]
                weights += weight
        made.append(total / weights)
    return made


@pytest.mark.parametrize("size", [(37, 23), (20, 31), (9, 9), (64, 16)])
@pytest.mark.parametrize("side", [8, 16, 29])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["noise", "smooth"])
def test_pixels_are_those_of_a_triangle_filter(size, side, channels, kind):
    image = picture(size, kind, seed=1).convert("L" if channels == 1 else "RGB")
    made = prepare(image, config(side, channels=channels)).numpy()
    for plane, band in zip(made, image.split(), strict=True):
        rows = [triangle_filtered(row, made.shape[2]) for row in np.asarray(band, float).tolist()]
        columns = np.array(rows).T.tolist()
        exact = np.array([triangle_filtered(column, made.shape[1]) for column in columns]).T
        assert np.abs(plane - np.rint(exact)).max() <= 1


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(40, 30), (30, 30)])
def test_an_image_of_the_size_is_untouched(size, channels):
    image = picture(size).convert("L" if channels == 1 else "RGB")
    made = prepare(image, config(30, channels=channels))
    np.testing.assert_array_equal(
        made.permute(1, 2, 0), np.asarray(image).reshape(*size[::-1], channels)
    )


def test_bytes_are_the_same_whatever_the_threads():
    images = [picture((300, 201), seed=seed) for seed in range(8)]
    before = torch.get_num_threads()
    expected = [prepare(image, config(128)) for image in images]
    try:
        torch.set_num_threads(3)
        alone = [prepare(image, config(128)) for image in images]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(lambda image: prepare(image, config(128)), images))
    finally:
        torch.set_num_threads(before)
    assert all(map(torch.equal, alone, expected))
    assert all(map(torch.equal, together, expected))


@pytest.mark.skipif(not CAN_FORK or sys.platform != "linux", reason="needs fork and /proc")
def test_a_worker_starts_no_threads_to_resize():
    def threads() -> int:
        return len(os.listdir("/proc/self/task"))

    def make(number: int) -> list[torch.Tensor]:
        before = threads()
        made = prepare(picture((500, 375), seed=number), config(256))
        return [made, torch.tensor([os.getpid(), torch.get_num_threads(), threads() - before])]

    _, *others = by_processes(make, range(5), 2)
    for number, (made, told) in enumerate(others, start=1):
        assert told[0] != os.getpid()
        assert told[1:].tolist() == [1, 0]
        assert torch.equal(made, make(number)[0])


def sha256_of_some() -> str:
    made = [
        prepare(picture(size, seed=side), config(side, channels=channels)).numpy().tobytes()
        for size in SIZES
        for side in (16, 224)
        for channels in (1, 3)
    ]
    return hashlib.sha256(b"".join(made)).hexdigest()


def test_bytes_are_the_same_without_avx2():
    code = "from tests.benchmark.datasets.test_resize_by import sha256_of_some as f; print(f())"
    environment = {**os.environ, "ATEN_CPU_CAPABILITY": "default", "OMP_NUM_THREADS": "2"}
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", code]
    told = subprocess.check_output(command, env=environment, cwd=root, text=True)
    assert told.strip() == sha256_of_some()


def row(**image: object) -> Experiment:
    return Experiment.model_validate(
        {"data": {"name": "digits"}, "loss": "softmax", "input": {"size": 16, **image}}
    )


def test_it_is_part_of_what_a_result_is():
    plain, by_pillow, by_torch = row(), row(resize_by="pillow"), row(resize_by="torch")
    facts = {"data_hash": "d", "initial_weights": "w", "embedding_dim": 64}
    assert by_pillow.digest() == plain.digest()
    assert by_pillow.training_digest() == plain.training_digest()
    assert by_torch.digest() != plain.digest()
    assert by_torch.training_digest() != plain.training_digest()
    protocol = protocol_of(by_torch, **facts)
    assert protocol["resize"] == "keep aspect to 16, by torch"
    assert protocol_of(plain, **facts) == {**protocol, "resize": "keep aspect to 16"}
    assert fingerprint(protocol) != fingerprint(protocol_of(plain, **facts))


@pytest.mark.parametrize("training", [False, True])
def test_rows_that_resize_otherwise_share_no_images(tmp_path, save, training):
    paths = [f"{number}.png" for number in range(3)]
    for seed, path in enumerate(paths):
        save(tmp_path / path, (60, 45), seed=seed)
    frame = pd.DataFrame({"path": paths, "label": "a", "split": "train", "role": "both"})
    items = ItemTable("t", frame, FileStore(tmp_path).read, "")
    by_pillow, by_torch = (
        image_set(items, "train", config(32, by=by), training=training)
        for by in ("pillow", "torch")
    )
    assert by_pillow is not by_torch
    assert image_set(items, "train", config(32), training=training) is by_torch
    assert by_torch.load()
    for number, path in enumerate(paths):
        whole = prepare(items.read(path), config(32))
        kept = by_torch.batch(np.array([number]))[0]
        top, left = (round((side - 8) / 2) for side in whole.shape[1:])
        assert torch.equal(kept, whole[:, top : top + 8, left : left + 8])
