"""Arguments, options and exit codes that several commands share."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.folders import check_folder

FAILED, BAD_INPUT, STOPPED = 1, 2, 130


def _folder(param: typer.CallbackParam, value: Path | None) -> Path | None:
    if value is not None:
        check_folder(value, param.opts[0])
    return value


def folder_option(*names: str, help: str) -> Any:
    """Return an option that gives a folder; a file in its place is told before all else."""

    def path(text: str | Path) -> Path:
        if not str(text).strip():
            raise BenchError(f"{names[0]} is empty: name a folder; the current one is '.'")
        return Path(text)

    return typer.Option(*names, help=help, callback=_folder, parser=path, metavar="FOLDER")


RunArgument = Annotated[Path, typer.Argument(help="A run's folder: `runs/TABLE/ROW/seed-N`.")]
ResultsOption = Annotated[
    Path, folder_option("--results", help="Folder of the records and leaderboards.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print warnings and errors only.")]
SplitOption = Annotated[Literal["test", "validation", "train"], typer.Option(help="Which items.")]
ConfigArgument = Annotated[
    str, typer.Argument(help="A table: a YAML file, or a name of `stt-bench list tables`.")
]
RunsOption = Annotated[Path, folder_option("--runs", help="Folder of the runs.")]
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

GpusOption = Annotated[
    int,
    typer.Option(
        min=1,
        max=1024,
        help="GPUs of this machine that share each batch of a training, by torchrun.",
        metavar="N",
    ),
]
JobsOption = Annotated[
    int,
    typer.Option(
        "--jobs",
        "-j",
        min=1,
        max=1024,
        help="Do so many at once, in processes that share the CPU threads and GPUs.",
    ),
]
OnOption = Annotated[
    Literal["ray"] | None,
    typer.Option(
        "--on", help="`ray`: on the Ray cluster that this machine is part of, else on it alone."
    ),
]
GpusPerRunOption = Annotated[
    float | None,
    typer.Option(
        min=0.0, help="With `--on ray`: GPUs of each, such as 0.5; 1 where there are GPUs."
    ),
]
CpusPerRunOption = Annotated[
    float | None, typer.Option(min=0.1, help="With `--on ray`: CPUs of each; 1 by default.")
]
ShardOption = Annotated[
    str, typer.Option(metavar="I/N", help="Only every N-th of them, from the I-th on.")
]

ColumnsOption = Annotated[
    str | None,
    typer.Option(
        metavar="WHAT=NAME,…",
        help="What the columns of the list are, where their names do not say it: "
        "`label=kind`, or several with commas; by number from 1 where there is no header.",
    ),
]

ArrayOption = Annotated[
    str | None, typer.Option(help="Of `.h5` the dataset, of `.parquet` the column of lists.")
]
ImagesRootOption = Annotated[
    Path | None, typer.Option(help="Where the relative paths of a list start.")
]
ClassesOption = Annotated[
    Literal["top", "leaf"] | None,
    typer.Option(help="Which folders are the classes, where folders lie in folders."),
]
BoxesOption = Annotated[
    Literal["whole"] | None,
    typer.Option(help="Take the images of a list with boxes as they are."),
]


def columns_in(text: str | None) -> dict[str, str]:
    """Return the columns of ``--columns path=photo,label=kind`` by what they are."""
    from stt_bench.benchmark.datasets.list_columns import ByOption

    columns = ByOption()
    for part in (text or "").split(",") if text is not None else ():
        what, equals, name = part.partition("=")
        if not what.strip() or not equals or not name.strip():
            raise BenchError(f"--columns '{text}': write path=NAME,label=NAME")
        columns[what.strip()] = name.strip()
    return columns


def shard_in(text: str) -> tuple[int, int]:
    """Return the shard of ``--shard 2/8``."""
    found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise BenchError(f"--shard '{text[:40]}': write it as 2/8, the second of eight parts")
    return int(found[1]), int(found[2])


def names_in(option: str, text: str) -> list[str]:
    """Return the names of an option such as ``--rows softmax,lifted``, each once."""
    names = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not names:
        raise BenchError(f"{option} '{text}': write names with commas between them")
    return names


def seeds_in(text: str) -> list[int]:
    """Return the seeds of ``--seeds 0,1,2``, each once."""
    from stt_bench.benchmark.config.bounds import LARGEST_SEED

    seeds = list(dict.fromkeys(integers("--seeds", text)))
    if not seeds or min(seeds) < 0 or max(seeds) > LARGEST_SEED:
        raise BenchError(
            f"--seeds '{text}': write integers from 0 to {LARGEST_SEED}, such as 0,1,2"
        )
    return seeds


def integers(option: str, text: str) -> list[int]:
    """Return the integers of an option such as ``--seeds 0,1,2``."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        shown = text if len(text) <= 40 else f"{text[:40]}…"
        raise BenchError(f"{option} '{shown}': write integers with commas, such as 0,1,2") from None


def numbers(
    option: str, text: str | None, names: Mapping[str, type[int] | type[float]]
) -> dict[str, Any] | None:
    """Return the numbers of an option such as ``--rerank 20,6,0.3`` by name; the last may lack."""
    if text is None:
        return None
    parts = text.split(",")
    try:
        if len(parts) > len(names):
            raise ValueError
        return {name: kind(part) for (name, kind), part in zip(names.items(), parts, strict=False)}
    except ValueError:
        wanted = ",".join(name.upper() for name in names)
        raise BenchError(f"{option} '{text[:40]}': write the numbers {wanted}") from None
