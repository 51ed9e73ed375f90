"""How long the runs of a table that are left will take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from stt_bench.benchmark.store.records import expected_seconds
from stt_bench.benchmark.store.runs import Run
from stt_bench.benchmark.system.progress import duration
from stt_bench.benchmark.system.text import counted


@dataclass
class Pace:
    """Times of runs: what the records let expect, and what those of this call took.

    Attributes:
        expected: Seconds of training by run, from the records of its row; None: not known.
        took: Seconds of each run that this call has done, by row.
    """

    expected: dict[str, float | None]
    took: dict[str, list[float]] = field(default_factory=dict)
    _of_known: list[tuple[float, float]] = field(default_factory=list)  # took, expected

    @classmethod
    def of(cls, runs: Sequence[Run], results: Path) -> Pace:
        """Return the pace of runs before the first of them."""
        expected = ((r, expected_seconds(results, r.table, r.row, r.experiment)) for r in runs)
        # That of an untrained network is 0, and says nothing of the time to measure it.
        return cls({run.name: seconds or None for run, seconds in expected})

    def plan(self) -> str:
        """Return how many runs there are to train, and how long that takes by their records."""
        known = [seconds for seconds in self.expected.values() if seconds is not None]
        told, unknown = (
            [f"{counted(len(self.expected), 'run')} to do"],
            len(self.expected) - len(known),
        )
        if known:
            of_them = f"for {len(known)} of them " if unknown else ""
            told.append(f"about {duration(sum(known))} {of_them}by the records of their rows")
        if unknown:
            which = f"{unknown} of them" if known else "they" if unknown > 1 else "it"
            verb, whose = ("take", "their") if unknown > 1 else ("takes", "its")
            told.append(f"how long {which} {verb} is told after {whose} first steps")
        return "; ".join(told)

    def done(self, run: Run, seconds: float) -> None:
        """Note how long a run took, from the first step to its record."""
        self.took.setdefault(run.row, []).append(seconds)
        if expected := self.expected.get(run.name):
            self._of_known.append((seconds, expected))

    def left(self, runs: Sequence[Run]) -> float | None:
        """Return the seconds that runs will take; None where nothing is known of any.

        A run takes the mean of those of its row in this call; else what the records let expect,
        times how much longer than that the runs of this call took; else the mean of the others.
        """
        times = [self._of(run) for run in runs]
        known = [seconds for seconds in times if seconds is not None]
        known = known or [one for of_row in self.took.values() for one in of_row]
        if not known:
            return None
        return sum(fmean(known) if seconds is None else seconds for seconds in times)

    def _of(self, run: Run) -> float | None:
        if run.row in self.took:
            return fmean(self.took[run.row])
        expected = self.expected.get(run.name)
        if expected is None or not self._of_known:
            return expected
        took, known = (sum(column) for column in zip(*self._of_known, strict=True))
        return expected * took / known


def rest_text(runs: int, seconds: float | None) -> str:
    """Return what is left of a table: ``2 runs left, about 3 min 5 s``."""
    if not runs:
        return "no run left"
    about = "" if seconds is None else f", about {duration(seconds)}"
    return f"{counted(runs, 'run')} left{about}"
