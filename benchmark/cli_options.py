"""Arguments, options and exit codes that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

STOPPED = 130

RunArgument = Annotated[Path, typer.Argument(help="A run's folder: `runs/TABLE/ROW/seed-N`.")]
ResultsOption = Annotated[
    Path, typer.Option("--results", help="Folder of the records and leaderboards.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print warnings and errors only.")]
SplitOption = Annotated[Literal["test", "validation", "train"], typer.Option(help="Which items.")]
