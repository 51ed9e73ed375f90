"""How far the runs of a folder are, from what lies on the disk: whoever works on them, anywhere.

Nothing is written and nothing is checked; a file that cannot be read tells nothing.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from stt_bench.benchmark.store.checkpoint_step import checkpoint_step
from stt_bench.benchmark.store.leases import holder, lease_file
from stt_bench.benchmark.store.progress import progress_file, read_progress

State = Literal["waiting", "training", "evaluating", "stopped", "trained", "failed", "done"]
"""Not begun; being trained; being embedded or evaluated; begun, and nobody works on it; trained and
not evaluated, and nobody works on it; ended with a sentence; it has its record."""

SCORES = ("map@r", "accuracy", "recall@1", "nmi")
"""The metric of a record that is shown is the first of these that it has."""


@dataclass(frozen=True)
class RunState:
    """How far a run is.

    Attributes:
        table: Its table, by the folder's name, as are `row` and `seed`.
        state: See `State`.
        step: Steps that are done; those that it goes on from, where nobody works on it or who does
            has made none yet.
        steps: Steps of the whole training; None: not known.
        metric: Name of `best`: of its record, else of the validation, else `loss`.
        best: The record's value; else the best of the validation so far; else the last loss; of
            those up to `step`.
        images_per_second: Of its training; of one that is going on, since it was last started.
        seconds_left: Of its training, at that pace.
        told: Why it failed, or who works on it.
    """

    table: str
    row: str
    seed: int
    state: State
    step: int = 0
    steps: int | None = None
    metric: str | None = None
    best: float | None = None
    images_per_second: float | None = None
    seconds_left: float | None = None
    told: str | None = None

    @property
    def name(self) -> str:
        """Return ``TABLE/ROW/seed-N``."""
        return f"{self.table}/{self.row}/seed-{self.seed}"


Expected = Mapping[tuple[str, str, int], int | None]
"""The steps of runs (table, row, seed) that there are to be, in their order."""


def run_states(
    runs: Path, results: Path, expected: Expected, tables: Iterable[str] | None = None
) -> list[RunState]:
    """Return the states of all runs that are expected or lie below the folder ``runs``.

    Args:
        runs: has a folder TABLE/ROW/seed-N for each run.
        results: has its record, ``records/TABLE/ROW/seed-N.json``.
        expected: come first, in their order.
        tables: only these; None: all.
    """
    there: dict[tuple[str, str, int], int | None] = dict(expected)
    chosen = None if tables is None else set(tables)
    for found in sorted({*_found(runs, ""), *_found(results / "records", ".json")}):
        if chosen is None or found[0] in chosen:
            there.setdefault(found, None)
    return [state_of(*key, runs, results, steps) for key, steps in there.items()]


def state_of(
    table: str, row: str, seed: int, runs: Path, results: Path, steps: int | None = None
) -> RunState:
    """Return how far one run is; `steps`, where the folder does not tell them."""
    folder = runs / table / row / f"seed-{seed}"
    record = results / "records" / table / row / f"seed-{seed}.json"
    worker = None
    with suppress(OSError):  # a folder in which its server's time cannot be asked for
        worker = holder(folder)
    if worker is None and record.exists():
        return _done(table, row, seed, _mapping(record))
    told = _mapping(folder / "failed.json").get("failed")
    trained = _mapping(folder / "training.json")
    kept = folder / "checkpoint.pt"
    pace = None if worker is None else read_progress(folder)
    began = None if worker is None else worker.began
    resuming = pace is not None and began is not None and pace.now < began  # no step is made yet
    goes_on_from = None
    if not trained and (worker is None or resuming):
        goes_on_from = checkpoint_step(kept) or 0
    step, metric, best = _logged(folder / "metrics.jsonl", until=goes_on_from)
    settings = _mapping(folder / "run.json").get("experiment")
    steps = _number(settings, "train", "steps", kind=int) if settings is not None else steps
    speed, left = _number(trained, "images_per_second"), None
    state: State
    if trained:
        state = "trained" if worker is None else "evaluating"
        step = steps or step
    elif worker is not None:
        state, told = "training", worker.told() or None
        if goes_on_from is not None:
            step = goes_on_from
        elif pace is not None:
            step = max(step, pace.step)
            speed = _number(pace.images_per_second)
            left = _number(pace.seconds_left(steps, _since_noted(folder)))
    else:
        state = "stopped" if step > 0 or kept.exists() else "waiting"
        step = goes_on_from or 0
    if worker is None and isinstance(told, str):
        state = "failed"
    return RunState(
        table, row, seed, state, step, steps, metric, best, speed, left,
        told.removeprefix(f"{table}/{row}/seed-{seed}: ") if isinstance(told, str) else None,
    )  # fmt: skip


def _since_noted(folder: Path) -> float:
    """Return the seconds from the last note of progress to the last sign of life of its holder.

    Both are times of the folder's server: this machine's clock may be another's.
    """
    with suppress(OSError):
        alive = lease_file(folder).stat().st_mtime
        return alive - progress_file(folder).stat().st_mtime
    return 0.0


def _done(table: str, row: str, seed: int, record: dict[str, Any]) -> RunState:
    steps = _number(record, "experiment", "train", "steps", kind=int)
    metric = next((one for one in SCORES if _number(record, "metrics", one) is not None), None)
    return RunState(
        table,
        row,
        seed,
        "done" if record else "failed",
        step=steps or 0,
        steps=steps,
        metric=metric,
        best=None if metric is None else _number(record, "metrics", metric),
        images_per_second=_number(record, "training", "images_per_second"),
        told=None if record else "its record cannot be read: delete it and evaluate again",
    )


def _found(folder: Path, suffix: str) -> Iterator[tuple[str, str, int]]:
    """Yield the runs that have a folder, or a file with a suffix, at TABLE/ROW/seed-N."""
    for table in _entries(folder):
        for row in _entries(table):
            for one in _entries(row):
                start, _, number = one.name.removesuffix(suffix).partition("-")
                ours = start == "seed" and one.name.endswith(suffix) and (suffix or one.is_dir())
                if ours and number.isascii() and number.isdecimal() and len(number) <= 10:
                    yield table.name, row.name, int(number)


def _entries(folder: os.DirEntry[str] | Path) -> list[os.DirEntry[str]]:
    with suppress(OSError), os.scandir(folder) as entries:
        return [one for one in entries if not one.name.startswith(".")]
    return []


def _logged(path: Path, until: int | None) -> tuple[int, str | None, float | None]:
    """Return the last step of a log, and its best validation, or else its last loss.

    Both are of the entries up to the step `until`, if that is given.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError:
        return 0, None, None
    last, metric, best = 0, None, None
    for line in lines:
        if b'"validation_' in line:
            entry = _parsed(line)
            for name in entry if _counts(entry, until) else ():
                found = _number(entry, name)
                if name.startswith("validation_") and found is not None:
                    metric = name.removeprefix("validation_")
                    best = found if best is None else max(best, found)
    for line in reversed(lines):
        entry = _parsed(line)
        last = max(last, _number(entry, "step", kind=int) or 0)
        if "loss" in entry and _counts(entry, until):
            if metric is None:
                metric, best = "loss", _number(entry, "loss")
            break
    return last, metric, best


def _counts(entry: dict[str, Any], until: int | None) -> bool:
    return until is None or (_number(entry, "step", kind=int) or 0) <= until


def _parsed(line: bytes) -> dict[str, Any]:
    with suppress(ValueError, RecursionError):
        entry = json.loads(line)
        if isinstance(entry, dict):
            return entry
    return {}


def _mapping(path: Path) -> dict[str, Any]:
    with suppress(OSError):
        return _parsed(path.read_bytes())
    return {}


def _number(value: Any, *keys: str, kind: type = float) -> Any:
    """Return a number in mappings of mappings; None where there is none, or one that is no number.

    Such are NaN and infinity, which Python reads and JSON does not have.
    """
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    with suppress(OverflowError, ValueError):
        return kind(value) if math.isfinite(value) else None
    return None
