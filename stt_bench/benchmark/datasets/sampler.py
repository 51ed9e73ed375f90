"""Which rows make a batch: pure functions of (seed, step), so that a resumed run goes on exactly.

Every random draw has its own generator, `default_rng([seed, stream, position])`.
"""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache
from typing import Protocol

import numpy as np

from stt_bench.benchmark.config.sections import SamplerConfig
from stt_bench.benchmark.system.errors import BenchError


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
        rows = self._pass(turn)[start:stop]
        if stop > self.n:
            rows = np.concatenate([rows, self._pass(turn + 1)[: stop - self.n]])
        return rows.copy()

    def _pass(self, turn: int) -> np.ndarray:
        """Return the order of all rows in one pass."""
        return _order(self.n, self.seed, Stream.ROWS, turn)


class GroupedSampler(UniformSampler):
    """All images class by class, mixed only by a shuffle buffer.

    This is what a list of files sorted by class folder gives when it is read through a buffer that
    is small against a class: most batches hold a single class and so no negative. It is here to
    reproduce that mistake, not to be used.
    """

    def __init__(self, labels: np.ndarray, batch_size: int, buffer: int, seed: int) -> None:
        """Sort the rows by their class; `buffer` is the number of images that are mixed."""
        super().__init__(len(labels), batch_size, seed)
        self.rows, self.buffer = np.argsort(labels, kind="stable"), buffer
        self._turns: dict[int, np.ndarray] = {}

    def _pass(self, turn: int) -> np.ndarray:
        if turn not in self._turns:
            self._turns = {t: order for t, order in self._turns.items() if t == turn - 1}
            rng = generator(self.seed, Stream.ROWS, turn)
            self._turns[turn] = through_buffer(self.rows, self.buffer, rng)
        return self._turns[turn]


def through_buffer(rows: np.ndarray, buffer: int, rng: np.random.Generator) -> np.ndarray:
    """Return the rows in the order in which a shuffle buffer gives them out.

    The buffer holds the next `buffer` rows; each draw takes one of them at random, and the row
    that follows in the list takes its place.
    """
    held = rows[:buffer].tolist()
    slots = rng.integers(0, len(held), size=max(0, len(rows) - len(held))).tolist()
    given = []
    for slot, row in zip(slots, rows[buffer:].tolist(), strict=True):
        given.append(held[slot])
        held[slot] = row
    return np.array([*given, *rng.permutation(held)], dtype=rows.dtype)


def build_sampler(config: SamplerConfig, labels: np.ndarray, seed: int) -> Sampler:
    """Return the sampler of a config for the class indices of the training rows."""
    if config.name == "pxk":
        return PxKSampler(labels, config.p, config.k, seed)
    if config.name == "grouped":
        return GroupedSampler(labels, config.images_per_batch, config.buffer, seed)
    return UniformSampler(len(labels), config.images_per_batch, seed)
