"""Where each number of a page comes from: protocol, commands, and the record of every seed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from stt_bench.benchmark.leaderboards.board import Leaderboard
from stt_bench.benchmark.leaderboards.rows import Row
from stt_bench.benchmark.leaderboards.wording import (
    batch_text,
    loss_text,
    metric_name,
    protocol_name,
    protocol_value,
)
from stt_bench.benchmark.pages.section import rendered
from stt_bench.benchmark.store.records import Record

NOT_KNOWN = "not known"


@dataclass(frozen=True)
class RowSource:
    """A row's records, seed by seed, with what is the same in all of them said once."""

    row: Row
    records: list[Record]
    loss: str
    batch: str
    differs: list[tuple[str, str]]  # fields of another protocol, with this row's value
    settings: str  # as JSON, of the first seed
    points: list[str]  # of a tuned row: what each seed trained with
    commits: list[str]
    made: list[str]  # on which machines, with which versions

    @property
    def commit(self) -> str | None:
        """Return the commit of all seeds; None where they have several."""
        return self.commits[0] if len(self.commits) == 1 else None

    @property
    def short_commits(self) -> str:
        """Return the first digits of the commits."""
        return " ".join(one if one == NOT_KNOWN else one[:8] for one in self.commits)


def provenance(board: Leaderboard) -> Markup:
    """Return protocol, commands and the sources of every row, with all metrics of every seed."""
    return rendered(
        "provenance.html",
        board=board,
        protocol=_protocol(board),
        commands=_commands(board),
        rows=row_sources(board),
        metrics=[(metric, metric_name(metric)) for metric in board.metrics],
    )


def short_provenance(board: Leaderboard, *, checksums: bool = True) -> Markup:
    """Return protocol and commands, and in one list commit and checksums of every row's records."""
    rows = row_sources(board)
    commits = {row.commit for row in rows}
    return rendered(
        "short_provenance.html",
        board=board,
        protocol=_protocol(board),
        commands=_commands(board),
        rows=rows if checksums else [],
        commit=commits.pop() if len(commits) == 1 else None,
    )


def row_sources(board: Leaderboard) -> list[RowSource]:
    """Return the sources of a leaderboard's rows."""
    main = next(row for row in board.rows if row.fingerprint == board.main_protocol)
    found = []
    for row in board.rows:
        records = sorted((r for r in board.sources if r.row == row.name), key=lambda r: r.seed)
        differs = [
            (protocol_name(name), protocol_value(value))
            for name, value in row.protocol.items()
            if value != main.protocol.get(name)
        ]
        found.append(
            RowSource(
                row=row,
                records=records,
                loss=loss_text(row),
                batch=batch_text(row),
                differs=differs,
                settings=_json(records[0].experiment.model_dump(mode="json")),
                points=[_point(record) for record in records],
                commits=sorted({record.commit or NOT_KNOWN for record in records}),
                made=sorted({_made(record) for record in records}),
            )
        )
    return found


def _protocol(board: Leaderboard) -> list[tuple[str, str]]:
    main = next(row for row in board.rows if row.fingerprint == board.main_protocol)
    fields = [(protocol_name(name), str(value)) for name, value in main.protocol.items()]
    return [("fingerprint", board.main_protocol), *fields]


def _commands(board: Leaderboard) -> list[str]:
    """Return the commands that made the records, check them, and make this page."""
    made = dict.fromkeys(r.display.command for r in board.records if r.display.command)
    return [
        *(made or [f"stt-bench run configs/{board.table}.yaml"]),
        f"stt-bench verify {board.table}",
        f"stt-bench report {board.table} --html",
    ]


def _point(record: Record) -> str:
    found = record.tuning
    if found is None:
        return ""
    values = {**found.point, "train.steps": found.steps}
    return f"search {found.study}: " + ", ".join(
        f"{name} {value}" for name, value in values.items()
    )


def _made(record: Record) -> str:
    versions = ", ".join(f"{name} {value}" for name, value in sorted(record.versions.items()))
    return f"{record.training.device}, {record.training.threads} thread(s); {versions}"


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False)
