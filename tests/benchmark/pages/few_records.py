"""A folder of results with a few of the committed records."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

RECORDS = Path(__file__).parents[3] / "results" / "records"


def records_of(
    results: Path,
    table: str = "omniglot_mini_retrieval",
    rows: Sequence[str] = ("softmax", "hard_triplet", "semi_hard_triplet"),
    seeds: int = 2,
) -> Path:
    """Return the folder, with the first seeds of rows of a table added to it."""
    for row in rows:
        to = results / "records" / table / row
        to.mkdir(parents=True)
        for seed in range(seeds):
            shutil.copy(RECORDS / table / row / f"seed-{seed}.json", to)
    return results
