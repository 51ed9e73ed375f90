"""Frozen features: computed once, same bytes whichever way they come."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.decomposition import PCA

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.datasets import ItemTable, load_items
from stt_bench.benchmark.embedding.embed import embed
from stt_bench.benchmark.features import store
from stt_bench.benchmark.features.encoded import EncodedSet, inputs_of
from stt_bench.benchmark.models import EmbeddingNetwork
from stt_bench.benchmark.store.runs import Run, run_of
from stt_bench.benchmark.suite import load_table
from stt_bench.benchmark.system.machine import seed_torch
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.training.learner import Learner, new_model
from stt_bench.benchmark.training.train import train

QUIET = Reporter(quiet=True)
ALL = "model.freeze=all"
VIEWS = ("input.crop=random", "input.resize=20", "input.flip=true", "input.views=3")


@pytest.fixture(autouse=True)
def _empty(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing is kept from the test before."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(store, "_open", {})


@pytest.fixture
def photos(tiny_text: str, tmp_path: Path) -> Path:
    """A table on a folder of 6 × 8 images, each of one colour with noise."""
    rng = np.random.default_rng(0)
    for label in range(6):
        folder = tmp_path / "photos" / f"class{label}"
        folder.mkdir(parents=True)
        for number in range(8):
            pixels = np.clip(rng.normal(40 * label + 20, 20, (22, 26)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    data = f"data: {{name: images, root: {tmp_path / 'photos'}, task: retrieval}}"
    text = tiny_text.replace("data: {name: digits, task: retrieval}", data)
    table = tmp_path / "photos.yaml"
    table.write_text(text.replace("p: 4, k: 4", "p: 3, k: 4"))
    return table


@pytest.fixture
def afresh(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return what another process would begin with: nothing in memory."""
    return lambda: monkeypatch.setattr(store, "_open", {})


def make_run(config: Path, runs: Path, *overrides: str, row: str = "hard", seed: int = 0) -> Run:
    return run_of(load_table(str(config), overrides), row, seed, runs)


def model_of(experiment: Experiment, items: ItemTable) -> EmbeddingNetwork:
    seed_torch(0, 0)
    return new_model(experiment, len(items.classes))[0].eval()


