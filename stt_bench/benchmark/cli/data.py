"""The commands `stt-bench data ...`: which datasets are here, are they whole, smaller copies."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from stt_bench.benchmark.cli.options import (
    BoxesOption,
    ClassesOption,
    ColumnsOption,
    ImagesRootOption,
    QuietOption,
    columns_in,
    folder_option,
)
from stt_bench.benchmark.system.errors import BenchError

data = typer.Typer(
    help="See which datasets are here, check their files, make copies with smaller images.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

NameArgument = Annotated[str, typer.Argument(help="A dataset: see `stt-bench data list`.")]
RootOption = Annotated[
    str | None,
    typer.Option(help="Folder of the data, or a csv list; searched for when not given."),
]
OptionOption = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="NAME=VALUE", help="A `data.options` field; may be repeated."),
]


@data.command("list")
def list_datasets() -> None:
    """Show all datasets: what is expected of each, and whether it is here and complete.

    Reads the index files that are here, no images; downloads nothing. Counts are train + test.

    - `stt-bench data list`
    - `stt-bench data list | cut -f 1,3`
    """
    from stt_bench.benchmark.cli.screen import print_survey
    from stt_bench.benchmark.datasets.survey import survey
    from stt_bench.benchmark.system.progress import Reporter

    with Reporter().bar("read index files", 1) as bar:
        entries = survey(bar.of)
    print_survey(entries, plain=not sys.stdout.isatty())


@data.command("describe")
def describe(
    place: Annotated[
        Path, typer.Argument(metavar="DATA", help="A folder of images, or a list of them.")
    ],
    columns: ColumnsOption = None,
    images_root: ImagesRootOption = None,
    classes: ClassesOption = None,
    boxes: BoxesOption = None,
    near_duplicates: Annotated[
        bool,
        typer.Option(
            "--near-duplicates",
            help="Decode all images: name those that cannot be, and those alike.",
        ),
    ] = False,
    quiet: QuietOption = False,
) -> None:
    """Print what your own images are understood as: layout, columns, classes, splits, sizes.

    What `data: {name: images, root: DATA}` and `compare` read; nothing is trained or written.

    - `stt-bench data describe photos`
    - `stt-bench data describe photos/list.csv --columns path=photo,label=kind`
    - `stt-bench data describe Market-1501 --near-duplicates`
    """
    from stt_bench.benchmark.datasets import describe as description
    from stt_bench.benchmark.system.progress import Reporter

    with Reporter(quiet=quiet).bar(f"{place}: look at images", 1) as bar:
        found = description.describe(
            place,
            images_root=images_root,
            classes=classes,
            columns=columns_in(columns),
            boxes=boxes,
            near_duplicates=near_duplicates,
            progress=bar.of,
        )
    print("\n".join(found.lines()))


@data.command("verify")
def verify(
    name: NameArgument,
    root: RootOption = None,
    option: OptionOption = None,
    quiet: QuietOption = False,
) -> None:
    """Check a dataset: its tables, and that every one of its images can be decoded.

    Names broken and missing files; the exit code is then 1. Names test images that have a
    near-duplicate in training, too.

    - `stt-bench data verify cub50`
    - `stt-bench data verify images --root photos`
    """
    from stt_bench.benchmark.datasets.verify import verify_dataset
    from stt_bench.benchmark.system.progress import Reporter

    _refuse_a_place(name, "verify images", f"describe {shlex.quote(name)} --near-duplicates")
    reporter = Reporter(quiet=quiet)
    with (
        reporter.bar(f"{name}: decode images", 1) as bar,
        reporter.bar(f"{name}: compare images", 1) as second,
    ):
        found = verify_dataset(
            name,
            root=root,
            options=_options(option),
            progress=bar.of,
            comparing=second.of,
        )
    print("\n".join(found.lines()))
    if not found.passed:
        raise typer.Exit(1)


@data.command("prepare")
def prepare(
    name: NameArgument,
    size: Annotated[int, typer.Option(help="Shorter side of the images in the copy, pixels.")],
    root: RootOption = None,
    to: Annotated[
        Path | None,
        folder_option("--to", help="Folder of the copy; `data/NAME-SIZE` when not given."),
    ] = None,
    option: OptionOption = None,
    quiet: QuietOption = False,
) -> None:
    """Write a copy of a dataset with smaller images, which decode faster.

    The copy has the layout of the original and is used through `data.root`. The same command
    continues one that was stopped.

    - `stt-bench data prepare cub50 --size 128`
    - `stt-bench data prepare images --root photos --size 256 --to photos-256`
    - `stt-bench data prepare images --root photos/list.csv --size 256`
    """
    from stt_bench.benchmark.datasets.prepared_copy import prepare_copy
    from stt_bench.benchmark.system.progress import Reporter

    _refuse_a_place(name, f"prepare images --size {size}")
    reporter, options = Reporter(quiet=quiet), _options(option)
    with reporter.bar(f"{name}: resize images", 1) as bar:
        made = prepare_copy(
            name,
            size,
            root=root,
            to=to,
            options=options,
            progress=bar.of,
        )
    reporter.say(f"{made.images:,} images, {made.were_there:,} of them from before")
    if made.left_out:
        reporter.say(f"left out: {made.left_out:,} images that no table lists, or very large files")
    for task, data_hash in made.hashes.items():
        reporter.say(f"{task}: data {data_hash[:16]}")
    more = f", options: {json.dumps(options, ensure_ascii=False)}" if options else ""
    print(f"data: {{name: {name}, root: {made.root}{more}}}")


def _refuse_a_place(name: str, command: str, other: str = "") -> None:
    """Refuse a folder or list in place of a dataset's name, and name the commands that take it."""
    from stt_bench.benchmark.datasets.catalog import dataset_names

    if name in dataset_names() or not Path(name).exists():
        return
    what = "a folder" if Path(name).is_dir() else "a file"
    told = f"`stt-bench data {command} --root {shlex.quote(name)}`"
    told += f", which splits it as a table does, or `stt-bench data {other}`" if other else ""
    raise BenchError(f"{name} is {what}, not the name of a dataset: run {told}")


def _options(texts: list[str] | None) -> dict[str, Any]:
    from stt_bench.benchmark.config.yaml_lines import parse_value

    options = {}
    for text in texts or ():
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise BenchError(f"--option {text}: write it as name=value, such as items=list.csv")
        try:
            options[key] = parse_value(value)
        except ValueError as error:
            raise BenchError(f"--option {key}: {error}") from None
    return options
