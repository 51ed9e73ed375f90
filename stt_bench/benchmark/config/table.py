"""A table: the rows of a leaderboard, each a complete experiment."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.config.table_files import is_shipped
from stt_bench.benchmark.config.table_sections import FigureConfig, TuningConfig, Varied
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.names import did_you_mean


@dataclass(frozen=True)
class Table:
    """A leaderboard to be filled: its rows in order, and the seeds each is run with.

    `varied` tells of each row that `vary` made what it is.
    """

    name: str
    path: Path
    title: str
    description: str
    seeds: tuple[int, ...]
    rows: dict[str, Experiment]
    figure: FigureConfig | None = None
    overrides: tuple[str, ...] = ()
    tuning: TuningConfig | None = None
    compare_by: str | None = None
    varied: Mapping[str, Varied] = field(default_factory=dict)

    @property
    def command(self) -> str:
        """Return the command line that runs this table with its overrides."""
        return self.command_to("run")

    def command_to(self, name: str) -> str:
        """Return the command line of a command on this table with its overrides."""
        changes = [part for text in self.overrides for part in ("--set", text)]
        return shlex.join(["stt-bench", name, self.argument, *changes])

    @property
    def argument(self) -> str:
        """Return what a command line calls the table: its name if shipped, else its file."""
        return self.name if is_shipped(self.path) else str(self.path)

    def select(self, rows: Iterable[str] | None) -> dict[str, Experiment]:
        """Return the named rows, all when none are named.

        A row that `vary` made several of names them all.

        Raises:
            BenchError: there is no such row.
        """
        if not rows:
            return self.rows
        known: dict[str, list[str]] = {}
        for name, one in self.varied.items():
            known.setdefault(one.row, []).append(name)
        known |= {row: [row] for row in self.rows}
        for row in rows:
            if row not in known:
                raise BenchError(
                    f"{self.path}: there is no row '{row}'; {did_you_mean(row, known)}"
                )
        return {one: self.rows[one] for row in rows for one in known[row]}

    def one(self, row: str) -> Experiment:
        """Return the row of this name.

        Raises:
            BenchError: there is none, or there are several that `vary` made of it.
        """
        found = self.select([row])
        if len(found) > 1:
            raise BenchError(f"{self.path}: row '{row}' is several, name one: {', '.join(found)}")
        return found[row]
