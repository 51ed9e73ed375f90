"""The command line: each command is a few lines that call one typed function.

Everything heavy is imported inside the commands, so that ``--help`` answers at once.
"""

from __future__ import annotations

import enum
import importlib.util
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from benchmark.cli_options import STOPPED, QuietOption, ResultsOption, RunArgument, SplitOption
from benchmark.cli_tools import TOOLS
from benchmark.data_commands import data
from benchmark.errors import BenchError, TrainingStopped

if TYPE_CHECKING:
    from benchmark.leaderboard import Leaderboard

FAILED, BAD_INPUT = 1, 2

app = typer.Typer(
    name="stt-bench",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 an experiment failed, 2 wrong input, 130 stopped by the user.",
)

app.add_typer(data, name="data")

ConfigArgument = Annotated[
    str, typer.Argument(help="A table: a YAML file, or the name of one in `configs/`.")
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
ForceOption = Annotated[bool, typer.Option("--force", help="Do again what is already done.")]


class Listing(enum.StrEnum):
    """What `stt-bench list` can list."""

    LOSSES = "losses"
    DATASETS = "datasets"
    BACKBONES = "backbones"
    TABLES = "tables"


@app.callback()
def common(
    plugin: Annotated[
        list[Path] | None,
        typer.Option(help="A Python file that registers losses or datasets of your own."),
    ] = None,
) -> None:
    """Which loss is really better on my images, by how much, and can I believe the number?

    stt-bench trains an embedding under each loss of a table, writes the embeddings to disk,
    measures retrieval, clustering and classification, and writes a leaderboard.

    Start with `stt-bench run digits_retrieval` (a minute on two CPU cores), then look at
    `results/digits_retrieval.md`.
    """
    for number, file in enumerate(plugin or ()):
        _import_plugin(file, number)


@app.command()
def run(
    configs: Annotated[
        list[str], typer.Argument(help="Tables: YAML files, or names in `configs/`.")
    ],
    rows: Annotated[
        str | None, typer.Option(help="Only these rows, separated by commas.", metavar="ROW,ROW")
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(help="These seeds instead of the table's.", metavar="N,N")
    ] = None,
    overrides: SetOption = None,
    runs: RunsOption = Path("runs"),
    results: ResultsOption = Path("results"),
    force: ForceOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train, embed and evaluate all rows of a table; then write its leaderboard.

    Skips experiments that have a record, continues one that was stopped.

    - `stt-bench run digits_retrieval`
    - `stt-bench run configs/cub50_retrieval.yaml --rows softmax,hard --seeds 0,1,2`
    - `stt-bench run digits_retrieval --set optimizer.lr=0.0003 --results my-results --runs my-runs`
    """
    from benchmark.progress import Reporter
    from benchmark.report import report
    from benchmark.suite import run_table
    from benchmark.tables import load_table

    reporter = Reporter(quiet=quiet)
    tables = [load_table(config, overrides or (), only=_split(rows)) for config in configs]
    for table in tables:
        table.select(_split(rows))
    failed, finished = 0, []
    for table in tables:
        outcome = run_table(
            table,
            rows=_split(rows),
            seeds=_seeds(seeds),
            runs=runs,
            results=results,
            force=force,
            reporter=reporter,
        )
        failed += len(outcome.failed)
        if outcome.done or outcome.skipped:
            finished.append(table.name)
        if outcome.skipped:
            reporter.say(
                f"{len(outcome.skipped)} of {table.name} already had a record in {results}; "
                "--force runs them again"
            )
    if finished:
        _show(report(results, finished), results, quiet)
    if failed:
        reporter.warn(
            f"{failed} experiment(s) failed, see above; the same command tries them again"
        )
        raise typer.Exit(FAILED)


@app.command()
def train(
    config: ConfigArgument,
    row: Annotated[str, typer.Option(help="The row of the table.")],
    seed: Annotated[int, typer.Option(help="The seed.", min=0)] = 0,
    overrides: SetOption = None,
    runs: RunsOption = Path("runs"),
    force: ForceOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train one row of a table with one seed; continue it if it was stopped.

    - `stt-bench train digits_retrieval --row hard_triplet --seed 0`
    - `stt-bench train my.yaml --row softmax --set train.steps=500 --set train.device=cuda`
    """
    from benchmark import train as training
    from benchmark.progress import Reporter
    from benchmark.runs import run_of
    from benchmark.tables import load_table

    table = load_table(config, overrides or (), only=[row])
    table.select([row])
    one = run_of(table, row, seed, runs)
    if force:
        one.discard()
    training.train(one, Reporter(quiet=quiet))
    print(one.folder)


@app.command()
def embed(
    run: RunArgument,
    split: SplitOption = "test",
    images: Annotated[
        Path | None,
        typer.Option(help="Other images: a folder (all below it, no labels) or a csv list."),
    ] = None,
    to: Annotated[Path | None, typer.Option(help="Folder of their embeddings.")] = None,
    force: ForceOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write the embeddings of a trained run to disk; or those of any images under its network.

    - `stt-bench embed runs/digits_retrieval/hard_triplet/seed-0`
    - `stt-bench embed runs/digits_retrieval/hard_triplet/seed-0 --images photos --to my-embeddings`
    """
    from benchmark import embed as embedding
    from benchmark.embed_images import embed_images
    from benchmark.progress import Reporter
    from benchmark.runs import open_run

    reporter = Reporter(quiet=quiet)
    if (images is None) != (to is None) or (images is not None and split != "test"):
        raise BenchError("give --images and --to together, without --split, or none of the two")
    if images is not None and to is not None:
        print(embed_images(open_run(run), reporter, images=images, folder=to, force=force))
    else:
        print(embedding.embed(open_run(run), reporter, split=split, force=force))


@app.command()
def export(
    source: Annotated[Path, typer.Argument(help="A run's folder, or an embedding set's.")],
    to: Annotated[Path, typer.Option(help="The HDF5 file; the csv is written beside it.")],
    split: SplitOption = "test",
    force: ForceOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write embeddings as HDF5 (`emb`, N × D), and a csv `class,path` in the same order.

    - `stt-bench export runs/digits_retrieval/hard_triplet/seed-0 --to digits.h5`
    """
    from benchmark.hdf5 import export_hdf5
    from benchmark.progress import Reporter

    export_hdf5(source, to, Reporter(quiet=quiet), split=split, force=force)
    print(to)


@app.command("eval")
def evaluate(
    run: Annotated[Path | None, typer.Argument(help="A run's folder.")] = None,
    embeddings: Annotated[
        Path | None,
        typer.Option(help="Anybody's embeddings, (N, D): a `.npy` file, or `emb` of an `.h5`."),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="Their labels: a csv with `label` (and `id`, `role`), one column, or `class,path`."
        ),
    ] = None,
    ks: Annotated[str, typer.Option(help="K of Recall@K, with --embeddings.")] = "1,2,4,8",
    distance: Annotated[
        Literal["euclidean", "cosine"], typer.Option(help="With --embeddings.")
    ] = "euclidean",
    clustering: Annotated[
        bool, typer.Option(help="k-means, NMI and AMI, with --embeddings.")
    ] = True,
    results: ResultsOption = Path("results"),
    quiet: QuietOption = False,
) -> None:
    """Measure a run's embeddings and write its record; or score anybody's embeddings.

    - `stt-bench eval runs/digits_retrieval/hard_triplet/seed-0`
    - `stt-bench eval --embeddings X.npy --labels Y.csv`
    - `stt-bench eval --embeddings X.h5 --labels test.csv`
    """
    from benchmark import evaluate as evaluation
    from benchmark.config import EvaluationConfig
    from benchmark.progress import Reporter
    from benchmark.runs import open_run

    if (run is None) == (embeddings is None) or (embeddings is None) != (labels is None):
        raise BenchError("give either a run's folder, or --embeddings X.npy with --labels Y.csv")
    if run is not None:
        metrics = evaluation.evaluate(open_run(run), results, Reporter(quiet=quiet)).metrics
    else:
        assert embeddings is not None
        assert labels is not None
        wanted = _integers("--ks", ks)
        if not wanted or min(wanted) < 1:
            raise BenchError(f"--ks '{ks}': write integers from 1, such as 1,10,100")
        config = EvaluationConfig(ks=wanted, distance=distance, clustering=clustering)
        foreign = evaluation.read_foreign_set(embeddings, labels)
        metrics = evaluation.measure(foreign, config, where=str(embeddings))
    print(json.dumps(metrics, indent=2))


@app.command()
def report(
    tables: Annotated[
        list[str] | None, typer.Argument(help="Names of tables; all that have records if none.")
    ] = None,
    results: ResultsOption = Path("results"),
    quiet: QuietOption = False,
) -> None:
    """Write the leaderboards again from the records alone.

    - `stt-bench report`
    """
    from benchmark import report as reporting

    _show(reporting.report(results, tables), results, quiet)


@app.command("list")
def list_names(
    what: Annotated[Listing, typer.Argument(help="What to list.")],
    pattern: Annotated[
        str | None, typer.Argument(help="Only names with this in them, such as `resnet`.")
    ] = None,
) -> None:
    """List the losses, datasets, backbones or tables that a config can name.

    - `stt-bench list losses`
    - `stt-bench list backbones efficientnet`
    """
    from benchmark.listing import names

    for name, about in names(what.value):
        if pattern is None or pattern in name:
            print(f"{name:<28} {about}".rstrip())


for name, command in TOOLS.items():
    app.command(name)(command)


def main() -> None:
    """Run the command line; a mistake in the input ends in one sentence, not in a traceback."""
    try:
        app()
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(BAD_INPUT)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {where}{error.strerror or error}", file=sys.stderr)
        sys.exit(BAD_INPUT)
    except TrainingStopped as stop:
        print(f"{stop}; the same command, without --force, continues", file=sys.stderr)
        sys.exit(STOPPED)


def _show(boards: list[Leaderboard], results: Path, quiet: bool) -> None:
    from benchmark.listing import print_leaderboard

    for board in boards:
        if not quiet:
            print_leaderboard(board)
        print(results / f"{board.table}.md")


def _split(text: str | None) -> list[str] | None:
    return [part.strip() for part in text.split(",") if part.strip()] if text else None


def _integers(option: str, text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise BenchError(f"{option} '{text}': write integers with commas, such as 0,1,2") from None


def _seeds(text: str | None) -> list[int] | None:
    if text is None:
        return None
    seeds = _integers("--seeds", text)
    if not seeds or min(seeds) < 0:
        raise BenchError(f"--seeds '{text}': write integers from 0, such as 0,1,2")
    return seeds


def _import_plugin(file: Path, number: int) -> None:
    spec = importlib.util.spec_from_file_location(f"stt_bench_plugin_{number}", file)
    if spec is None or spec.loader is None or not file.exists():
        raise BenchError(f"--plugin {file}: is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever the user's file raises
        raise BenchError(f"--plugin {file}: {type(error).__name__}: {error}") from None


if __name__ == "__main__":
    main()