def result(run: Run) -> tuple[bytes, bytes]:
    train(run, QUIET)
    return run.weights.read_bytes(), (embed(run, QUIET) / "embeddings.npy").read_bytes()


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows by the number of images of each call of a frozen part."""
    calls: list[int] = []
    encode = EmbeddingNetwork.encode

    def watched(self: EmbeddingNetwork, images: torch.Tensor) -> torch.Tensor:
        calls.append(len(images))
        return encode(self, images)

    monkeypatch.setattr(EmbeddingNetwork, "encode", watched)
    return calls


@pytest.mark.parametrize("extra", [(), VIEWS, ("model.features=flattened",)])
def test_same_bytes_with_and_without_what_is_kept(
    photos: Path,
    tmp_path: Path,
    afresh: Any,
    monkeypatch: pytest.MonkeyPatch,
    extra: tuple[str, ...],
) -> None:
    calls = counted(monkeypatch)
    first = result(make_run(photos, tmp_path / "a", ALL, *extra, row="two_head"))
    once = len(calls)
    assert once > 0
    assert result(make_run(photos, tmp_path / "b", ALL, *extra, row="two_head")) == first
    assert len(calls) == once  # from memory
    afresh()
    assert result(make_run(photos, tmp_path / "c", ALL, *extra, row="two_head")) == first
    assert len(calls) <= once + 2  # from disk: some are tried of each of at most two stores
    afresh()
    monkeypatch.setattr(store, "features_folder", lambda: None)
    assert result(make_run(photos, tmp_path / "d", ALL, *extra, row="two_head")) == first
    assert len(calls) > 2 * once - 1


@pytest.mark.parametrize("freeze", ["all", "[conv1]", "[conv1, conv2]", "[conv1, conv2, conv3]"])
def test_rows_are_what_the_whole_network_sees(photos: Path, tmp_path: Path, freeze: str) -> None:
    experiment = make_run(photos, tmp_path, f"model.freeze={freeze}").experiment
    items = load_items(experiment.data)
    network = model_of(experiment, items)
    encoded = inputs_of(items, "test", experiment, network, training=False)
    assert isinstance(encoded, EncodedSet)
    rows = np.arange(20)
    with torch.inference_mode():
        for whole, parted in zip(
            network(encoded.images.batch(rows)), network(encoded.batch(rows)), strict=True
        ):
            torch.testing.assert_close(whole, parted, rtol=1e-5, atol=1e-6)


def test_a_row_depends_on_its_image_alone(photos: Path, tmp_path: Path, afresh: Any) -> None:
    """Other rows of the batch, their number and order, and what is kept change no bit of it."""
    experiment = make_run(photos, tmp_path, ALL).experiment
    items = load_items(experiment.data)
    network = model_of(experiment, items)
    whole = inputs_of(items, "test", experiment, network, training=False)
    expected = whole.batch(np.arange(len(whole))).numpy()
    frame = items.frame[items.frame["split"] == "test"].reset_index(drop=True)
    drawn = np.random.default_rng(0).permutation(len(frame))
    store.clear_disk()
    for some in (drawn[:1], drawn[:7], drawn):  # each time the rest is kept from before
        afresh()
        few = ItemTable("few", frame.iloc[some], items.read, "", None, None, (), _hashes(items))
        encoded = inputs_of(few, "test", experiment, network, training=False)
        assert encoded.batch(np.arange(len(some))).numpy().tobytes() == expected[some].tobytes()


def _hashes(items: ItemTable) -> dict[str, bytes]:
    paths = items.frame["path"].tolist()
    contents = items.contents(paths)
    assert contents is not None
    return dict(zip(paths, contents, strict=True))


def test_nothing_before_the_head_changes(photos: Path, tmp_path: Path) -> None:
    run = make_run(photos, tmp_path, ALL)
    items = load_items(run.experiment.data)
    learner = Learner(run.experiment, items, torch.device("cpu"))
    names = {name for name, p in learner.network.named_parameters() if p.requires_grad}
    assert names == {"head.weight", "head.bias"}
    assert not learner.network.train().backbone.training


def test_random_crops_in_every_step_are_not_kept(photos: Path, tmp_path: Path) -> None:
    experiment = make_run(photos, tmp_path, ALL, "input.flip=true").experiment
    assert model_of(experiment, load_items(experiment.data)).cut is None


def test_memory_is_shared_by_rows_and_seeds_of_the_same_weights(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = counted(monkeypatch)
    # An untrained backbone is drawn from the seed, so two rows of a seed share it, two seeds not.
    train(make_run(photos, tmp_path / "runs", ALL, row="softmax"), QUIET)
    once = len(calls)
    train(make_run(photos, tmp_path / "runs", ALL, row="hard"), QUIET)
    assert len(calls) == once
    train(make_run(photos, tmp_path / "runs", ALL, row="hard", seed=1), QUIET)
    assert len(calls) == 2 * once


@pytest.mark.parametrize(
    "extra", [(ALL,), (ALL, *VIEWS), ("model.freeze=[conv1]",), ("input.flip=true",)]
)
def test_a_head_starts_from_the_training_features(
    photos: Path, tmp_path: Path, extra: tuple[str, ...]
) -> None:
    settings = ("model.head_start=pca", "train.steps=0", *extra)
    run = make_run(photos, tmp_path / "runs", *settings, row="softmax")
    items = load_items(run.experiment.data)
    torch.manual_seed(0)
    network = Learner(run.experiment, items, torch.device("cpu")).network.eval()
    images = inputs_of(items, "train", run.experiment, network, training=network.cut is not None)
    with torch.no_grad():
        views = images.views(np.arange(len(images)))
        features, embeddings = map(torch.cat, zip(*map(network, views), strict=True))
    expected = PCA(8, svd_solver="full").fit_transform(features.numpy().astype(np.float64))
    np.testing.assert_allclose(np.abs(embeddings.numpy()), np.abs(expected), atol=1e-4)
