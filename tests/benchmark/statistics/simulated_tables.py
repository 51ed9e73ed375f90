"""Tables whose truth is known, drawn as real ones vary.

Standard deviations (seed, class, residual) in points of MAP@R, of row − Softmax: `frozen`, a head
on frozen features; `scratch`, a small CNN from scratch; `twins`, rows nearly alike. Class effects
have heavy tails (Student's t of 6 degrees of freedom), and some classes are noisier than others.
"""

from __future__ import annotations

import numpy as np

from stt_bench.benchmark.statistics.crossed import crossed
from stt_bench.benchmark.statistics.verdicts import verdicts
from stt_bench.benchmark.statistics.weights import linearised, uneven

SPREADS = {"frozen": (0.05, 3.8, 0.8), "scratch": (1.9, 9.5, 4.7), "twins": (0.07, 0.4, 0.5)}

NINE_TABLES = (0, 0, 0, 1, 2, 3, 3, 4, 4)
"""The data source of each of nine tables."""


def heavy(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.standard_t(6, shape) / 1.5**0.5


def null_differences(
    rng: np.random.Generator, tables: int, seeds: int, classes: int, kind: str
) -> np.ndarray:
    """(tables, S, C) differences of rows that do not differ."""
    seed, of_class, residual = SPREADS[kind]
    noise = np.exp(0.4 * rng.standard_normal((tables, 1, classes)) - 0.08)
    return (
        seed * rng.standard_normal((tables, seeds, 1))
        + of_class * heavy(rng, (tables, 1, classes))
        + residual * noise * rng.standard_normal((tables, seeds, classes))
    )


def rows_against_a_baseline(
    rng: np.random.Generator, k: int, seeds: int, classes: int, kind: str, rho: float = 0.6
) -> np.ndarray:
    """(k, S, C) differences of rows that do not differ, with a shared baseline in all of them."""
    seed, of_class, residual = SPREADS[kind]
    size = of_class * np.exp(0.5 * rng.standard_normal((k, 1, 1)) - 0.125)
    half = 0.5**0.5

    def shared(shape: tuple[int, int]) -> np.ndarray:
        return half * (rng.standard_normal((1, *shape)) + rng.standard_normal((k, *shape)))

    effects = rho**0.5 * heavy(rng, (1, 1, classes))
    effects = effects + (1 - rho) ** 0.5 * heavy(rng, (k, 1, classes))
    return size * effects + seed * shared((seeds, 1)) + residual * shared((seeds, classes))


def equal_rows(rng: np.random.Generator, k: int, seeds: int, classes: int, kind: str) -> np.ndarray:
    """(k, S, C) class values of rows that do not differ; the spreads are of a difference of two.

    One class is all that there are, so that it makes no difference.
    """
    seed, of_class, residual = (spread / 2**0.5 for spread in SPREADS[kind])
    of_class *= classes > 1
    return (
        seed * rng.standard_normal((k, seeds, 1))
        + of_class * heavy(rng, (k, 1, classes))
        + residual * rng.standard_normal((k, seeds, classes))
    )


def marks_beside_the_best(values: np.ndarray, softmax: int, draws: int, *, fixed: bool) -> set[str]:
    """Marks of all later rows beside the best of the first `softmax` rows, in one table.

    Adjusted over the pairs with each of those rows; or `fixed`, as if it had been known which is
    the best. With one class only the question of new seeds is asked.
    """
    means = values.mean(axis=(1, 2))
    best = int(np.argmax(means[:softmax]))
    pairs = [
        (row, other)
        for row in range(softmax, len(values))
        for other in ([best] if fixed else range(softmax))
    ]
    d = [values[row] - values[other] for row, other in pairs]
    by_class = d if values.shape[2] > 1 else [None] * len(d)
    found = verdicts([one.mean(axis=1) for one in d], by_class, draws=draws)
    return {one.mark for (_, other), one in zip(pairs, found, strict=True) if other == best}


def uneven_tables(
    rng: np.random.Generator, tables: int, classes: int, variation: float
) -> tuple[np.ndarray, np.ndarray, float, float]:
    """(tables, 5, C) differences by classes of (tables, C) items, and the truths.

    A difference grows with the size of its class, whose coefficient of variation is given; the
    truths are its mean over classes and over items.
    """
    log_variance = np.log(1 + variation**2)

    def sizes(shape: tuple[int, ...]) -> np.ndarray:
        z = np.sqrt(log_variance) * rng.standard_normal(shape) - log_variance / 2
        return np.maximum(2, np.rint(20 * np.exp(z)))

    def gain(counts: np.ndarray) -> np.ndarray:
        return 0.5 * SPREADS["frozen"][1] * (counts / 20 - 1) / variation

    counts, all_classes = sizes((tables, classes)), sizes((400_000,))
    d = null_differences(rng, tables, 5, classes, "frozen") + gain(counts)[:, None]
    by_class = gain(all_classes)
    return d, counts, by_class.mean(), (by_class * all_classes).sum() / all_classes.sum()


def covers_uneven_classes(d: np.ndarray, counts: np.ndarray, *truths: float) -> float:
    """Share of tables whose interval, of the average that a record would choose, holds its truth.

    That is over classes where they are few and very uneven, else over items.
    """
    held = 0
    for of_table, sizes in zip(d, counts, strict=True):
        over_classes = uneven(sizes)
        estimate = crossed(of_table if over_classes else linearised(of_table, sizes))
        off = abs(estimate.mean - truths[0 if over_classes else 1])
        held += off <= estimate.half_width()
    return held / len(d)


def best_of_more_seeds(
    rng: np.random.Generator, tables: int, seeds: int, kept: int = 3
) -> np.ndarray:
    """(tables, kept) differences without a difference, of the best of more seeds of the row."""
    row = np.sort(rng.standard_normal((tables, seeds)))[:, -kept:]
    return row - rng.standard_normal((tables, kept))


def seeds_against_a_baseline(
    rng: np.random.Generator, k: int, seeds: int, uneven: float = 0.4
) -> np.ndarray:
    """(k, S) differences over seeds on fixed classes, of rows that do not differ.

    `uneven` is the standard deviation of the logarithm of a row's own.
    """
    own = np.exp(uneven * rng.standard_normal((k, 1))) * rng.standard_normal((k, seeds))
    return (own - rng.standard_normal((1, seeds))) / 2**0.5


def gallery_of_classes(
    rng: np.random.Generator, classes: int, items: int = 10, dims: int = 6
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two embeddings (N, D) of the same items, of which the second has lost two dimensions."""
    labels = np.repeat(np.arange(classes), items)
    spread = 0.4 * np.exp(0.5 * rng.standard_normal((classes, 1)))
    x = rng.standard_normal((classes, dims))[labels]
    x = x + spread[labels] * rng.standard_normal((len(labels), dims))
    fewer = x[:, : dims - 2] * np.r_[1.5, np.ones(dims - 3)]
    return x, fewer, labels


def tables_of_sources(rng: np.random.Generator, sets: int, sources: tuple[int, ...]) -> np.ndarray:
    """(sets, T) differences around 0: sources spread twice as much as the tables of one."""
    of_source = rng.standard_normal((sets, max(sources) + 1))
    return of_source[:, sources] + 0.5 * rng.standard_normal((sets, len(sources)))
