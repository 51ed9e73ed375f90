"""Arguments, options and exit codes that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from stt_bench.benchmark.system.errors import BenchError

STOPPED = 130

RunArgument = Annotated[Path, typer.Argument(help="A run's folder: `runs/TABLE/ROW/seed-N`.")]
ResultsOption = Annotated[
    Path, typer.Option("--results", help="Folder of the records and leaderboards.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print warnings and errors only.")]
SplitOption = Annotated[Literal["test", "validation", "train"], typer.Option(help="Which items.")]
ConfigArgument = Annotated[
    str, typer.Argument(help="A table: a YAML file, or a name of `stt-bench list tables`.")
]
RunsOption = Annotated[Path, typer.Option("--runs", help="Folder of the runs.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="FIELD=VALUE",
        help="Override a config field of the chosen rows; may be repeated.",
    ),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Re-run finished work.")]
OverwriteOption = Annotated[
    bool, typer.Option("--force", help="Overwrite files that stt-bench did not write.")
]


def integers(option: str, text: str) -> list[int]:
    """Return the integers of an option such as ``--seeds 0,1,2``."""
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise BenchError(f"{option} '{text}': write integers with commas, such as 0,1,2") from None
