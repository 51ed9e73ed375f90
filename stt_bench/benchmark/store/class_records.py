"""What a record holds of single test classes: of a classifier, and of retrieval."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator


class ClassScores(BaseModel):
    """How a classifier did on each class of the test split."""

    model_config = ConfigDict(extra="forbid")

    labels: list[str]
    items: list[int]
    recall: list[float | None]  # None: no test item is of this class
    confusion: list[str]  # of each true class: `predicted:count` where the count is not 0

    @model_validator(mode="after")
    def _check(self) -> ClassScores:
        count = len(self.labels)
        if not len(self.items) == len(self.recall) == len(self.confusion) == count:
            raise ValueError("labels, items, recall and confusion are of different lengths")
        if any(value is not None and not 0 <= value <= 1 for value in self.recall):
            raise ValueError("a recall lies between 0 and 1")
        try:
            matrix = self.confusion_matrix()
        except (ValueError, IndexError):
            raise ValueError("confusion: a cell is predicted:count") from None
        if not (np.isfinite(matrix) & (matrix >= 0)).all():
            raise ValueError("confusion: a count is a number from 0")
        return self

    @classmethod
    def of(cls, labels: list[str], confusion: np.ndarray) -> ClassScores:
        """Return the scores of a (C, C) confusion matrix of counts, true classes in rows."""
        items = np.rint(confusion.sum(axis=1)).astype(int).tolist()
        return cls(
            labels=labels,
            items=items,
            recall=[row[i] / n if (n := items[i]) else None for i, row in enumerate(confusion)],
            confusion=[
                " ".join(f"{j}:{row[j]:.12g}" for j in np.flatnonzero(row)) for row in confusion
            ],
        )

    def confusion_matrix(self) -> np.ndarray:
        """Return the (C, C) counts, true classes in rows."""
        matrix = np.zeros((len(self.labels), len(self.labels)))
        for row, cells in zip(matrix, self.confusion, strict=True):
            for cell in cells.split():
                column, _, count = cell.partition(":")
                row[int(column)] = float(count)
        return matrix


class ClassShare(BaseModel):
    """One metric: of each group of classes the sum over its queries, and its share in the mean."""

    model_config = ConfigDict(extra="forbid")

    sums: list[FiniteFloat]
    values: list[FiniteFloat]  # leave-class-out values: see `stt_bench.evaluation.class_values`


class ClassRetrieval(BaseModel):
    """How each test class, or group of classes, stands in the retrieval metrics."""

    model_config = ConfigDict(extra="forbid")

    groups: list[str | int]
    counts: list[Annotated[int, Field(ge=1)]]  # queries that have a positive
    weighting: Literal["query", "class"]
    metrics: dict[str, ClassShare]

    @model_validator(mode="after")
    def _check(self) -> ClassRetrieval:
        lengths = {
            len(part) for share in self.metrics.values() for part in (share.sums, share.values)
        }
        if lengths | {len(self.counts)} != {len(self.groups)}:
            raise ValueError("groups, counts, sums and values are of different lengths")
        return self

    def mean(self, metric: str) -> float:
        """Return the metric over all queries, from the sums of the groups."""
        return sum(self.metrics[metric].sums) / sum(self.counts)
