"""Fewer items where there is no time for all: of large classes first, then whole classes."""

from __future__ import annotations

import numpy as np
import pandas as pd

FEW = 10  # items that a class keeps before whole classes go


def thin(frame: pd.DataFrame, most: int, seed: int) -> pd.DataFrame:
    """Return at most about `most` items of a frame with splits; both parts lose the same share.

    Each class keeps up to a number of items that is the same for all, ten or more; where ten are
    too many, classes are left out by lot. Items and classes are drawn with `seed`.
    """
    if len(frame) <= most:
        return frame
    rng = np.random.default_rng(seed)
    share = most / len(frame)
    kept = [_part(part, share, rng) for _, part in frame.groupby("split", sort=True)]
    return frame.loc[np.sort(np.concatenate(kept))]


def _part(part: pd.DataFrame, share: float, rng: np.random.Generator) -> np.ndarray:
    counts = part["label"].value_counts().sort_index()
    most = max(1, int(share * len(part)))
    cap = max(FEW, _cap(counts.to_numpy(), most))
    classes = rng.permutation(counts.index.to_numpy())
    sizes = np.minimum(counts[classes].to_numpy(), cap)
    fits = np.cumsum(sizes) <= most
    fits[: min(4, len(fits))] = True  # see `split.LEARNED`
    chosen = set(classes[fits])
    order = rng.permutation(len(part))
    drawn = part.iloc[order]
    drawn = drawn[drawn["label"].isin(chosen)]
    place = drawn.groupby("label").cumcount()
    return drawn.index[place < cap].to_numpy()


def _cap(counts: np.ndarray, most: int) -> int:
    """Return the largest c for which the counts, cut to c, sum to `most` or less."""
    low, high = 0, int(counts.max())
    while low < high:
        middle = (low + high + 1) // 2
        if np.minimum(counts, middle).sum() <= most:
            low = middle
        else:
            high = middle - 1
    return low
