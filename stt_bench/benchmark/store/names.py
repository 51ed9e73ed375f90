"""Names that become paths: of tables, rows and seeds, wherever they are read."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from stt_bench.benchmark.system.text import NAME_RULE, is_name, is_table_name, one_line


def _table(name: str) -> str:
    if not is_table_name(name):
        raise ValueError(f"{one_line(name, 40)!r} is no name of a table: {NAME_RULE}")
    return name


def _row(name: str) -> str:
    if not is_name(name):
        raise ValueError(f"{one_line(name, 40)!r} is no name of a row: {NAME_RULE}")
    return name


TableName = Annotated[str, AfterValidator(_table)]
RowName = Annotated[str, AfterValidator(_row)]
Seed = Annotated[int, Field(ge=0, strict=True)]
