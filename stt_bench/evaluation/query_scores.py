"""The metrics of every query, from which means, classes and bootstrap intervals follow.

The search is done once: everything here costs next to nothing beside it.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from numbers import Real

import numpy as np

from stt_bench.evaluation.checks import check_choice, check_count

AVERAGES = ("query", "class")
UNITS = {"query": "queries", "class": "classes"}


@dataclass(frozen=True)
class QueryScores:
    """Retrieval metrics, query by query.

    `names` are the M metrics; `values` (Q, M) is NaN in the rows of queries without a
    positive; `labels` (Q,) are the queries' labels. Where queries have several, `labels` (T,) are
    all of them and `owners` (T,) tells whose each is. Where the queries are a sample
    at random, `sampled_from` is how many have a positive, and the rows of others are NaN, too.
    """

    names: tuple[str, ...]
    values: np.ndarray
    labels: np.ndarray
    owners: np.ndarray | None = None
    sampled_from: int | None = None

    @property
    def scored(self) -> np.ndarray:
        """Tell which queries have a positive, and were drawn, (Q,)."""
        return ~np.isnan(self.values[:, 0])

    def metrics(self, average: str = "query") -> dict[str, float]:
        """Return the means over the queries that have a positive, and how many have one or none.

        The keys are those of `retrieval_metrics`. With `average="class"` they are the means over
        the labels of the means over each label's queries; a label without any does not count.

        Of a sample there are also `sampled_from` and the `standard_errors`.

        Raises:
            ValueError: for an unknown average, or for classes of a sample.
        """
        check_choice("average", average, AVERAGES)
        scored = self.scored
        held = int(scored.sum())
        extra: dict[str, float] = {}
        if self.sampled_from is not None:
            if average == "class":
                raise ValueError("A sample of queries has no mean over classes: some have none.")
            held = self.sampled_from
            extra = {f"standard_error_{n}": e for n, e in self.standard_errors().items()}
            extra["sampled_from"] = held
        means = self.values[scored].mean(axis=0)
        if average == "class":
            means = self._class_means()[1].mean(axis=0)
        return {
            **self._named(means),
            "queries": int(scored.sum()),
            "queries_without_positive": len(scored) - held,
            **extra,
        }

    def standard_errors(self) -> dict[str, float]:
        """Return the standard error of each metric as an estimate of that over all queries.

        That is s · √(1/n − 1/N), with s the sample standard deviation of the n scored of N queries
        (Cochran, *Sampling Techniques*, section 2.6): 0 where all are scored, and infinite of one.
        About 95 % of samples lie within two of it. Like `intervals` of `query` it knows nothing of
        other test items; these it takes as given.
        """
        values = self.values[self.scored]
        count = len(values)
        share = 1 / count - 1 / (self.sampled_from or count)
        if count < 2:
            return dict.fromkeys(self.names, np.inf if share else 0.0)
        return self._named(values.std(axis=0, ddof=1) * np.sqrt(share))

    def per_class(self) -> dict[Hashable, dict[str, float]]:
        """Return for each label, in order, the means over its queries and their number."""
        names, means, counts = self._class_means()
        return {
            name: {**self._named(row), "queries": count}
            for name, row, count in zip(names.tolist(), means, counts.tolist(), strict=True)
        }

    def _class_means(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        owners = np.arange(len(self.values)) if self.owners is None else self.owners
        kept = self.scored[owners]
        names, codes = np.unique(self.labels[kept], return_inverse=True)
        counts = np.bincount(codes)
        values = self.values[owners[kept]]
        sums = np.stack([np.bincount(codes, column) for column in values.T], axis=1)
        return names, sums / counts[:, None], counts

    def intervals(
        self, *, resamples: int = 1000, level: float = 0.95, unit: str = "class", seed: int = 0
    ) -> dict[str, tuple[float, float]]:
        """Return the percentile bootstrap interval of each metric (Efron, 1979).

        Each resample draws as many units as there are, with replacement, and takes the mean over
        all their queries; the interval lies between the (1 ± level) / 2 quantiles of these means.
        It tells how far the metric would move with other test items, not with another seed of the
        training.

        Args:
            resamples: how many means are drawn.
            level: the share of them inside the interval, in (0, 1).
            unit: what is drawn: `class`, whose queries stand or fall together, or `query`.
            seed: of the draws.

        Raises:
            ValueError: for resamples < 1, a level outside (0, 1), an unknown unit, seed < 0,
                fewer than two units with a positive, or classes where queries have several
                labels.
        """
        check_choice("unit", unit, tuple(UNITS))
        resamples = check_count("resamples", resamples)
        seed = check_count("seed", seed, least=0)
        if not isinstance(level, Real) or not 0 < level < 1:
            raise ValueError(f"level must be a number between 0 and 1, not {level!r}.")
        values = self.values[self.scored]
        codes = np.arange(len(values))
        if unit == "class":
            if self.owners is not None:
                raise ValueError("Queries have several labels: give unit='query'.")
            _, codes = np.unique(self.labels[self.scored], return_inverse=True)
        counts = np.bincount(codes)
        if len(counts) < 2:
            raise ValueError(f"Bootstrap intervals need two {UNITS[unit]} with a positive or more.")
        sums = np.stack([np.bincount(codes, column) for column in values.T], axis=1)
        rng = np.random.default_rng(seed)
        means = np.empty((resamples, values.shape[1]))
        for i in range(resamples):
            drawn = np.bincount(rng.integers(0, len(counts), len(counts)), minlength=len(counts))
            means[i] = drawn @ sums / (drawn @ counts)
        low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0).tolist()
        return {name: (low[i], high[i]) for i, name in enumerate(self.names)}

    def _named(self, row: np.ndarray) -> dict[str, float]:
        return dict(zip(self.names, row.tolist(), strict=True))
