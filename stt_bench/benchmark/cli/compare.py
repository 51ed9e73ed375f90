"""The command that compares losses on somebody's data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer

from stt_bench.benchmark.cli.options import (
    ArrayOption,
    BoxesOption,
    ClassesOption,
    ColumnsOption,
    ImagesRootOption,
    QuietOption,
    columns_in,
    folder_option,
    names_in,
)
from stt_bench.benchmark.system.errors import BenchError

SHORTEST = 0.1


def compare(
    data: Annotated[
        Path,
        typer.Argument(
            help="A folder of class folders, a csv of path and label, or a file of vectors "
            "(`.npy`, `.h5`, `.parquet`)."
        ),
    ],
    minutes: Annotated[float, typer.Option(help="How long it may take.")] = 30,
    rows: Annotated[
        str | None,
        typer.Option(metavar="ROW,ROW", help="Other losses: rows of `frozen_cub50_lite0`."),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="The csv of a file of vectors; else the one beside it.")
    ] = None,
    array: ArrayOption = None,
    columns: ColumnsOption = None,
    images_root: ImagesRootOption = None,
    classes: ClassesOption = None,
    boxes: BoxesOption = None,
    split: Annotated[
        Literal["auto", "own", "made"],
        typer.Option(help="`own`: the split of the data; `made`: a new one; `auto`: own, if fit."),
    ] = "auto",
    backbone: Annotated[
        str | None, typer.Option(help="See `stt-bench list backbones`; else EfficientNet-Lite0.")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(help="Its weights: `pretrained`, a file, or `none`: a random start."),
    ] = None,
    size: Annotated[
        int | None, typer.Option(min=16, max=1024, help="Side of the images, pixels.")
    ] = None,
    train: Annotated[
        Literal["auto", "head", "all"],
        typer.Option(help="`head`: on frozen features; `all`: the network; `auto`: all on a GPU."),
    ] = "auto",
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of the split.")] = 0,
    out: Annotated[
        Path | None, folder_option("--out", help="Folder of all that is made; else `compare-NAME`.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what was found, and the plan with its time.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Begin anew: what the folder holds is removed.")
    ] = False,
    quiet: QuietOption = False,
) -> None:
    """Which loss is best on my data? Looks at them, plans, tunes, trains, and answers.

    All rows are tuned alike, on classes of the training part alone. What it ran is a table in the
    folder, which `run` takes. The same command continues one that was stopped.

    - `stt-bench compare photos`
    - `stt-bench compare photos.csv --minutes 10 --dry-run`
    - `stt-bench compare photos.csv --columns path=photo,label=kind`
    - `stt-bench compare X.npy --labels items.csv --rows margin,arcface`
    """
    from stt_bench.benchmark.cli.reports import show_leaderboards
    from stt_bench.benchmark.compare import compare as comparing
    from stt_bench.benchmark.compare.folder import Folder, default_folder
    from stt_bench.benchmark.compare.plan import Request
    from stt_bench.benchmark.compare.setting import weights_place
    from stt_bench.benchmark.compare.shares import LONGEST
    from stt_bench.benchmark.system.folders import check_writable
    from stt_bench.benchmark.system.progress import Reporter
    from stt_bench.benchmark.system.text import one_line

    if not SHORTEST <= minutes <= LONGEST:
        raise BenchError(f"--minutes {minutes:g}: give {SHORTEST:g} to {LONGEST:,}")
    request = Request(
        data=str(data.expanduser().resolve()),
        labels=None if labels is None else str(labels.expanduser().resolve()),
        array=array,
        columns=columns_in(columns),
        images_root=None if images_root is None else str(images_root.expanduser().resolve()),
        classes=classes,
        boxes=boxes,
        minutes=minutes,
        rows=None if rows is None else tuple(names_in("--rows", rows)),
        backbone=backbone,
        weights=weights_place(weights),
        size=size,
        trains=train,
        split=split,
        seed=seed,
    )
    folder, reporter = Folder(out or default_folder(data)), Reporter(quiet=quiet)
    check_writable(folder.path, "--out", tries=not dry_run)
    if dry_run:
        state, begun = comparing.plan_of(request, folder, reporter)
        for line in state.plan.lines():
            print(one_line(line))
        if begun:
            print(f"{folder.path}: begun; {state.spent / 60:.1f} min are spent")
        return
    board = comparing.compare(request, folder, reporter, force=force)
    show_leaderboards([board], folder.results, quiet)
    print(folder.results / f"{folder.name}.html")
    print(f"to change or grow it: {folder.table_file}, then `{folder.command}`")


COMPARE: dict[str, Callable[..., None]] = {"compare": compare}
