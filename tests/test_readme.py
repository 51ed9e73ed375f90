"""README: its numbers are those of the results, its config is valid, its commands exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer.main

from stt_bench.benchmark.cli.main import app
from stt_bench.benchmark.suite import load_table

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = "\n".join(re.findall(r"```\n(.*?)```", README, flags=re.DOTALL))
COMMANDS = re.findall(r"^stt-bench .*?(?=\s+#|$)", BLOCKS, flags=re.MULTILINE)


def test_the_leaderboard_is_the_generated_one() -> None:
    board = README[: README.index("## What it costs")]
    rows = [line for line in board.splitlines() if line.startswith("| ")]
    assert len(rows) > 5
    generated = (ROOT / "results" / "cub50_retrieval.md").read_text(encoding="utf-8").splitlines()
    assert [row for row in rows if row not in generated] == []


def test_the_pictures_and_pages_exist() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_example_config_is_valid(tmp_path: Path) -> None:
    text = re.search(r"```yaml\n(.*?)```", README, flags=re.DOTALL)
    assert text is not None
    (tmp_path / "birds.yaml").write_text(text[1], encoding="utf-8")
    table = load_table(str(tmp_path / "birds.yaml"))
    assert list(table.rows) == ["softmax", "hard", "two_head"]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_parse(command: str) -> None:
    name, *rest = shlex.split(command)[1:]
    group = typer.main.get_command(app)
    group.commands[name].make_context(name, rest)  # type: ignore[attr-defined]


def test_the_example_commands_were_found() -> None:
    assert len(COMMANDS) >= 5


def test_the_example_loop_runs() -> None:
    code = re.search(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert code is not None
    import torch

    names = {"embeddings": torch.randn(8, 4), "labels": torch.arange(8) // 2}
    exec(code[1], names)
    assert names["value"].ndim == 0
