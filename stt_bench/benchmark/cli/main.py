"""The command line: each command is a few lines that call one typed function.

Everything heavy is imported inside the commands, so that ``--help`` answers at once.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Annotated, Literal

import typer

import stt_bench
from stt_bench.benchmark.cli.cache import cache
from stt_bench.benchmark.cli.compare import COMPARE
from stt_bench.benchmark.cli.data import data
from stt_bench.benchmark.cli.evidence import EVIDENCE
from stt_bench.benchmark.cli.inspection import TOOLS
from stt_bench.benchmark.cli.options import BAD_INPUT, FAILED, STOPPED
from stt_bench.benchmark.cli.reports import report
from stt_bench.benchmark.cli.run import run
from stt_bench.benchmark.cli.runs import show_runs
from stt_bench.benchmark.cli.several import among_several
from stt_bench.benchmark.cli.show import show
from stt_bench.benchmark.cli.stages import STAGES
from stt_bench.benchmark.cli.tuning import tune
from stt_bench.benchmark.system.errors import BenchError, TrainingStopped
from stt_bench.benchmark.system.launch import is_first, launched, say_last
from stt_bench.benchmark.system.plugins import import_plugin
from stt_bench.benchmark.system.signals import Stopped, stop_by_signal
from stt_bench.benchmark.system.text import one_line
from stt_bench.names import did_you_mean

app = typer.Typer(
    name="stt-bench",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 something failed, 2 wrong input, 130 stopped by the user.",
)

app.add_typer(data, name="data")
app.add_typer(cache, name="cache")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"stt-bench {stt_bench.__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_version)
    ] = False,
    plugin: Annotated[
        list[Path] | None,
        typer.Option(help="A Python file that registers losses or datasets of your own."),
    ] = None,
) -> None:
    """Which loss is really better on my images, by how much, and can I believe the number?

    stt-bench trains an embedding under each loss of a table, writes the embeddings to disk,
    measures retrieval, clustering and classification, and writes a leaderboard.

    Start with `stt-bench run omniglot_mini_retrieval --results my-results` (a minute on two CPU
    cores), then look at `my-results/omniglot_mini_retrieval.md`.
    """
    for number, file in enumerate(plugin or ()):
        import_plugin(file, number)


app.command()(run)
app.command()(report)
app.command()(show)
app.command("runs")(show_runs)


@app.command("list")
def list_names(
    what: Annotated[
        Literal["losses", "datasets", "backbones", "tables"], typer.Argument(help="What to list.")
    ],
    pattern: Annotated[
        str | None, typer.Argument(help="Only names with this in them, such as `resnet`.")
    ] = None,
) -> None:
    """List the losses, datasets, backbones or tables that a config can name.

    - `stt-bench list losses`
    - `stt-bench list backbones efficientnet`
    """
    from stt_bench.benchmark.cli.choices import names

    known = dict(names(what))
    shown = [name for name in known if pattern is None or pattern in name]
    if pattern is not None and not shown:
        raise BenchError(
            f"no name among the {what} has '{pattern}' in it; {did_you_mean(pattern, known)}"
        )
    for name in shown:
        print(f"{name:<28} {known[name]}".rstrip())


@app.command()
def schema() -> None:
    """Print the JSON schema of a table's file, for an editor that completes and checks it.

    Editors with the YAML language server use it in a file whose first line is
    `# yaml-language-server: $schema=table.schema.json`.

    - `stt-bench schema`
    """
    from stt_bench.benchmark.schema import table_schema

    print(json.dumps(table_schema(), indent=1, ensure_ascii=False))


for name, command in {**COMPARE, "tune": tune, **STAGES, **EVIDENCE, **TOOLS}.items():
    app.command(name)(command)


def main() -> None:
    """Run the command line; whatever goes wrong ends in one sentence, not in a traceback.

    With ``STT_BENCH_DEBUG=1`` in the environment the traceback is printed too.
    """
    stop_by_signal()
    stopped: list[int] = []
    atexit.register(_end_at_once, stopped)  # before others are, so that it comes after theirs
    try:
        try:
            if launched():
                among_several(app)
            else:
                app()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # whoever read the output wanted no more of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
    except (Stopped, TrainingStopped) as stop:
        again = ", without --force," if "--force" in sys.argv else ""
        told = f"{stop}; the same command{again} continues"
        if isinstance(stop, Stopped):
            told = f"stopped by {stop}: what is finished is kept; the same command{again} goes on"
        if is_first():
            say_last(STOPPED, told)
        stopped.append(STOPPED)
        sys.exit(STOPPED)
    except Exception as error:
        if os.environ.get("STT_BENCH_DEBUG"):
            traceback.print_exc()
        code, sentence = _ending(error)
        say_last(code, f"error: {one_line(sentence)}")
        sys.exit(code)


def _end_at_once(stopped: list[int]) -> None:
    """Keep a stopped interpreter from looking for more than a second through all objects.

    What nanobind says then of objects that stay is not shown.
    """
    if stopped:
        gc.freeze()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _ending(error: Exception) -> tuple[int, str]:
    """Return the exit code and the sentence of an error."""
    if isinstance(error, BenchError):
        return BAD_INPUT, str(error)
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return BAD_INPUT, f"{where}{error.strerror or error}"
    told = " ".join(f"{type(error).__name__}: {error}".split())
    return FAILED, f"{told[:500]}; STT_BENCH_DEBUG=1 before the same command shows where"


if __name__ == "__main__":
    main()
