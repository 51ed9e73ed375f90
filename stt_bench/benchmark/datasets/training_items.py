"""The training split alone: what a search may look at, and the folds that it is cut into."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from stt_bench.benchmark.config.sections import DataConfig, Task
from stt_bench.benchmark.datasets.catalog import find_dataset
from stt_bench.benchmark.datasets.held_out import hold_out
from stt_bench.benchmark.datasets.item_rules import GROUP
from stt_bench.benchmark.datasets.items import ItemTable, find_root, item_table, read_source
from stt_bench.benchmark.datasets.long_tail import long_tail
from stt_bench.benchmark.datasets.stores import ArrayStore, Store
from stt_bench.benchmark.datasets.unreadable import readable_part
from stt_bench.benchmark.system.errors import BenchError

_SEED = 0  # folds belong to the data: all rows, studies and trials share them


@dataclass(frozen=True, eq=False)
class Fold:
    """One part of the training items that is held out, the rest is trained on.

    Attributes:
        items: Both, as the splits `train` and `validation`.
        trained: Rows of the training items that are trained on, in the order of `items`.
        held: Rows that are held out, in that order.
    """

    items: ItemTable
    trained: np.ndarray
    held: np.ndarray


def training_items(config: DataConfig, *, download: bool = True) -> ItemTable:
    """Return the items that a row is trained on; all of them are of the split `train`.

    Of the test split no image is asked for, and nothing in the result depends on it: its hash is
    that of the training items. What `data.validation` holds out is left out, too. With `download` a
    dataset that is not here is fetched.

    Raises:
        BenchError: the data are not here, or a training image is missing.
    """
    dataset = find_dataset(config.name)
    source = read_source(config, find_root(dataset, config.root, download=download))
    (frame, store, notes), unreadable = readable_part(config, source, split="train")
    wanted = (frame["split"] == "train").to_numpy()
    if config.long_tail is not None:
        wanted = wanted & long_tail(frame, config.long_tail)
    kept = frame[wanted].reset_index(drop=True)
    part: Store = store
    if store.arrays is not None:
        part = ArrayStore(kept["path"].tolist(), store.arrays[wanted])
    if isinstance(config.validation, float):
        held = hold_out(kept, config.task, config.validation)["split"] != "train"
        inside = (~held).to_numpy()
        kept = kept[inside].reset_index(drop=True)
        if part.arrays is not None:
            part = ArrayStore(kept["path"].tolist(), part.arrays[inside])
    items = item_table(dataset.name, kept, part, notes)
    return replace(items, skippable=True, unreadable=unreadable)


def folds_of(items: ItemTable, task: Task, count: int) -> list[Fold]:
    """Return the folds of training items.

    Retrieval: the classes, shuffled once for all, are dealt to the folds one by one, so that their
    numbers of classes differ by one at most; no class is in two folds. Classification: the images
    of each class are shuffled and dealt likewise, the class after it going on where this one ended,
    so that the folds' numbers of images differ by one at most; a class with a single image is
    always trained on. Of a clip all frames are in one fold.

    Raises:
        BenchError: there are too few classes, or images, for so many folds.
    """
    labels = items.frame["label"].to_numpy()
    rng = np.random.default_rng(_SEED)
    place = np.full(len(labels), -1)
    classes = sorted(set(labels))
    if task == "retrieval":
        if len(classes) < 2 * count:
            most = len(classes) // 2
            mend = f"lower it to {most} or less" if most > 1 else "to tune takes four classes"
            raise BenchError(
                f"tuning.folds is {count}, and there are {len(classes)} training classes: a fold "
                f"needs two; {mend}"
            )
        order = {label: i % count for i, label in enumerate(rng.permutation(classes))}
        place = np.array([order[label] for label in labels])
    else:
        unit = items.frame[GROUP if GROUP in items.frame else "path"].to_numpy()
        start = 0
        for label in classes:
            own = rng.permutation(sorted(set(unit[labels == label])))
            if len(own) > 1:
                order = {name: (start + i) % count for i, name in enumerate(own)}
                mine = np.flatnonzero(labels == label)
                place[mine] = [order[name] for name in unit[mine]]
                start += len(own)
    masks = [place == number for number in range(count)]
    for number, held in enumerate(masks):
        _check_held(labels[held], number, count)
    return [fold_of(items, held) for held in masks]


def _check_held(labels: np.ndarray, number: int, count: int) -> None:
    if len(set(labels)) == len(labels):
        mend = "lower it" if count > 2 else "to tune takes more images of a class"
        raise BenchError(
            f"tuning.folds: fold {number} holds no two images of one class, so that no query has a "
            f"positive: {mend}"
        )


def fold_of(items: ItemTable, held: np.ndarray) -> Fold:
    """Return the fold that holds out some of the training items, told by a mask."""
    split = np.where(held, "validation", "train")
    part = replace(items, frame=items.frame.assign(split=split))
    return Fold(part, np.flatnonzero(~held), np.flatnonzero(held))
