"""Vectors of the user's own as the inputs of a network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from stt_bench.benchmark.datasets.threads import Progress
from stt_bench.benchmark.datasets.vectors import VectorStore


class VectorSet:
    """Vectors that come in place of images."""

    def __init__(self, vectors: VectorStore, paths: Sequence[str]) -> None:
        """Choose the vectors."""
        self._vectors = np.asarray(vectors.vectors)
        self._rows = np.array([vectors.rows[path] for path in paths], dtype=np.int64)

    @property
    def is_random(self) -> bool:
        """Tell that nothing is drawn."""
        return False

    @property
    def in_memory(self) -> bool:
        """Tell that nothing has to be read."""
        return True

    @property
    def costly(self) -> bool:
        """Tell that vectors are only moved."""
        return False

    def __len__(self) -> int:
        """Return the number of vectors."""
        return len(self._rows)

    def load(self, progress: Progress | None = None) -> bool:
        """Do nothing: vectors are there."""
        return True

    def check(self, progress: Progress | None = None) -> None:
        """Do nothing: they were looked at when they were read."""

    def batch(
        self,
        rows: np.ndarray,
        rng: np.random.Generator | None = None,
        part: slice | None = None,
    ) -> torch.Tensor:
        """Return the vectors of some rows, or of a part of them, float32."""
        made = self._rows[rows[part or slice(None)]]
        return torch.from_numpy(self._vectors[made].astype(np.float32))

    def views(self, rows: np.ndarray, *, flip: bool = False) -> list[torch.Tensor]:
        """Return the vectors of some rows: there is one view of each."""
        return [self.batch(rows)]
