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
from stt_bench.benchmark.datasets.training_items import Fold
from stt_bench.benchmark.system.errors import BenchError

_READ = 2  # times that an image is decoded: to be compared with others, and to be embedded
_TO_EMBED = 0.25  # of the time, at most, for the size of the images to be larger
_MOST = 1000  # items of a measured training, and of its validation, which grows by the square
_EACH = 8  # where the whole network trains: measured on 8 P images, and as many held out


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
    cut = setting.folds_for(prices.made_up(labels, 1))
    folds = len(cut)
    held = len(train) / folds
    if found.width is not None:
        network = setting.vectors()
        sections = _sections(network, None, found.width, cut, len(train))
        step, validation = _price_of_head(sections, found.width, cut)
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
        of_head = _sections(setting.vectors(), None, width, cut, len(train))
        step, validation = _price_of_head(of_head, width, cut)
        run = prices.price_of_a_run(validation, held, tested)
        prepare += image.encode(size) * len(frame)
    else:
        rows = prices.few_of(cut[0], _EACH * sections["sampler"]["p"])
        own = train.iloc[rows][["path", "label", "split"]].reset_index(drop=True)
        items = item_table("measured", own.assign(role="both"), found.store)
        step, _ = prices.price_of_training(
            sections, items, np.isin(rows, cut[0].held), name="images"
        )
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


def _price_of_head(sections: Sections, width: int, cut: list[Fold]) -> tuple[float, float]:
    """Return the seconds of a step of a head, and of the validation of the mean fold."""
    rows, labels = prices.few_of(cut[0], _MOST), cut[0].items.frame["label"]
    held = np.isin(rows, cut[0].held)
    noise = prices.made_up(labels.iloc[rows].tolist(), width)
    step, validation = prices.price_of_training(sections, noise, held)
    return step, validation * (len(labels) / len(cut) / held.sum()) ** 2


def _batch(sections: Sections) -> str:
    return f"{sections['sampler']['p']} classes × {sections['sampler']['k']}"
