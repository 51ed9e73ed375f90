"""Which rows make a batch: pure functions of (seed, step), so that a resumed run goes on exactly.

Every random draw has its own generator, `default_rng([seed, stream, position])`.
"""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache
from typing import Protocol

import numpy as np

from benchmark.config import SamplerConfig
from benchmark.errors import BenchError


class Stream(IntEnum):
    """What a random draw is for; part of its generator's seed."""

    CLASSES = 1
    IMAGES = 2
    ROWS = 3
    AUGMENTATION = 4


def generator(seed: int, stream: Stream, position: int) -> np.random.Generator:
    """Return the generator of one draw."""
    return np.random.default_rng([seed, int(stream), position])


@lru_cache(maxsize=4)  # consecutive steps share a pass
def _order(n: int, seed: int, stream: Stream, turn: int) -> np.ndarray:
    """Return the order of n things in one pass."""
    order = generator(seed, stream, turn).permutation(n)
    order.flags.writeable = False
    return order


class Sampler(Protocol):
    """Draws the rows of a batch."""

    def batch(self, step: int) -> np.ndarray:
        """Return the row indices of the batch of a step."""


class PxKSampler:
    """P distinct classes, K images of each, ordered class by class.

    One pass goes once through the shuffled classes; the last `classes % p` of a pass are left
    out, others in each pass. A class with fewer than K images is padded by repetition, each image
    ⌊K/n⌋ or ⌈K/n⌉ times.
    """

    def __init__(self, labels: np.ndarray, p: int, k: int, seed: int) -> None:
        """Sort the rows by their class."""
        by_class = np.argsort(labels, kind="stable")
        _, starts = np.unique(labels[by_class], return_index=True)
        self.rows = np.split(by_class, starts[1:])
        if p > len(self.rows):
            raise BenchError(
                f"sampler.p is {p}, but only {len(self.rows)} classes are trained on: "
                f"lower sampler.p to {len(self.rows)} or less"
            )
        self.p, self.k, self.seed = p, k, seed

    def batch(self, step: int) -> np.ndarray:
        """Return the p × k row indices of the batch of a step."""
        turn, position = divmod(step, len(self.rows) // self.p)
        order = _order(len(self.rows), self.seed, Stream.CLASSES, turn)
        classes = order[position * self.p : (position + 1) * self.p]
        rng = generator(self.seed, Stream.IMAGES, step)
        return np.concatenate([self._draw(self.rows[c], rng) for c in classes])

    def _draw(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if len(rows) >= self.k:
            return rng.choice(rows, self.k, replace=False)
        rounds = -(-self.k // len(rows))
        return np.concatenate([rng.permutation(rows) for _ in range(rounds)])[: self.k]


class UniformSampler:
    """All images in random order, again and again; a batch may span two passes."""

    def __init__(self, n: int, batch_size: int, seed: int) -> None:
        """Set the number of rows and the batch size."""
        if batch_size > n:
            raise BenchError(
                f"sampler.batch_size is {batch_size}, but only {n} images are trained on: "
                f"lower it to {n} or less"
            )
        self.n, self.batch_size, self.seed = n, batch_size, seed

    def batch(self, step: int) -> np.ndarray:
        """Return the row indices of the batch of a step."""
        turn, start = divmod(step * self.batch_size, self.n)
        stop = start + self.batch_size
        rows = _order(self.n, self.seed, Stream.ROWS, turn)[start:stop]
        if stop > self.n:
            following = _order(self.n, self.seed, Stream.ROWS, turn + 1)
            rows = np.concatenate([rows, following[: stop - self.n]])
        return rows.copy()


def build_sampler(config: SamplerConfig, labels: np.ndarray, seed: int) -> Sampler:
    """Return the sampler of a config for the class indices of the training rows."""
    if config.name == "pxk":
        return PxKSampler(labels, config.p, config.k, seed)
    return UniformSampler(len(labels), config.images_per_batch, seed)
