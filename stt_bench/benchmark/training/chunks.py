"""Batches that the memory does not hold: encoded chunk by chunk, with the whole batch's gradients.

The loss of a batch is no sum over its images, so that adding up the gradients of parts would be
another loss. Each chunk is encoded without a graph first; of all embeddings together comes the loss
and its gradient with respect to them; then each chunk is encoded again, and its part of that
gradient goes back through it (Gao, Zhang, Han and Callan, "Scaling Deep Contrastive Learning Batch
Size under Memory Limited Setup", RepL4NLP 2021).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from stt_bench.benchmark.training.learner import Learner


class Chunks:
    """The chunks of one batch.

    `outputs` are the features (B, F) and embeddings (B, D) of all, from which the loss is taken;
    once its gradient is in them, `backward` takes it to the weights.
    """

    def __init__(
        self,
        learner: Learner,
        images: Sequence[Tensor],
        autocast: Callable[[], AbstractContextManager[None]],
        seed: Callable[..., None],
    ) -> None:
        """Encode the chunks; ``seed(chunk=n)`` makes what they draw the same each time."""
        self._learner, self._images, self._autocast, self._seed = learner, images, autocast, seed
        with torch.no_grad():
            parts = [self._encoded(number) for number in range(len(images))]
        features, embeddings = (torch.cat(rows) for rows in zip(*parts, strict=True))
        self.outputs = features.requires_grad_(), embeddings.requires_grad_()
        seed()  # what the loss draws does not depend on the chunks

    def backward(self) -> None:
        """Encode the chunks again and take the gradients of the outputs back through them."""
        start = 0
        for number, images in enumerate(self._images):
            rows = slice(start, start := start + len(images))
            last = number + 1 == len(self._images)
            with self._learner.synced(last):
                made = self._encoded(number)
                graded = [
                    (output, whole.grad[rows])
                    for output, whole in zip(made, self.outputs, strict=True)
                    if output.requires_grad and whole.grad is not None
                ]
                if graded:
                    outputs, gradients = zip(*graded, strict=True)
                    torch.autograd.backward(outputs, gradients)

    def _encoded(self, number: int) -> tuple[Tensor, Tensor]:
        self._seed(chunk=number)
        with self._autocast():  # one each: its casts of weights are kept, without a graph or with
            return self._learner.forward(self._images[number])
