"""Rows that the anchors of a batch are compared with in place of each other: those of a memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import torch
from torch import Tensor


class Others(NamedTuple):
    """Rows (M, D) without gradient and their labels (M,).

    `with_batch`: copies of the rows of the batch, without gradient, are compared with as well.
    """

    rows: Tensor
    labels: Tensor
    with_batch: bool


_others: ContextVar[Others | None] = ContextVar("others", default=None)


@contextmanager
def compared_with(others: Others) -> Iterator[None]:
    """Compare anchors with other rows, inside: every (B, B) of the losses is a (B, N) there.

    Column a of row a is still the anchor itself, at distance 0 and of its own class; all other
    columns are rows that it is compared with, so that losses need not know. There must be as many
    other rows as anchors, unless the batch is among them.
    """
    token = _others.set(others)
    try:
        yield
    finally:
        _others.reset(token)


def others_now() -> Others | None:
    """Return the other rows, or None: the anchors are compared with each other."""
    return _others.get()


def columns(rows: int) -> int:
    """Return N, how many rows each of B anchors is compared with, itself included."""
    others = _others.get()
    if others is None:
        return rows
    return len(others.rows) + (rows if others.with_batch else 1)


def all_rows(batch: Tensor, others: Tensor, with_batch: bool) -> Tensor:
    """Return the rows, or labels, that the columns of `beside_itself` stand for."""
    others = others.to(batch.dtype)
    return torch.cat([batch.detach(), others]) if with_batch else others


def beside_itself(matrix: Tensor, itself: float, with_batch: bool) -> Tensor:
    """Return (B, N) with `itself` on the diagonal; another row that was there comes last.

    With the batch among the columns, the diagonal holds the copies of the anchors already.
    """
    if not with_batch:
        matrix = torch.cat([matrix, matrix.diagonal()[:, None]], 1)
    return matrix.diagonal_scatter(matrix.new_full((len(matrix),), itself))
