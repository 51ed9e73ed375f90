"""What things cost here and now, measured on a few items in a few seconds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from stt_bench.benchmark.compare.setting import Network, Sections, input_of
from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.config.sections import InputConfig
from stt_bench.benchmark.config.table_sections import TuningConfig
from stt_bench.benchmark.datasets.image_set import image_set
from stt_bench.benchmark.datasets.items import ItemTable, item_table
from stt_bench.benchmark.datasets.stores import Store
from stt_bench.benchmark.datasets.training_items import Fold, fold_of
from stt_bench.benchmark.datasets.vectors import VectorStore
from stt_bench.benchmark.models import build_network
from stt_bench.benchmark.system.devices import resolve_device
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.machine import make_deterministic, seed_torch
from stt_bench.benchmark.system.memory import full_memory_told
from stt_bench.benchmark.tuning.trial import Material, run_trial

_LOSS = "hard_triplet"  # of a middling price among the rows
_SHORT, _LONG = 10, 40  # steps of trials: their difference is the price of a step
_TWICE = 2  # a trial is of two folds or more: the one that is timed stands for both
_IMAGES = 32
_RUN = 0.5  # seconds of a run beside its training and searches: files, checks
_SEARCHES = 8  # of the test items in a run, against one of a fold: two distances, classes left out


class ImagePrices(NamedTuple):
    """Seconds that an image takes: to be read, and to pass the network at a size."""

    read: float
    network: float
    size: int

    def encode(self, size: int) -> float:
        """Return the seconds of the network's pass at another size: they go by the area."""
        return self.network * (size / self.size) ** 2


def made_up(labels: Sequence[str], width: int) -> ItemTable:
    """Return training items of these labels whose vectors are noise: they cost what others cost."""
    rng = np.random.default_rng(0)
    paths = [f"{number:07d}" for number in range(len(labels))]
    frame = pd.DataFrame({"path": paths, "label": list(labels), "split": "train", "role": "both"})
    vectors = rng.standard_normal((len(paths), width), dtype=np.float32)
    rows = {path: row for row, path in enumerate(paths)}
    return item_table("measured", frame, VectorStore(Path("measured"), vectors, rows))


@full_memory_told("the images that are timed", "compare")
def price_of_images(
    network: Network, frame: pd.DataFrame, store: Store, size: int
) -> tuple[ImagePrices, int]:
    """Read some images and pass them through the network.

    Returns:
        What one takes, and how many features it has.

    Raises:
        BenchError: none of the images can be read, the network has no weights here, or they do not
            fit into memory.
    """
    make_deterministic(network.threads)
    own = {**input_of(network, size), "crop": "center", "flip": False}
    config = InputConfig.model_validate(own)
    places = np.linspace(0, len(frame) - 1, min(_IMAGES, len(frame)), dtype=int)
    some = frame.iloc[np.unique(places)].reset_index(drop=True).assign(split="train", role="both")
    sound = [_can_be_read(store, path) for path in some["path"]]  # the others are told elsewhere
    items = item_table("measured", some.loc[sound, ["path", "label", "split", "role"]], store)
    seed_torch(0, 0)
    model = Experiment.model_validate(
        {"data": {"name": "images"}, "model": network.model(2), "loss": "softmax"}
    ).model
    built = build_network(model, config).eval()
    device = resolve_device("auto")
    built = built.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = image_set(items, "train", config, training=False)
    start = time.perf_counter()
    (views,) = images.views(np.arange(len(images)))
    read = time.perf_counter() - start
    taken = []
    for _ in range(2):  # the first pass sets things up
        start = time.perf_counter()
        with torch.inference_mode():
            features, _ = built(views.to(device, memory_format=torch.channels_last))
        features.cpu()
        taken.append(time.perf_counter() - start)
    return ImagePrices(read / len(images), min(taken) / len(images), size), built.feature_dim


def _can_be_read(store: Store, path: str) -> bool:
    try:
        store.read(path)
    except BenchError:
        return False
    return True


def price_of_training(
    sections: Sections, items: ItemTable, held: np.ndarray, *, name: str = "features"
) -> tuple[float, float]:
    """Return the seconds of a step, and of the validation of what is held out.

    Args:
        sections: of the table.
        items: some of a fold, see `few_of`.
        held: which of them are held out.
        name: of the data.
    """
    own = {key: value for key, value in sections.items() if key != "evaluation"}
    taken: dict[int, list[float]] = {_SHORT: [], _LONG: []}
    material = Material(items, _TWICE * [fold_of(items, held)])
    for steps in (_SHORT, _LONG, _SHORT, _LONG):  # the quicker counts: others may be at work
        settings = {
            **own,
            "data": {"name": name},
            "loss": _LOSS,
            "train": {**sections["train"], "steps": steps, "log_every": _LONG},
        }
        config = TuningConfig(studies=1, trials=1, folds=_TWICE, every=steps, patience=1)
        start = time.perf_counter()
        with full_memory_told("the steps that are timed", "compare"):
            run_trial(
                Experiment.model_validate(settings), config, material, study=0, index=-1, point={}
            )
        taken[steps].append(time.perf_counter() - start)
    short, long = min(taken[_SHORT]), min(taken[_LONG])
    step = max(long - short, 1e-6) / (_TWICE * (_LONG - _SHORT))
    return step, max(short / _TWICE - _SHORT * step, 1e-6)


def few_of(fold: Fold, most: int) -> np.ndarray:
    """Return some rows of the training items: at most so many that a fold trains on, and holds out.

    Two of each class come first, the larger classes before the others, so that a batch of up to
    `most` that can be drawn from the fold can be drawn from them.
    """
    labels = fold.items.frame["label"]
    sizes = labels.map(labels.value_counts()).to_numpy()
    by_class = labels.groupby(labels)
    pairs = by_class.cumcount().to_numpy() // 2
    order = np.lexsort((by_class.ngroup().to_numpy(), -sizes, pairs))
    held = np.isin(order, fold.held)
    return np.sort(np.concatenate([order[~held][:most], order[held][:most]]))


def price_of_a_run(validation: float, held: float, tested: int, *, embed: float = 0.0) -> float:
    """Return the seconds to embed, measure and write a run.

    Args:
        validation: what searching the mean fold takes.
        held: items that it holds out.
        tested: items that are tested.
        embed: seconds to embed one of them anew; 0 where features are kept.
    """
    return _RUN + _SEARCHES * validation * (tested / max(held, 1)) ** 2 + embed * tested
