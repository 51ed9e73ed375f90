"""Items of several images: the rows of a group, such as the frames of a clip, become one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from stt_bench.benchmark.datasets.item_rules import GROUP, metadata_of
from stt_bench.unit_length import unit_length


def one_row_each(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the first row of each group of an item table; all rows where there are no groups."""
    return frame.drop_duplicates(GROUP) if GROUP in frame else frame


def ids_of(frame: pd.DataFrame) -> pd.Series:
    """Return for each row of an item table the id that its item has in an embedding set."""
    return frame[GROUP if GROUP in frame else "path"]


def average_groups(
    embeddings: np.ndarray,
    logits: np.ndarray | None,
    frame: pd.DataFrame,
    *,
    normalize: bool,
) -> tuple[np.ndarray, np.ndarray | None, pd.DataFrame]:
    """Return embeddings, class scores and rows of the groups; all as given where there are none.

    Args:
        embeddings: (N, D) float32, one row an image.
        logits: (N, C) float32, or None.
        frame: the images' rows of the item table; its column group, if there, names the groups.
        normalize: scale the mean embeddings to unit length, as a model does that normalises.

    Returns:
        The means over each group, (G, D) and (G, C) float32, in the order in which the groups
        begin, and their rows, with the group's name as path. Metadata in which the rows of a group
        differ are empty.
    """
    if GROUP not in frame:
        return embeddings, logits, frame
    codes, names = pd.factorize(frame[GROUP])
    means = _means(embeddings, codes)
    if normalize:
        means = unit_length(torch.from_numpy(means), divide=True).numpy()
    scores = None if logits is None else _means(logits, codes).astype(np.float32)
    rows = frame.drop_duplicates(GROUP).assign(path=names).reset_index(drop=True)
    for column in metadata_of(frame):
        several = frame.groupby(codes)[column].nunique().to_numpy() > 1
        rows[column] = rows[column].mask(several, "")
    return means.astype(np.float32), scores, rows


def _means(values: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return the mean of the rows of each code, in float64."""
    sums = np.zeros((codes.max() + 1, values.shape[1]))
    np.add.at(sums, codes, values)
    return sums / np.bincount(codes)[:, None]
