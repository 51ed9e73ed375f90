"""Frozen features: computed once, same bytes whichever way they come."""

from __future__ import annotations

import signal
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.decomposition import PCA

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.config.sections import InputConfig
from stt_bench.benchmark.datasets import FileStore, ItemTable, load_items
from stt_bench.benchmark.datasets.batches import TrainingBatches, training_batches
from stt_bench.benchmark.datasets.image_set import image_set
from stt_bench.benchmark.embedding.embed import embed
from stt_bench.benchmark.features import encoded, store
from stt_bench.benchmark.features.encoded import EncodedSet, inputs_of
from stt_bench.benchmark.models import Backbone, EmbeddingNetwork, build_network
from stt_bench.benchmark.models.cut import cut_of, find_cut
from stt_bench.benchmark.store.runs import Run, run_of
from stt_bench.benchmark.suite import load_table
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.machine import seed_torch
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.system.signals import Stopped
from stt_bench.benchmark.training import head_start, learner
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


def test_what_is_computed_before_a_stop_is_kept(
    photos: Path, tmp_path: Path, afresh: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoded, "BATCH", 8)
    calls = counted(monkeypatch)
    experiment = make_run(photos, tmp_path, ALL).experiment
    items = load_items(experiment.data)
    network = model_of(experiment, items)

    def stop(_done: int, _total: int) -> None:
        if len(calls) == 2:
            raise Stopped(signal.SIGTERM)

    images = inputs_of(items, "train", experiment, network, training=True)
    with pytest.raises(Stopped):
        images.load(stop)
    afresh()
    again = inputs_of(items, "train", experiment, network, training=True)
    again.load()
    assert len(calls) == 2 + 1 + -(-(len(images) - 16) // 8)  # one is tried again


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
    built = Learner(run.experiment, items, torch.device("cpu"))
    names = {name for name, p in built.network.named_parameters() if p.requires_grad}
    assert names == {"head.weight", "head.bias"}
    assert not built.network.train().backbone.training


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


class Told(Reporter):
    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.told: list[str] = []

    def say(self, text: str) -> None:
        self.told.append(text)

    def warn(self, text: str) -> None:
        self.told.append(text)


def test_features_of_another_network_are_told_and_computed_again(
    photos: Path, tmp_path: Path, afresh: Any
) -> None:
    """Rows that a fault, or somebody, put under this key: their sums are right, they are not."""
    expected = result(make_run(photos, tmp_path / "a", ALL))
    (folder,) = (store.features_folder() or Path()).iterdir()
    (file,) = folder.glob("*.npy")
    foreign = np.load(file)
    foreign["row"] += 1
    foreign["crc"] = [zlib.crc32(row.tobytes()) for row in foreign["row"]]
    np.save(file, foreign)
    afresh()
    run, reporter = make_run(photos, tmp_path / "b", ALL), Told()
    train(run, reporter)
    (told,) = [one for one in reporter.told if "not those that this machine computes" in one]
    assert str(folder) in told
    assert result(run) == expected


def test_kept_images_are_not_read(
    photos: Path, tmp_path: Path, afresh: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    result(make_run(photos, tmp_path / "a", ALL))
    afresh()
    read: list[str] = []
    decode = FileStore.read

    def watched(self: FileStore, path: str) -> Image.Image:
        read.append(path)
        return decode(self, path)

    monkeypatch.setattr(FileStore, "read", watched)
    result(make_run(photos, tmp_path / "b", ALL))
    assert len(set(read)) == 3  # those that are tried


def test_a_broken_image_is_told_before_the_training(photos: Path, tmp_path: Path) -> None:
    for name in ("class5/1.png", "class5/2.png"):  # of the test split
        (tmp_path / "photos" / name).write_bytes(b"no image")
    run = make_run(photos, tmp_path / "runs", ALL)
    with pytest.raises(BenchError, match=r"^2 of 48 images .* \S*class5/1\.png cannot"):
        train(run, QUIET)
    assert not run.metrics.exists()


def test_views_are_functions_of_the_image(photos: Path, tmp_path: Path) -> None:
    """The same image has the same views under another name, at another place, in another run."""
    experiment = make_run(photos, tmp_path, ALL, *VIEWS).experiment
    items = load_items(experiment.data)
    images = image_set(items, "train", experiment.input, training=True)
    frame = items.split("train").iloc[::-1].reset_index(drop=True)
    turned = ItemTable("t", frame, items.read, "", sha256=_hashes(items))
    other = image_set(turned, "train", experiment.input, training=True)
    last = len(images) - 1
    views = [images.view(3, number) for number in range(3)]
    assert all(torch.equal(v, other.view(last - 3, n)) for n, v in enumerate(views))
    assert len({view.numpy().tobytes() for view in views}) == 3


@pytest.mark.parametrize("freeze", ["[]", "all"])
def test_a_step_draws_among_the_views(photos: Path, tmp_path: Path, freeze: str) -> None:
    """Frozen or not: every input is a view of its image, and all views come."""
    run = make_run(photos, tmp_path, f"model.freeze={freeze}", *VIEWS)
    items = load_items(run.experiment.data)
    network = model_of(run.experiment, items)
    inputs = inputs_of(items, "train", run.experiment, network, training=True)
    images = image_set(items, "train", run.experiment.input, training=True)
    batches = list(training_batches(items, run.experiment, 0, 0, 12, inputs=inputs))
    again = list(training_batches(items, run.experiment, 0, 5, 6, inputs=inputs))
    assert torch.equal(again[0].images, batches[5].images)
    rows = np.array([3, 0, 3, 8, 11])
    whole = inputs.batch(rows, np.random.default_rng(1))
    for part in (slice(0, 2), slice(2, 5)):
        assert torch.equal(inputs.batch(rows, np.random.default_rng(1), part), whole[part])
    batch = TrainingBatches(items, run.experiment, 0)
    drawn: set[int] = set()
    for step, found, *_ in batches:
        for row, one in zip(batch.sampler.batch(step), found, strict=True):
            views = [images.view(row, number) for number in range(3)]
            if network.cut is not None:
                views = [network.encode(view) for view in views]
            close = [torch.allclose(view[0], one, atol=1e-5) for view in views]
            (number,) = np.flatnonzero(close)
            drawn.add(int(number))
    assert drawn == {0, 1, 2}


def test_a_frozen_prefix_of_a_pretrained_network(photos: Path, tmp_path: Path) -> None:
    """EfficientNet-Lite0 as CUB-50 freezes it: cut after blocks.4, batch norm after it frozen."""
    table = load_table("cub50_retrieval").rows["softmax_0.0002"]
    model = table.model.model_copy(update={"weights": None})
    image = InputConfig(size=32)
    torch.manual_seed(0)
    network = build_network(model, image)
    network.cut = cut_of(network, model, image)
    assert network.cut is not None
    assert network.cut.name == "blocks.4"
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    names = dict(network.backbone.net.named_parameters())
    gradients = []
    for rows in (images, network.encode(images).clone()):
        network.train()
        network.zero_grad()
        torch.manual_seed(1)
        network(rows)[1].square().sum().backward()
        assert names["conv_stem.weight"].grad is None
        gradients.append(names["blocks.5.0.conv_pw.weight"].grad.clone())
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)
    state = network.state_dict()
    network.train()
    network(network.encode(images).clone())
    assert network.state_dict().keys() == state.keys()


class Tangled(torch.nn.Module):
    """Frozen `first` is added to what comes before it: no chain."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(3, 3, 3, padding=1)
        self.last = torch.nn.Conv2d(3, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(x + self.first(x)).mean(dim=(2, 3))


class Dropped(torch.nn.Module):
    """A dropout between two frozen layers: only the first can be computed once."""

    def __init__(self, functional: bool) -> None:
        super().__init__()
        self.first, self.second = torch.nn.Conv2d(3, 3, 3), torch.nn.Conv2d(3, 3, 3)
        self.drop = torch.nn.Dropout(0.5)
        self.last, self.functional = torch.nn.Conv2d(3, 4, 3), functional

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        drop = torch.nn.functional.dropout
        x = drop(x, training=self.training) if self.functional else self.drop(x)
        return self.last(self.second(x)).mean(dim=(2, 3))


def network_of(net: torch.nn.Module, *frozen: str) -> EmbeddingNetwork:
    backbone = Backbone(net, 4, (0.5,) * 3, (0.5,) * 3)
    head = torch.nn.Linear(4, 2)
    network = EmbeddingNetwork(backbone, head, embedding_dim=2, mean=(0.5,) * 3, std=(0.5,) * 3)
    network.freeze(frozen)
    return network


def test_where_a_network_is_cut() -> None:
    def cut(net: torch.nn.Module, *frozen: str) -> str | None:
        found = find_cut(network_of(net, *frozen), 3, 16)
        return None if found is None else found.name

    assert cut(Tangled(), "first") is None  # it is computed in every step
    assert cut(Dropped(functional=False), "first", "second") == "first"
    assert cut(Dropped(functional=True), "first", "second") is None
    assert cut(Dropped(functional=False), "second") is None  # the first layer trains
    chain = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU(),
        torch.nn.Conv2d(8, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
    )  # fmt: skip
    assert cut(chain, "0", "1") == "2"
    assert cut(chain, "0") == "0"  # the statistics of the batch norm move


def test_a_network_that_is_no_chain_is_told_and_trains_all_the_same(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learner, "cut_of", lambda *_: None)
    run, reporter = make_run(photos, tmp_path / "runs", "model.freeze=[conv1]"), Told()
    train(run, reporter)
    (told,) = [one for one in reporter.told if "frozen layers" in one]
    assert told == f"{run.name}: its frozen layers are computed in every step: they are no chain " \
        "from the input on"  # fmt: skip
    assert run.is_trained


def test_a_second_head_starts_from_the_same_components(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are found once of the same items and network; another width is another start."""
    items, heads, calls = None, [], []
    found = head_start.components
    monkeypatch.setattr(head_start, "components", lambda *a: (calls.append(1), found(*a))[1])
    for width in (8, 8, 4):
        settings = (ALL, "model.head_start=pca", f"model.embedding_dim={width}")
        experiment = make_run(photos, tmp_path, *settings).experiment
        items = items or load_items(experiment.data)
        torch.manual_seed(0)
        heads.append(Learner(experiment, items, torch.device("cpu")).network.head.weight)
    assert len(calls) == 2
    assert torch.equal(heads[0], heads[1])
    torch.testing.assert_close(heads[2], heads[0][:4])
