"""README and docs: numbers are those of the results; configs are valid, commands exist."""

from __future__ import annotations

import re
import tomllib
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
import typer.main

from stt_bench.benchmark.cli.main import app
from stt_bench.benchmark.suite import load_table

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
README = PAGES[0].read_text(encoding="utf-8")


FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[tuple[str, str]]:
    """Return (page, text) of all code blocks of a language."""
    return [
        (page.name, text)
        for page in PAGES
        for found, text in FENCED.findall(page.read_text("utf-8"))
        if found == language
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
    assert (len(shown), len(next(iter(shown.values())))) == (7, 4)
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


OF_PLUGINS = re.compile(r"# (stripes)\.yaml")  # their data are those of a Python file of the page


@pytest.mark.parametrize(
    ("page", "text"), [block for block in blocks("yaml") if not OF_PLUGINS.match(block[1])]
)
def test_the_example_configs_are_valid(page: str, text: str, tmp_path: Path) -> None:
    """An example without `rows:` is what the rows of a table share, or a part of it."""
    given = re.findall(r"^(\w+):", text, flags=re.MULTILINE)
    if not {"rows", "data"} <= set(given):
        parts = {"data": "{name: digits}"}
        if "rows" not in given:
            parts |= {"loss": "softmax", "rows": "{example: {}}"}
        text += "".join(f"{key}: {value}\n" for key, value in parts.items() if key not in given)
    (tmp_path / "example.yaml").write_text(text, encoding="utf-8")
    assert load_table(str(tmp_path / "example.yaml")).rows


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_in_the_text_name_what_exists(page: Path) -> None:
    """Those in blocks are run by `tests/benchmark/cli/test_docs_commands.py`."""
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for command in re.findall(r"`stt-bench ([^`]*)`", text):
        words = command.split()
        found: Any = typer.main.get_command(app)
        options = {name for option in found.params for name in option.opts}
        while words and hasattr(found, "commands") and words[0] in found.commands:
            found = found.commands[words.pop(0)]
            options |= {
                n for option in found.params for n in (*option.opts, *option.secondary_opts)
            }
        assert not hasattr(found, "commands") or not words or words[0].startswith("-"), command
        named = {word for word in words if re.match(r"--\w", word)}
        assert named <= options, command


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_scripts_that_are_named_take_the_options(page: Path) -> None:
    for script, rest in re.findall(
        r"`[^`]*?python (tests/[\w/]+\.py)([^`]*)`", page.read_text("utf-8")
    ):
        source = (ROOT / script).read_text(encoding="utf-8")
        for option in re.findall(r"--[\w-]+", rest):
            assert f'"{option}"' in source, (script, option)


def test_the_extras_that_are_named_exist() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    for page in PAGES:
        for named in re.findall(r"'\.\[([\w,]+)\]'", page.read_text("utf-8")):
            assert set(named.split(",")) <= extras.keys(), page


def test_the_shipped_tables_that_commands_name_exist() -> None:
    named = {m[1] for c in COMMANDS if (m := re.match(r"stt-bench (?:run|train) (\S+)", c))}
    shipped = {name for name in named if not name.endswith(".yaml") and name.islower()}
    assert shipped
    for name in shipped:
        load_table(name)


def test_the_example_commands_were_found() -> None:
    assert len(COMMANDS) >= 15


def test_what_is_said_of_flowers_stands_on_its_page() -> None:
    page = (ROOT / "results" / "frozen_flowers_lite0.md").read_text(encoding="utf-8")
    rows = {row: values for row, values in table(page).items() if values["MAP@R"]}
    assert len(rows) == len(load_table("frozen_flowers_lite0").rows)
    said = re.search(
        r"hard triplet leads, too: (.*?) over .*? (\d+) of the (\d+) rows that train have a ▲, "
        r"and (\d+) of those may be the best",
        README,
    )
    assert said is not None
    assert next(iter(rows)) == "Hard triplet"
    assert rows["Hard triplet"]["− best Softmax"] == said[1]
    above = {row for row, values in rows.items() if "▲" in values["− best Softmax"]}
    whole = table(page[page.index("<summary>All metrics") :])
    maybe = {row for row, values in whole.items() if values["MAP@R may be best"] == "✓"}
    trained = [row for row in rows if not row.startswith("Untrained")]
    assert [len(above), len(trained), len(above & maybe)] == [int(n) for n in said.groups()[1:]]
