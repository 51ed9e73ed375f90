"""From the data and a few seconds of measuring to the settings of all rows and their prices."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from stt_bench.benchmark.compare import prices, setting
from stt_bench.benchmark.compare.look import Found
from stt_bench.benchmark.compare.setting import Network, Sections, Wish
from stt_bench.benchmark.compare.shares import Prices
from stt_bench.benchmark.datasets.items import item_table
from stt_bench.benchmark.datasets.training_items import Fold, folds_of
from stt_bench.benchmark.system.errors import BenchError

_READ = 2  # times that an image is decoded: to be compared with others, and to be embedded
_TO_EMBED = 0.25  # of the time, at most, for the size of the images to be larger
_CLASSES, _EACH = 2, 8  # where the whole network trains: measured on 2 P classes of 8 images


class Measured(NamedTuple):
    """The settings that fit the data, and what things cost with them."""

    network: Network
    sections: Sections
    folds: int
    prices: Prices
    told: str


def measure(found: Found, frame: pd.DataFrame, wish: Wish, seconds: float) -> Measured:
    """Return settings and prices for the items of a frame with splits.

    The images are taken as large as a quarter of the seconds can embed them all, at most as large
    as they are.

    Raises:
        BenchError: there are no weights, an image cannot be read, or the classes are too small.
    """
    train = frame[frame["split"] == "train"]
    labels, tested = train["label"].tolist(), len(frame) - len(train)
    folds = setting.folds_for(train["label"].nunique())
    cut = folds_of(prices.made_up(labels, 1), "retrieval", folds)
    held = len(train) / folds
    if found.width is not None:
        network = setting.vectors()
        sections = _sections(network, None, found.width, cut, len(train))
        step, validation = prices.price_of_training(
            sections, prices.made_up(labels, found.width), folds
        )
        run = prices.price_of_a_run(validation, held, tested)
        told = f"network: none; {network.why}; batches of {_batch(sections)}"
        return Measured(network, sections, folds, Prices(0.0, step, validation, run), told)

    network = setting.network_for_images(wish)
    sizes = setting.sizes_to_try(network, wish, found.side)
    try:
        image, width = prices.price_of_images(network, frame, found.store, sizes[-1])
    except BenchError as error:
        raise setting.with_a_way_out(error) from None
    prepare = _READ * image.read * len(frame)
    size = next(
        (s for s in sizes if image.encode(s) * len(frame) <= _TO_EMBED * seconds), sizes[-1]
    )
    if not network.is_frozen:
        size = sizes[0]
    sections = _sections(network, size, width, cut, len(train))
    if network.is_frozen:
        noise = prices.made_up(labels, width)
        of_head = _sections(setting.vectors(), None, width, cut, len(train))
        step, validation = prices.price_of_training(of_head, noise, folds)
        run = prices.price_of_a_run(validation, held, tested)
        prepare += image.encode(size) * len(frame)
    else:
        some = train[train["label"].isin(_largest(train, _CLASSES * sections["sampler"]["p"]))]
        some = some[some.groupby("label").cumcount() < _EACH].reset_index(drop=True)
        own = some[["path", "label", "split"]].assign(role="both")
        items = item_table("measured", own, found.store)
        step, _ = prices.price_of_training(sections, items, setting.FEWEST_FOLDS, name="images")
        embed = image.encode(size)
        validation = embed * held
        run = prices.price_of_a_run(0.0, held, tested, embed=embed)
    told = (
        f"network: {network.backbone}, weights: {network.weights or 'none'}; {network.why}; images "
        f"at {size} pixels; batches of {_batch(sections)}"
    )
    return Measured(network, sections, folds, Prices(prepare, step, validation, run), told)


def _sections(
    network: Network, size: int | None, width: int, cut: list[Fold], items: int
) -> Sections:
    return setting.shared_sections(
        network,
        size=size,
        dim=setting.dim_of(width, cut),
        batch=setting.batch_of(cut),
        items=items,
    )


def _batch(sections: Sections) -> str:
    return f"{sections['sampler']['p']} classes × {sections['sampler']['k']}"


def _largest(train: pd.DataFrame, classes: int) -> list[str]:
    counts = train["label"].value_counts().sort_index()
    order = np.argsort(-counts.to_numpy(), kind="stable")[:classes]
    return counts.index[order].tolist()
