"""Small data whose answer is known, and comparisons that take seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stt_bench.benchmark.compare import compare as comparing
from stt_bench.benchmark.compare import prices, setting, shares
from stt_bench.benchmark.compare.compare import compare
from stt_bench.benchmark.compare.folder import Folder
from stt_bench.benchmark.compare.plan import Request
from stt_bench.benchmark.leaderboards.board import Leaderboard
from stt_bench.benchmark.system.progress import Reporter

CLASSES, EACH, WIDTH, TELLING = 16, 6, 12, 3


def write_vectors(folder: Path, *, telling: bool) -> Path:
    """Write vectors of 16 classes of 6.

    Those that are `telling` have three directions of little variance in which the classes lie
    apart, under nine of noise alone, six times as wide: a linear head that turns the noise down
    retrieves classes that it has not seen. The others are noise.
    """
    rng = np.random.default_rng(5 if telling else 6)
    labels = np.repeat(np.arange(CLASSES), EACH)
    vectors = rng.standard_normal((len(labels), WIDTH))
    if telling:
        centres = rng.standard_normal((CLASSES, TELLING))
        vectors *= 6
        spread = rng.standard_normal((len(labels), TELLING))
        vectors[:, :TELLING] = 3 * centres[labels] + 0.3 * spread
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "X.npy", vectors.astype(np.float32))
    lines = ["label", *(f"class {label}" for label in labels)]
    (folder / "X.csv").write_text("\n".join(lines) + "\n")
    return folder / "X.npy"


def make_quick(patch: pytest.MonkeyPatch) -> None:
    """Let searches be of two studies of two trials of 40 steps, whatever the time there is."""
    patch.setattr(setting, "_STEPS", ((float("inf"), 40),))
    patch.setattr(setting, "_STEPS_OF_ALL", 2)
    patch.setattr(setting, "ROUNDS", 2)
    patch.setattr(setting, "FOLDS", 2)
    patch.setattr(shares, "STUDIES", 2)
    patch.setattr(shares, "MORE_STUDIES", 2)
    patch.setattr(shares, "MOST_TRIALS", 2)
    patch.setattr(shares, "MOST_SEEDS", 2)
    patch.setattr(comparing, "MOST_TRIALS", 2)
    patch.setattr(comparing, "MOST_SEEDS", 2)
    patch.setattr(prices, "price_of_training", lambda *_args, **_more: (1e-4, 1e-4))


def compared(data: Path, out: Path, **asked: object) -> Leaderboard:
    request = Request(data=str(data), **{"rows": ("contrastive",), **asked})  # type: ignore[arg-type]
    return compare(request, Folder(out), Reporter(quiet=True))
