"""README and docs: numbers are those of the results; configs, commands and code work."""

from __future__ import annotations

import re
import shlex
from itertools import takewhile
from pathlib import Path

import pytest
import typer.main

from stt_bench.benchmark.cli.main import app
from stt_bench.benchmark.suite import load_table

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
README = PAGES[0].read_text(encoding="utf-8")


def blocks(language: str) -> list[tuple[str, str]]:
    """Return (page, text) of all code blocks of a language."""
    return [
        (page.name, text)
        for page in PAGES
        for text in re.findall(rf"```{language}\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    ]


COMMANDS = sorted(
    {
        command
        for _, text in blocks("")
        for command in re.findall(r"^stt-bench .*?(?=\s+#|$)", text, flags=re.MULTILINE)
    }
)


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def table(text: str) -> dict[str, dict[str, str]]:
    """Return the first table of a page that has a column Row: cells by row and column."""
    lines = text.splitlines()
    start = next(n for n, line in enumerate(lines) if cells(line)[0] == "Row")
    header = cells(lines[start])
    of_table = takewhile(lambda line: line.startswith("|"), lines[start + 2 :])
    rows = [dict(zip(header, cells(line), strict=False)) for line in of_table]
    return {row["Row"]: row for row in rows}


def test_the_leaderboard_is_part_of_the_generated_one() -> None:
    shown = table(README.partition("## Where to go on")[0])
    page = (ROOT / "results" / "frozen_cub50_lite0.md").read_text(encoding="utf-8")
    generated = {row: values for row, values in table(page).items() if values["MAP@R"]}
    assert (len(shown), len(next(iter(shown.values())))) == (6, 4)
    for row, values in shown.items():
        for column, value in values.items():
            assert generated[row][column] == value, (row, column)
    assert f"[{len(generated)} rows]" in README
    (equal, trained) = re.findall(r"(\d+) of (\d+) ranked rows", page)[0]
    assert f"of the {trained} rows that train, {equal} may be the best" in README
    untrained = generated["Untrained†"]["R@1"]  # whose Recall@1 "all of them lose"
    assert untrained == max(row["R@1"].strip("*") for row in generated.values())


def test_the_leaderboard_has_the_untrained_and_the_worst_row() -> None:
    shown = table(README.partition("## Where to go on")[0])
    page = (ROOT / "results" / "frozen_cub50_lite0.md").read_text(encoding="utf-8")
    generated = {row: values for row, values in table(page).items() if values["MAP@R"]}
    assert "Untrained†" in shown

    def score(row: str) -> float:
        return float(generated[row]["R@1"].strip("*").split()[0])

    assert min(generated, key=score) in shown
    assert max(generated, key=score) in shown


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_pictures_and_pages_exist(page: Path) -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize(("page", "text"), blocks("yaml"))
def test_the_example_configs_are_valid(page: str, text: str, tmp_path: Path) -> None:
    """An example without `rows:` is what the rows of a table share, or a part of it."""
    given = re.findall(r"^(\w+):", text, flags=re.MULTILINE)
    if "rows" not in given:
        parts = {"data": "{name: digits}", "loss": "softmax", "rows": "{example: {}}"}
        text += "".join(f"{key}: {value}\n" for key, value in parts.items() if key not in given)
    (tmp_path / "example.yaml").write_text(text, encoding="utf-8")
    assert load_table(str(tmp_path / "example.yaml")).rows


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_parse(command: str) -> None:
    words = shlex.split(command)[1:]
    found = typer.main.get_command(app)
    while hasattr(found, "commands"):
        name = words.pop(0)
        found = found.commands[name]
    found.make_context(name, words)


def test_the_shipped_tables_that_commands_name_exist() -> None:
    named = {m[1] for c in COMMANDS if (m := re.match(r"stt-bench (?:run|train) (\S+)", c))}
    shipped = {name for name in named if not name.endswith(".yaml") and name.islower()}
    assert shipped
    for name in shipped:
        load_table(name)


def test_the_example_commands_were_found() -> None:
    assert len(COMMANDS) >= 15


@pytest.mark.parametrize(("page", "code"), blocks("python"))
def test_the_example_code_runs(page: str, code: str) -> None:
    exec(code, {"__name__": f"example of {page}"})
