"""What a batch of images becomes on a device, and how that comes back without waiting for each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from stt_bench.benchmark.config.evaluation_section import EvaluationConfig
from stt_bench.benchmark.datasets.transfer import moved
from stt_bench.benchmark.models import EmbeddingNetwork
from stt_bench.benchmark.models.views import aggregated, mean_logits
from stt_bench.benchmark.system.devices import autocast
from stt_bench.benchmark.training.objective import Objective

HELD = 2**26  # bytes that stay on a GPU before the host waits for them


class Embedder:
    """Embeds batches by a trained network, in the precision and memory layout of an evaluation."""

    def __init__(
        self, network: EmbeddingNetwork, objective: Objective, config: EvaluationConfig
    ) -> None:
        """Take both where they are, on their device and in evaluation mode."""
        self.network, self.objective, self.config = network, objective, config
        self.device = network.mean.device
        self.layout = layout_of(config, self.device)

    @torch.inference_mode()
    def embed(self, views: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
        """Return the (B, D) embeddings of images, and their (B, C) class scores, if there are any.

        The views of the images are (B, ...) each. Only the network computes in half precision.
        """
        embedded, seen = [], []
        for view in views:
            images = moved(view, self.device)
            if images.ndim == 4:
                images = images.to(memory_format=self.layout)
            with autocast(self.config.precision, self.device):
                features, embedding = self.network(images)
            embedded.append(embedding)
            seen.append(self.objective.logits(features, embedding))
        mean = aggregated(embedded, self.config, normalize=self.network.normalize)
        return mean, mean_logits(seen)


def layout_of(config: EvaluationConfig, device: torch.device) -> torch.memory_format:
    """Return the memory layout of images and weights: channels-last on a GPU, if nothing is said.

    On a CPU it is quicker, too; the last digits of the embeddings are then others.
    """
    wanted = config.channels_last
    last = device.type == "cuda" if wanted is None else wanted
    return torch.channels_last if last else torch.preserve_format


class Rows:
    """Arrays that fill up with the rows of batches; what is on a GPU comes back in large pieces."""

    def __init__(self, count: int) -> None:
        """Expect so many rows in all."""
        self._count = count
        self._arrays: list[np.ndarray | None] = [None, None]
        self._waiting: list[tuple[slice, tuple[Tensor | None, ...]]] = []
        self._bytes = 0

    def add(self, rows: slice, embeddings: Tensor, logits: Tensor | None) -> None:
        """Take the (B, D) embeddings and (B, C) class scores, if any, of some rows."""
        self._waiting.append((rows, (embeddings, logits)))
        self._bytes += sum(one.nbytes for one in (embeddings, logits) if one is not None)
        if embeddings.device.type == "cpu" or self._bytes > HELD:
            self._fetch()

    def arrays(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the (N, D) embeddings and (N, C) class scores, if any, float32."""
        self._fetch()
        embeddings, logits = self._arrays
        assert embeddings is not None, "no rows were added"
        return embeddings, logits

    def _fetch(self) -> None:
        for place in range(len(self._arrays)):
            held = [(rows, found[place]) for rows, found in self._waiting]
            parts = [(rows, one) for rows, one in held if one is not None]
            if not parts:
                continue
            array = self._arrays[place]
            if array is None:
                array = np.empty((self._count, parts[0][1].shape[1]), dtype=np.float32)
                self._arrays[place] = array
            together = torch.cat([one for _, one in parts]).float().cpu().numpy()
            start = 0
            for rows, one in parts:
                array[rows] = together[start : start + len(one)]
                start += len(one)
        self._waiting, self._bytes = [], 0
