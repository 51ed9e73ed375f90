"""What a training writes while it runs."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from pathlib import Path
from typing import Any

from torch import Tensor

from stt_bench.benchmark.store.progress import Progress, write_progress
from stt_bench.benchmark.store.runs import Run
from stt_bench.benchmark.system.atomic import told_in_a_sentence, write_atomically
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.files import finite
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.training.health import BatchPairs
from stt_bench.benchmark.training.look import shown

NOTED_EVERY = 1.0
"""Seconds between two looks at how far a training is, as `stt-bench runs` tells it."""

_NO_JSON = re.compile(rb"NaN|Infinity")  # what earlier versions wrote


class TrainingLog:
    """``metrics.jsonl`` and TensorBoard events, cut back to the step training continues from."""

    def __init__(self, run: Run, step: int, reporter: Reporter) -> None:
        """Open the log of a run that continues after ``step`` steps."""
        from tensorboard.compat.proto.summary_pb2 import Summary
        from torch.utils.tensorboard import SummaryWriter

        self._summary, self._value = Summary, Summary.Value
        kept = "".join(_entries(run.metrics, step, reporter))
        write_atomically(run.metrics, lambda stream: stream.write(kept.encode()))
        self._path, self._events = run.metrics, run.folder / "tensorboard"
        with told_in_a_sentence(self._path):
            self._file = run.metrics.open("a", encoding="utf-8")
        self._hook, threading.excepthook = threading.excepthook, self._told_elsewhere
        try:
            with told_in_a_sentence(self._events):
                self._board: Any = SummaryWriter(str(self._events), purge_step=step + 1)
        except BaseException:
            threading.excepthook = self._hook
            raise
        images = run.experiment.sampler.images_per_batch
        self._progress = Progress(
            first=step, step=step, started=time.time(), now=time.time(), images=images
        )
        write_progress(run.folder, self._progress)
        self._noted = time.monotonic()

    def write(
        self,
        entry: dict[str, float],
        pairs: BatchPairs | None = None,
        images: Tensor | None = None,
    ) -> None:
        """Add the measurements of ``entry["step"]``; one that is not finite is null in the file.

        Args:
            entry: of one step.
            pairs: of its batch, whose distances TensorBoard is to show.
            images: (B, C, S, S), uint8, of the whole batch, whose hardest triplets TensorBoard is
                to show; anything else is not shown.

        Raises:
            BenchError: the disk is full.
        """
        with told_in_a_sentence(self._path):
            self._file.write(_line(entry))
            self._file.flush()
        if time.monotonic() - self._noted >= NOTED_EVERY:
            self._noted = time.monotonic()
            now = {"step": int(entry["step"]), "now": time.time()}
            write_progress(self._path.parent, self._progress.model_copy(update=now))
        values = [
            self._value(tag=f"train/{name}", simple_value=value)
            for name, value in entry.items()
            if name != "step"
        ]
        if pairs is not None:
            values += shown(pairs, images)
        with told_in_a_sentence(self._events):
            # One event for all: `add_scalar` and its kind write one for each
            # (tests/perf/logged_step.py).
            self._board.file_writer.add_summary(self._summary(value=values), int(entry["step"]))

    def flush(self) -> None:
        """Bring the measurements to the disk, before a checkpoint that follows on them is there."""
        with told_in_a_sentence(self._path):
            os.fsync(self._file.fileno())

    def __enter__(self) -> TrainingLog:
        """Return the log."""
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """Close both files."""
        try:
            for path, file in ((self._path, self._file), (self._events, self._board)):
                with told_in_a_sentence(path):
                    file.close()
        except BenchError:
            if kind is None:  # else the first reason is told
                raise
        finally:
            threading.excepthook = self._hook

    def _told_elsewhere(self, error: Any) -> None:
        """Keep TensorBoard's thread from printing what `write` and `close` raise."""
        if not isinstance(error.exc_value, OSError):
            self._hook(error)


def _line(entry: dict[str, float]) -> str:
    return json.dumps(finite(entry), allow_nan=False) + "\n"


class Unwritten:
    """The log of a process that trains along: the one that leads writes."""

    def write(
        self,
        entry: dict[str, float],
        pairs: BatchPairs | None = None,
        images: Tensor | None = None,
    ) -> None:
        """Leave the measurements to the other process."""

    def flush(self) -> None:
        """Do nothing."""

    def __enter__(self) -> Unwritten:
        """Return the log."""
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing."""


def _entries(path: Path, step: int, reporter: Reporter) -> list[str]:
    """Return the lines of a log up to a step; a broken one is left out, which is told.

    The last line may be cut short by a kill; training writes it again.
    """
    kept = []
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
            if entry["step"] <= step:
                kept.append(_line(entry) if _NO_JSON.search(line) else line.decode())
        except (ValueError, KeyError, TypeError, IndexError, RecursionError):
            if line.endswith(b"\n"):
                reporter.warn(f"{path}, line {number}: is no entry of a training; it is left out")
    return kept
