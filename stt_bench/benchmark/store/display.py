"""How a leaderboard shows a row; nothing here changes a result."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

from stt_bench.benchmark.config.table import Table
from stt_bench.benchmark.config.table_sections import FigureConfig, Varied


class Display(BaseModel):
    """Label and place of a row, and the title, description and figure of its table."""

    model_config = ConfigDict(frozen=True)

    label: str
    title: str
    description: str
    order: int
    command: str = ""
    figure: FigureConfig | None = None
    seeds: list[int] | None = None  # that the table names; older records do not tell
    compare_by: str | None = None
    varied: Varied | None = None

    @model_serializer(mode="wrap")
    def _without_what_is_not_said(self, written: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = written(self)
        for field in ("compare_by", "varied"):  # as records of before these fields
            if content[field] is None:
                del content[field]
        return content


def display_of(table: Table, row: str) -> Display:
    """Return how a leaderboard shows a row of a table."""
    return Display(
        label=table.rows[row].label or row,
        title=table.title,
        description=table.description,
        order=list(table.rows).index(row),
        command=table.command,
        figure=table.figure,
        seeds=sorted(table.seeds),
        compare_by=table.compare_by,
        varied=table.varied.get(row),
    )
