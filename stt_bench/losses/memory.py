"""Cross-batch memory: a pair or triplet loss also between a batch and the rows of earlier ones."""

from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from stt_bench.losses.base import LossResult, RankingLoss
from stt_bench.losses.others import Others, compared_with
from stt_bench.losses.parameters import AtLeast0, Count, Limits, checked, parameters_of
from stt_bench.unit_length import unit_length

Order = Literal["before", "after"]


class CrossBatchMemory(RankingLoss):
    """A loss on a batch plus the same loss between the batch and a memory of embeddings.

        loss(batch, batch) + weight · loss(batch, memory)

    The memory holds the last `size` rows, as they were and without gradient, with their labels;
    only rows of the batch are anchors, and none meets its own copy, while older copies of the same
    image stay. With order "before" the batch is put into the memory first, so that its pairs count
    in the second part as well, there with a gradient on the anchor's side only; "after": the memory
    holds rows of earlier batches alone. In evaluation mode the memory rests.

    Memory, number of rows stored and number of steps are buffers: state of the training.

    Args:
        loss: a loss that says `with_memory`.
        embedding_dim: size of an embedding.
        size: rows in the memory, at least one batch.
        start_step: the step, from 0, in which the memory is first filled and used.
        order: "before" or "after".
        weight: of the memory's part.

    Raises:
        ValueError: for a loss that cannot be wrapped, an impossible parameter, or a batch of more
            rows than the memory has.

    Source: Wang, Zhang, Huang and Scott, "Cross-Batch Memory for Embedding Learning", CVPR 2020,
    with a ring in place of the published code's overwriting of its newest rows.

    """

    needs_positives = False  # they may be in the memory
    needs_negatives = False
    rows: Tensor
    labels: Tensor
    stored: Tensor
    steps: Tensor

    def __init__(
        self,
        loss: RankingLoss,
        *,
        embedding_dim: Count,
        size: Count = 8192,
        start_step: Annotated[int, Limits(low=0)] = 0,
        order: Order = "before",
        weight: AtLeast0 = 1.0,
    ) -> None:
        """Check the parameters and start with an empty memory."""
        super().__init__()
        given = {"size": size, "start_step": start_step, "order": order, "weight": weight}
        checked(parameters_of(CrossBatchMemory.__init__), given | {"embedding_dim": embedding_dim})
        if not loss.with_memory or loss.batch_layout != "any":
            raise ValueError(
                f"{loss.name} cannot have a memory: it does not compare each anchor with other "
                "rows one by one"
            )
        self.loss, self.name, self.with_weights = loss, loss.name, loss.with_weights
        self.size, self.start_step, self.order, self.weight = size, start_step, order, weight
        self.register_buffer("rows", torch.zeros(size, embedding_dim))
        self.register_buffer("labels", torch.zeros(size, dtype=torch.long))
        self.register_buffer("stored", torch.zeros((), dtype=torch.long))  # in all, ever
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        self._known: tuple[int, int] | None = (0, 0)  # what the two say: no step waits for them
        self.register_load_state_dict_post_hook(_look_again)

    def compute(self, embeddings: Tensor, labels: Tensor) -> LossResult:
        """Return (loss, diagnostics), and put the batch into the memory in training mode."""
        if len(embeddings) > self.size:
            raise ValueError(
                f"the memory holds {self.size} rows, fewer than the batch of {len(embeddings)}: "
                "raise memory.size"
            )
        total, diagnostics = self.loss.compute(embeddings, labels)
        stored, steps = self._counts()
        started = steps >= self.start_step
        if self.training:
            self.steps += 1
            self._known = stored, steps + 1
        if not started:
            return total, diagnostics
        others = self._others(len(embeddings), stored)
        if others.with_batch or len(others.rows) >= len(embeddings):
            with compared_with(others):
                part, found = self.loss.compute(embeddings, labels)
            total = total + self.weight * part
            diagnostics = diagnostics | {"memory_loss": part}
            if "terms" in diagnostics and "terms" in found:
                diagnostics["terms"] = diagnostics["terms"] + found["terms"]
        if self.training:
            self._put(embeddings.detach(), labels)
        return total, diagnostics

    def _counts(self) -> tuple[int, int]:
        """Return how many rows were stored and steps taken; asks the device after a load only."""
        if self._known is None:
            self._known = int(self.stored), int(self.steps)
        return self._known

    def _others(self, batch: int, stored: int) -> Others:
        """Return what a batch of so many rows is compared with, the newest row first."""
        before = self.order == "before"
        count = min(stored, self.size - batch if before else self.size)
        slots = (stored - 1 - torch.arange(count, device=self.rows.device)) % self.size
        rows = self.rows[slots]
        if getattr(self.loss, "normalize", False):
            rows = unit_length(rows)
        return Others(rows, self.labels[slots], before)

    def _put(self, rows: Tensor, labels: Tensor) -> None:
        """Put a batch into the memory, in place of its oldest rows."""
        slots = (self.stored + torch.arange(len(rows), device=rows.device)) % self.size
        self.rows[slots] = rows.to(self.rows.dtype)
        self.labels[slots] = labels
        stored, steps = self._counts()
        self.stored += len(rows)
        self._known = stored + len(rows), steps


def _look_again(memory: nn.Module, _keys: object) -> None:
    """Forget the counts of before a state was loaded."""
    assert isinstance(memory, CrossBatchMemory)
    memory._known = None
