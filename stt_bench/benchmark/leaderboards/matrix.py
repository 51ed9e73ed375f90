"""Several tables at once: each row's difference in each of them, and what their sources say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stt_bench.benchmark.leaderboards.board import Leaderboard
from stt_bench.benchmark.leaderboards.carry_over import carry_over
from stt_bench.benchmark.leaderboards.data_sources import data_sources
from stt_bench.benchmark.leaderboards.outcome import main_metric
from stt_bench.benchmark.leaderboards.wording import metric_name
from stt_bench.benchmark.statistics.across import FEWEST_SOURCES, Across, across_sources
from stt_bench.benchmark.statistics.verdicts import Verdict
from stt_bench.benchmark.system.text import counted, escape_markdown, table_line

_METRICS = {"map@r": "retrieval", "accuracy": "classification"}
_NEW = "new classes"

MATRIX_NOTE = (
    "Rows of one name in several tables: difference in points with its 95 % interval and mark, "
    "as explained on the tables' pages (–: run, and not compared there); the intervals of a "
    "column are of one kind. Of a table with several values of a field (`vary`) it is the row at "
    "the table's own value. Mean: over the data sources, the tables of one source being averaged "
    f"first; from {FEWEST_SOURCES} sources on with Student's 95 % interval of as many sources less "
    "one, not corrected for the number of rows; p: two-sided sign test over the sources. "
    "Points of different tables are of different scales, so the means rank nothing, and with "
    "fewer than nine sources no test over them can be corrected for so many rows."
)


@dataclass(frozen=True)
class MatrixLine:
    """A row in each of the tables: its verdicts, and what they say together."""

    label: str
    verdicts: list[Verdict | None]  # None: not compared there, or not run
    is_run: list[bool]
    over: Across

    @property
    def mean(self) -> str:
        """Return the mean over the sources in points, with its interval where it has one."""
        half = self.over.half_width
        reach = "" if half is None else f" ± {100 * half:.1f}"
        return f"{100 * self.over.mean:+z.1f}{reach}"

    @property
    def signs(self) -> str:
        """Return in how many sources the row is above, with the sign test where it has one."""
        p = "" if self.over.sign_p is None else f" (p {self.over.sign_p:.2g})"
        return f"{self.over.above} of {self.over.sources}{p}"


@dataclass(frozen=True)
class Matrix:
    """The rows of one name in two tables or more, against the best Softmax row of each table."""

    metric: str
    tables: list[Leaderboard]
    sources: list[int]  # of which a table is, by the place of the first one of the same
    kinds: list[str]  # what a table's intervals are for: new classes, or these
    lines: list[MatrixLine]

    @property
    def title(self) -> str:
        """Return what is compared, and in which tables."""
        name = metric_name(self.metric)
        return f"{name} − best Softmax, table by table ({_METRICS[self.metric]})"

    @property
    def over(self) -> str:
        """Return over how many data sources the tables are, and which tables are of one source."""
        of: dict[int, list[str]] = {}
        for board, source in zip(self.tables, self.sources, strict=True):
            of.setdefault(source, []).append(board.table)
        told = f"{counted(len(self.tables), 'table')} over {counted(len(of), 'data source')}"
        if shared := [", ".join(tables) for tables in of.values() if len(tables) > 1]:
            told += f". Of one source are: {'; '.join(shared)}"
        return f"{told}."


def matrices(boards: Sequence[Leaderboard]) -> list[Matrix]:
    """Return the matrix of the tables that rank by MAP@R, and of those that classify by accuracy.

    One is left out where no row is shared.
    """
    found = []
    for metric in _METRICS:
        one = _of_metric([board for board in boards if main_metric(board) == metric], metric)
        found += [one] if one.lines else []
    return found


def matrix(boards: Sequence[Leaderboard]) -> list[str]:
    """Return the lines of `matrices`, as Markdown.

    A cell is the difference to the table's best Softmax row, with its interval and mark. Below a
    matrix stands whether the order of its rows carries over.
    """
    lines: list[str] = []
    for one in matrices(boards):
        lines += [*([""] if lines else []), *_markdown(one)]
    return lines


def half_width(verdict: Verdict, kind: str) -> float | None:
    """Return half of the interval that is shown in a column of a kind."""
    answer = verdict.domain if kind == _NEW else verdict.classes
    return None if answer is None else answer.half_width


def _of_metric(boards: Sequence[Leaderboard], metric: str) -> Matrix:
    found = {board.table: _differences(board, metric) for board in boards}
    names = list(dict.fromkeys(name for of_table in found.values() for name in of_table))
    shared = [name for name in names if sum(name in of_table for of_table in found.values()) > 1]
    tables = [board for board in boards if any(name in found[board.table] for name in shared)]
    sources = data_sources(tables)
    labels: dict[str, Counter[str]] = {}
    known = [dict(row.across for row in board.rows if row.across) for board in tables]
    for name, label in (one for of_table in known for one in of_table.items()):
        labels.setdefault(name, Counter())[label] += 1
    lines = []
    for name in shared:
        verdicts = [found[board.table].get(name) for board in tables]
        compared = [place for place, one in enumerate(verdicts) if one is not None]
        means = np.array([one.mean for one in verdicts if one is not None])
        over = across_sources(means, [sources[place] for place in compared])
        label, _ = labels[name].most_common(1)[0]
        is_run = [name in rows for rows in known]
        lines.append(MatrixLine(label, verdicts, is_run, over))
    kinds = [_kind(found[board.table], shared) for board in tables]
    return Matrix(metric, tables, sources, kinds, lines)


def _markdown(found: Matrix) -> list[str]:
    links = [f"[{escape_markdown(board.table)}]({board.table}.md)" for board in found.tables]
    lines = [
        table_line(["Row", *links, "Mean over data sources", "Above in, of sources"]),
        table_line(["---", *["---:"] * len(links), "---:", "---:"]),
        table_line(["*± for new seeds and*", *found.kinds, "", ""]),
    ]
    for line in found.lines:
        cells = [
            ("–" if is_run else "not run") if one is None else _cell(one, kind)
            for one, is_run, kind in zip(line.verdicts, line.is_run, found.kinds, strict=True)
        ]
        lines.append(table_line([escape_markdown(line.label), *cells, line.mean, line.signs]))
    return [
        f"## {found.title}",
        "",
        *lines,
        "",
        f"{escape_markdown(found.over)} {MATRIX_NOTE}",
        "",
        *carry_over(found.tables, found.metric),
    ]


def _differences(board: Leaderboard, metric: str) -> dict[str, Verdict]:
    return {
        row.across[0]: verdict
        for row in board.rows
        if row.across
        and (verdict := board.verdict(row, board.best_softmax(row, metric), metric)) is not None
    }


def _kind(found: Mapping[str, Verdict], shared: Sequence[str]) -> str:
    """Return what a column's intervals are for: new classes if all of its rows know of them."""
    shown = [found[name] for name in shared if name in found]
    return _NEW if all(verdict.domain for verdict in shown) else "these classes"


def _cell(verdict: Verdict, kind: str) -> str:
    half = half_width(verdict, kind)
    reach = "" if half is None else f" ± {100 * half:.1f}"
    return f"{100 * verdict.mean:+z.1f}{reach} {verdict.mark}".rstrip()
