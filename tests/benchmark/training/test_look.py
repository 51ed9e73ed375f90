"""What TensorBoard shows of a batch, against plain loops; and that it changes no byte."""

from __future__ import annotations

import io
import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from stt_bench.benchmark.config.sections import TrainConfig
from stt_bench.benchmark.store.runs import run_of
from stt_bench.benchmark.suite import load_table
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.training import log, loop
from stt_bench.benchmark.training.health import pairs_of
from stt_bench.benchmark.training.look import (
    BARS,
    hardest_triplets,
    histogram,
    pair_distances,
    shown,
    triplet_picture,
)
from stt_bench.benchmark.training.train import train


def batch(seed: int, size: int = 12, classes: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    labels = torch.from_numpy(rng.integers(0, classes, size))
    return torch.from_numpy(rng.normal(size=(size, 5)).astype(np.float32)), labels


@pytest.mark.parametrize("seed", range(4))
def test_each_pair_is_counted_once(seed: int) -> None:
    embeddings, labels = batch(seed)
    expected: dict[bool, list[float]] = {True: [], False: []}
    for i, j in itertools.combinations(range(len(labels)), 2):
        one, other = (row.double().tolist() for row in (embeddings[i], embeddings[j]))
        expected[bool(labels[i] == labels[j])].append(math.dist(one, other))
    for found, wanted in zip(
        pair_distances(pairs_of(embeddings, labels)), (True, False), strict=True
    ):
        assert found.tolist() == pytest.approx(expected[wanted], abs=1e-12)


DENSE = [1e-9, 1e-9 + 1e-25, 1e-9]  # bars between the two would have no width


@pytest.mark.parametrize(
    "distances", [[0.5, 2.0, 0.0, 1.99], [0.0, 0.0], DENSE, [5e-324], [1e307, 1e308]]
)
def test_a_histogram_counts_each_distance(distances: list[float]) -> None:
    found = histogram(np.array(distances))
    limits, counts = found["bucket_limit"], found["bucket"]
    assert sum(counts) == found["num"] == len(distances)
    assert len(limits) == len(counts) == BARS
    assert limits == sorted(limits)
    assert (found["min"], found["max"]) == (min(distances), max(distances))
    assert found["sum"] == pytest.approx(sum(distances))
    if distances[0] == 0.5:
        wide = 2.0 / BARS
        assert [counts[int(0.5 / wide)], counts[0], counts[-1]] == [1, 1, 2]


@pytest.mark.parametrize("seed", range(4))
def test_the_hardest_triplets_are_those_of_a_plain_loop(seed: int) -> None:
    embeddings, labels = batch(seed, classes=6)
    points = embeddings.double().tolist()
    margins = {}
    for a, p, n in itertools.permutations(range(len(labels)), 3):
        if labels[a] == labels[p] and labels[a] != labels[n]:
            margin = math.dist(points[a], points[p]) - math.dist(points[a], points[n])
            if margin > margins.get(a, (-math.inf,))[0]:
                margins[a] = (margin, p, n)
    expected = sorted(((*found, a) for a, found in margins.items()), reverse=True)[:4]
    found = hardest_triplets(pairs_of(embeddings, labels))
    assert found.tolist() == [[a, p, n] for _, p, n, a in expected]


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2]])
def test_a_batch_without_triplets_shows_none(labels: list[int]) -> None:
    assert len(hardest_triplets(pairs_of(torch.eye(3), torch.tensor(labels)))) == 0


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [8, 192])
def test_the_picture_shows_the_pixels_of_the_images(channels: int, side: int) -> None:
    rng = np.random.default_rng(0)
    colours = torch.from_numpy(rng.integers(0, 256, (5, channels), dtype=np.uint8))
    images = colours[:, :, None, None].expand(5, channels, side, side)
    triplets = torch.tensor([[0, 1, 4], [3, 2, 0]])
    picture = triplet_picture(images, triplets)
    wide = min(side, 96)
    assert picture.dtype == torch.uint8
    assert picture.shape == (2 * wide, 3 * wide, channels)
    for row, column in itertools.product(range(2), range(3)):
        part = picture[row * wide : (row + 1) * wide, column * wide : (column + 1) * wide]
        assert torch.equal(part, colours[triplets[row, column]].expand(wide, wide, channels))


@pytest.mark.parametrize("channels", [1, 3])
def test_the_picture_is_kept_as_png_without_loss(channels: int) -> None:
    embeddings, labels = batch(0)
    images = torch.from_numpy(
        np.random.default_rng(1).integers(0, 256, (len(labels), channels, 8, 8), dtype=np.uint8)
    )
    pairs = pairs_of(embeddings, labels)
    *_, image = (value.image for value in shown(pairs, images))
    wanted = triplet_picture(images, hardest_triplets(pairs)).numpy()
    assert (image.height, image.width, image.colorspace) == wanted.shape
    read = np.asarray(Image.open(io.BytesIO(image.encoded_image_string)))
    assert np.array_equal(read.reshape(wanted.shape), wanted)


def test_tensorboard_gets_them_and_the_training_its_bytes(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = run_of(load_table(str(tiny)), "hard", 0, tmp_path / "seen")
    train(run, Reporter(quiet=True))
    events = EventAccumulator(
        str(run.folder / "tensorboard"), size_guidance={"images": 0, "histograms": 0}
    )
    events.Reload()
    for kind, pairs in (("positives", 4 * 6), ("negatives", 6 * 16)):  # of 4 classes × 4 images
        found = events.Histograms(f"distances/{kind}")
        assert [one.step for one in found] == [1, 4, 8, 12]
        assert {one.histogram_value.num for one in found} == {pairs}
    logged = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    for name in ("loss", "gradient_norm", "mean_norm", "learning_rate"):
        wanted = [(entry["step"], entry[name]) for entry in logged if name in entry]
        found = [(one.step, one.value) for one in events.Scalars(f"train/{name}")]
        assert found == [(step, pytest.approx(value)) for step, value in wanted]
    (tag,) = events.Tags()["images"]
    pictures = events.Images(tag)
    assert [one.step for one in pictures] == [1, 4, 8, 12]
    assert (pictures[0].width, pictures[0].height) == (3 * 16, 4 * 16)
    drawn = np.asarray(Image.open(io.BytesIO(pictures[0].encoded_image_string)))
    assert drawn.shape[:2] == (4 * 16, 3 * 16)
    assert len(np.unique(drawn)) > 10

    def blind(*_: Any) -> list[Any]:
        return []

    monkeypatch.setattr(log, "shown", blind)
    other = run_of(load_table(str(tiny)), "hard", 0, tmp_path / "blind")
    train(other, Reporter(quiet=True))
    assert run.weights.read_bytes() == other.weights.read_bytes()
    assert run.metrics.read_bytes() == other.metrics.read_bytes()


@pytest.mark.parametrize("every", [1, 20, 33])
@pytest.mark.parametrize("steps", [1, 60, 999, 1000, 1001, 40_000])
def test_a_training_draws_no_more_than_24_histograms_and_8_pictures_beside_first_and_last(
    steps: int, every: int
) -> None:
    settings = TrainConfig(steps=steps, log_every=every)
    logged = [done for done in range(1, steps + 1) if done % every == 0 or done in (1, steps)]
    for most, given in ((loop._HISTOGRAMS, 24), (loop._PICTURES, 8)):
        drawn = [done for done in logged if loop._is_drawn(done, settings, most)]
        assert most == given
        assert {1, steps} <= set(drawn)
        assert min(len(logged), given // 2) <= len(drawn) <= given + 2
        if len(logged) <= given:
            assert drawn == logged
