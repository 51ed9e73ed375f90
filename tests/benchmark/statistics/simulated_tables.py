"""Tables whose truth is known, drawn as real ones vary.

Standard deviations (seed, class, residual) in points of MAP@R, of row − Softmax: `frozen`, a head
on frozen features; `scratch`, a small CNN from scratch; `twins`, rows nearly alike. Class effects
have heavy tails (Student's t of 6 degrees of freedom), and some classes are noisier than others.
"""

from __future__ import annotations

import numpy as np

SPREADS = {"frozen": (0.05, 3.8, 0.8), "scratch": (1.9, 9.5, 4.7), "twins": (0.07, 0.4, 0.5)}


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


def seeds_against_a_baseline(rng: np.random.Generator, k: int, seeds: int) -> np.ndarray:
    """(k, S) differences over seeds on fixed classes, of rows that do not differ."""
    own = np.exp(0.4 * rng.standard_normal((k, 1))) * rng.standard_normal((k, seeds))
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
