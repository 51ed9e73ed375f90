"""Which classes are learned from and which are retrieved among: a pure function of the labels."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.text import one_line

LEARNED, RETRIEVED = 4, 2  # classes of two items or more that either part needs
Whose = Literal["auto", "own", "made"]


class Divided(NamedTuple):
    """The items with their split, and a sentence on how they came by it."""

    frame: pd.DataFrame
    told: str


def divide(frame: pd.DataFrame, whose: Whose = "auto", seed: int = 0) -> Divided:
    """Return the items in the splits `train` and `test`, which share no class.

    The data's own split is taken where there is one whose parts share no class; else the classes
    are dealt anew, see `deal`.

    Args:
        frame: columns path and label and, where the data have a split, split and role.
        whose: `own` and `made` insist on the data's split or on a new one.
        seed: of a new split.

    Raises:
        BenchError: there are too few classes of two items; or no own split, or one that shares
            classes, and `whose` insists on it.
    """
    has_own = "split" in frame
    if whose == "own" and not has_own:
        raise BenchError("--split own: the data have no split of their own: leave it out")
    why = ""
    if has_own and whose != "made":
        shared = _shared(frame)
        if not shared:
            own = Divided(frame, "the data's own, whose parts share no class")
            _check(own.frame, "the data's own split")
            return own
        why = f"the data's own has class '{one_line(shared[0], 60)}' in train and in test"
        if whose == "own":
            raise BenchError(
                f"--split own: {why} ({len(shared)} such), and what is compared is how well "
                "classes are retrieved that were not learned: leave --split out, or run a table "
                "with task: classification"
            )
        why = f"; {why} and is not used"
    if "role" in frame and (frame["role"] != "both").any():
        why += "; who is query and who gallery in the data is not used"
    made = frame.drop(columns=["split", "role"], errors="ignore")
    made = made.assign(split=deal(frame["label"], seed), role="both")
    _check(made, "the data")
    told = f"classes of like size dealt to the two parts in pairs, by lot (seed {seed}){why}"
    return Divided(made, told)


def deal(labels: pd.Series, seed: int) -> np.ndarray:
    """Return `train` or `test` for each item; all items of a class are in one part.

    The classes of two items or more, from the largest to the smallest and those of one size in an
    order drawn with `seed`, are taken two by two, and lots decide which of two is learned from; a
    last one without a second is. While fewer than four are learned from, the smallest of the others
    change over. A class of one item can neither teach what is alike nor be searched for: it is a
    test item that others must not be taken for.
    """
    counts = labels.value_counts()
    rng = np.random.default_rng(seed)
    names = rng.permutation(sorted(counts.index[counts > 1])).tolist()
    names.sort(key=lambda name: -counts[name])  # stable
    train: list[str] = []
    test: list[str] = []
    for first in range(0, len(names), 2):
        pair = names[first : first + 2]
        train.append(pair.pop(int(rng.integers(len(pair)))))
        test += pair
    while len(train) < LEARNED and len(test) > RETRIEVED:
        train.append(test.pop())
    return np.where(labels.isin(set(train)), "train", "test").astype(object)


def _shared(frame: pd.DataFrame) -> list[str]:
    train, test = (set(frame.loc[frame["split"] == part, "label"]) for part in ("train", "test"))
    return sorted(train & test)


def _check(frame: pd.DataFrame, whose: str) -> None:
    """Raise where too few classes have two items."""
    enough = {"train": LEARNED, "test": RETRIEVED}
    have = {}
    for part in enough:
        sizes = frame.loc[frame["split"] == part, "label"].value_counts().to_numpy()
        have[part] = int((sizes > 1).sum())
    if all(have[part] >= number for part, number in enough.items()):
        return
    classes, several = frame["label"].nunique(), sum(have.values())
    if len(frame) == classes:
        raise BenchError(
            f"{whose}: all {len(frame):,} labels are unique, so that no item has another to find: "
            "give the label that items share, a column of classes"
        )
    need = sum(enough.values())
    parts = (
        ""
        if several < need
        else f" ({have['train']} in train and {have['test']} in test; --split made divides anew)"
    )
    raise BenchError(
        f"{whose}: {several} of {classes:,} classes have two items or more{parts}, and compare "
        f"needs {LEARNED} to learn from and {RETRIEVED} others to retrieve among: add items, or "
        "run a table with task: classification"
    )
