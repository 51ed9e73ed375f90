"""Help texts: their examples parse, and all that they name exists."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from command_line import ROOT, Done

from stt_bench.benchmark.cli.main import app
from stt_bench.benchmark.cli.options import integers
from stt_bench.benchmark.config.table_files import SHIPPED_FOLDER
from stt_bench.benchmark.datasets.catalog import find_dataset
from stt_bench.benchmark.models import check_backbone
from stt_bench.benchmark.suite import load_table
from stt_bench.losses import loss_names

GROUP: Any = typer.main.get_command(app)


def commands(group: Any, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, group
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, *path, name)


COMMANDS = dict(commands(GROUP))
EXAMPLES = sorted(
    {
        example
        for command in COMMANDS.values()
        for example in re.findall(r"`(stt-bench [^`|]+?)(?: \|[^`]*)?`", command.help or "")
    }
)


def test_every_command_has_an_example() -> None:
    without = {(), ("data",)}
    for path in COMMANDS.keys() - without:
        start = " ".join(["stt-bench", *path])
        assert any(example.startswith(start) for example in EXAMPLES), start
    assert len(EXAMPLES) > 20


def parsed(example: str) -> tuple[str, dict[str, Any]]:
    """Return the command and its values; a usage error where the example is wrong."""
    words = shlex.split(example)[1:]
    command = GROUP
    path: list[str] = []
    while hasattr(command, "commands"):
        path.append(words.pop(0))
        command = command.commands[path[-1]]
    return " ".join(path), dict(command.make_context(path[-1], words).params)


@pytest.mark.parametrize("example", EXAMPLES)
def test_all_that_an_example_names_exists(example: str) -> None:
    command, values = parsed(example)
    tables = [*values.get("configs", ()), *filter(None, [values.get("config")])]
    rows = [row for row in [values.get("row"), *(values.get("rows") or "").split(",")] if row]
    for table in tables:
        if table == "my.yaml":
            table = "digits_retrieval"
        load_table(table, values.get("overrides") or (), only=rows).select(rows)
        assert not table.endswith(".yaml")  # found from any folder
    if values.get("seeds"):
        integers("--seeds", values["seeds"])
    folder = next((values[key] for key in ("run", "source") if values.get(key)), None)
    if folder is not None:
        runs, name, row, seed = Path(folder).parts
        assert (runs, seed[:5]) == ("runs", "seed-")
        table = load_table(str(SHIPPED_FOLDER / f"{name}.yaml"))
        assert int(seed[5:]) in table.seeds
        table.select([row])
    if command == "timing":
        assert set(values["losses"].replace(" ", "").split(",")) <= set(loss_names())
        for backbone in values["backbones"].replace(" ", "").split(","):
            check_backbone(backbone)
    if command.startswith("data") and "name" in values:
        find_dataset(values["name"])


@pytest.mark.parametrize("example", [e for e in EXAMPLES if e.startswith("stt-bench list")])
def test_the_examples_of_list_run(stt_bench: Callable[..., Done], example: str) -> None:
    done = stt_bench(*shlex.split(example)[1:])
    assert (done.returncode, bool(done.stdout)) == (0, True)


@pytest.mark.parametrize("path", [path for path in COMMANDS if path], ids=" ".join)
def test_the_help_cuts_nothing_at_80_columns(
    stt_bench: Callable[..., Done], monkeypatch: pytest.MonkeyPatch, path: tuple[str, ...]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    said = stt_bench(*path, "--help").stdout
    assert "Usage: stt-bench" in said
    assert max(map(len, said.splitlines())) <= 80
    assert "…" not in said.replace("WHAT=NAME,…", "")


@pytest.mark.parametrize(
    ("what", "unneeded"),
    [
        ("losses", {"pandas", "scipy", "sklearn", "matplotlib", "timm", "torchvision", "faiss"}),
        ("tables", {"pandas", "scipy", "sklearn", "matplotlib", "timm", "torch", "numpy"}),
    ],
)
def test_a_list_imports_what_it_needs(what: str, unneeded: set[str]) -> None:
    code = (
        f"import sys; sys.argv = ['stt-bench', 'list', '{what}']\n"
        "from stt_bench.benchmark.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"sys.exit(str({unneeded} & set(sys.modules)) if {unneeded} & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
