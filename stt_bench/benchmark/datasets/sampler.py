"""Which rows make a batch: pure functions of (seed, step), so that a resumed run goes on exactly.

Every random draw has its own generator, `default_rng([seed, stream, position])`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Protocol

import numpy as np

from stt_bench.benchmark.config.sections import SamplerConfig
from stt_bench.benchmark.system.errors import RefusedError


class Stream(IntEnum):
    """What a random draw is for; part of its generator's seed."""

    CLASSES = 1
    IMAGES = 2
    ROWS = 3
    AUGMENTATION = 4
    VIEWS = 5


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
    """P distinct classes, K images of each, ordered class by class; no image stands in it twice.

    One pass goes once through the shuffled classes; the last `classes % p` of a pass are left
    out, others in each pass. A class with fewer than K images gives all it has, and the classes
    that follow in the pass fill the batch, then further images of its larger classes. With
    `together`, a class gives a multiple of that many images, and one with fewer is never drawn.
    """

    def __init__(self, labels: np.ndarray, p: int, k: int, seed: int, together: int = 1) -> None:
        """Sort the rows by their class."""
        by_class = np.argsort(labels, kind="stable")
        _, starts = np.unique(labels[by_class], return_index=True)
        rows = np.split(by_class, starts[1:])
        self.rows = [row for row in rows if len(row) >= together]
        least = f" with {together} or more items" if together > 1 else ""
        if p > len(self.rows):
            raise RefusedError(
                f"sampler.p is {p}, but only {len(self.rows)} classes{least} are trained on: "
                f"lower sampler.p to {len(self.rows)} or less"
            )
        images = sum(len(row) // together * together for row in self.rows)
        if p * k > images:
            raise RefusedError(
                f"sampler.p × sampler.k is {p * k}, but only {images} items are trained on: "
                "lower one of them"
            )
        self.p, self.k, self.seed, self.together = p, k, seed, together

    def batch(self, step: int) -> np.ndarray:
        """Return the p × k row indices of the batch of a step."""
        turn, position = divmod(step, len(self.rows) // self.p)
        order = _order(len(self.rows), self.seed, Stream.CLASSES, turn)
        order = np.roll(order, -position * self.p)
        rng = generator(self.seed, Stream.IMAGES, step)
        drawn: list[np.ndarray] = []
        left = self.p * self.k
        for rows in (self.rows[c] for c in order):
            drawn.append(self._draw(rows, min(self.k, left), rng))
            left -= len(drawn[-1])
            if left == 0:
                return np.concatenate(drawn)
        for place, c in enumerate(order):
            more = self._draw(np.setdiff1d(self.rows[c], drawn[place]), left, rng)
            drawn[place] = np.concatenate([drawn[place], more])
            left -= len(more)
        return np.concatenate(drawn)

    def _draw(self, rows: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
        size = min(most, len(rows) // self.together * self.together)
        return rng.choice(rows, size, replace=False)


class UniformSampler:
    """All images in random order, again and again; a batch may span two passes."""

    def __init__(self, n: int, batch_size: int, seed: int) -> None:
        """Set the number of rows and the batch size."""
        if batch_size > n:
            raise RefusedError(
                f"sampler.batch_size is {batch_size}, but only {n} items are trained on: "
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


@dataclass(frozen=True)
class Needs:
    """What a batch must hold so that a loss can learn from it.

    `positives`: two images of a class; `negatives`: images of two classes; `images`: so many at
    least; `together`: images of a class follow each other in groups of so many.
    """

    positives: bool = False
    negatives: bool = False
    images: int = 1
    together: int = 1


def check_sampler(config: SamplerConfig, needs: Needs, loss: str) -> None:
    """Raise BenchError if no batch of a sampler can hold what a loss needs, whatever the data."""
    size, pxk = config.images_per_batch, config.name == "pxk"
    if needs.together > 1:
        fits = config.k == 4 if needs.together == 4 else config.k % needs.together == 0
        if not (pxk and fits):
            k = "k: 4" if needs.together == 4 else "an even k"
            raise RefusedError(
                f"{loss} reads its pairs from the order of the batch and "
                f"needs 'sampler: {{name: pxk}}' with {k}"
            )
    if needs.positives and (config.k == 1 if pxk else size == 1):
        raise RefusedError(
            f"{loss} needs positives, and no batch of this sampler holds two items of a class: "
            f"set {'sampler.k' if pxk else 'sampler.batch_size'} to 2 or more"
        )
    if needs.negatives and (config.p == 1 if pxk else size == 1):
        raise RefusedError(
            f"{loss} needs negatives, and no batch of this sampler holds items of two classes: "
            f"set {'sampler.p' if pxk else 'sampler.batch_size'} to 2 or more"
        )
    if size < needs.images:
        raise RefusedError(
            f"{loss} needs batches of {needs.images} or more items, and this sampler's have "
            f"{size}: raise {'sampler.p' if pxk else 'sampler.batch_size'}"
        )


def build_sampler(
    config: SamplerConfig, labels: np.ndarray, seed: int, needs: Needs | None = None
) -> Sampler:
    """Return the sampler of a config for the class indices of the training rows.

    Raises:
        BenchError: the sampler does not fit the data, or no batch of these data can hold what is
            needed.
    """
    needs = needs or Needs()
    sizes = np.unique(labels, return_counts=True)[1]
    if needs.positives and sizes.max() < 2:
        raise RefusedError(
            "the loss needs positives, but no class has two items to train on: use softmax"
        )
    if needs.negatives and len(sizes) < 2:
        raise RefusedError("the loss needs negatives, but all training items are of one class")
    if config.name == "pxk":
        return PxKSampler(labels, config.p, config.k, seed, needs.together)
    if config.name == "uniform":
        return UniformSampler(len(labels), config.images_per_batch, seed)
    size, unmixed = config.images_per_batch, config.buffer == 1
    if needs.negatives and unmixed and not np.any(np.cumsum(sizes) % size):
        raise RefusedError(
            f"the loss needs negatives, but with sampler.buffer: 1 every batch of {size} holds a "
            "single class: raise sampler.buffer"
        )
    return GroupedSampler(labels, size, config.buffer, seed)
