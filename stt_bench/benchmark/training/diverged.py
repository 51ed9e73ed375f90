"""A training whose numbers are none any more: at which step, in which batch, of which items."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from stt_bench.benchmark.datasets import ItemTable
from stt_bench.benchmark.datasets.sampler import build_sampler
from stt_bench.benchmark.store.runs import Run
from stt_bench.benchmark.store.weights import read_checkpoint
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.files import write_json
from stt_bench.benchmark.system.processes import processes
from stt_bench.benchmark.training.finite import NotFiniteError
from stt_bench.benchmark.training.learner import Learner

_NAMED = 3  # items of the batch that the sentence names


def file_of(run: Run) -> Path:
    """Return the file that says what stopped a training; it goes when the training ends well."""
    return run.folder / "not_finite.json"


def diverged(run: Run, items: ItemTable, learner: Learner, error: NotFiniteError) -> BenchError:
    """Write which batch it was, and return the sentence that says so."""
    batch = _batch(run, items, learner, error.step)
    kept = read_checkpoint(run.checkpoint).step if run.checkpoint.exists() else 0
    content = {
        "step": error.step,
        "what": str(error),
        "continues_at_step": kept,
        "items": [
            {"path": str(path), "label": str(label)}
            for path, label in zip(batch["path"], batch["label"], strict=True)
        ],
    }
    if processes().leads:
        write_json(file_of(run), content)
    named = ", ".join(str(path) for path in batch["path"][:_NAMED])
    more = f" and {len(batch) - _NAMED} more" if len(batch) > _NAMED else ""
    again = f"the checkpoint of step {kept}" if kept else "the start"
    exact = run.experiment.train.precision in ("float32", "tf32")
    lower = "optimizer.lr" + ("" if exact else " or use train.precision: float32")
    return BenchError(
        f"{run.name}: {error}, in the batch of {named}{more} (all in {file_of(run)}); lower "
        f"{lower} (with --force, which begins anew), or look at these items; the same command "
        f"goes on from {again}"
    )


def _batch(run: Run, items: ItemTable, learner: Learner, step: int) -> pd.DataFrame:
    """Return the items of the batch of a step (from 1)."""
    frame = items.split("train")
    labels = pd.Index(items.classes).get_indexer(pd.Index(frame["label"]))
    sampler = build_sampler(run.experiment.sampler, labels, run.seed, learner.objective.needs)
    return frame.iloc[sampler.batch(step - 1)]
