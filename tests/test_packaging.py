"""What is installed is whole: data files, pinned versions, and the files that name them."""

from __future__ import annotations

import re
import tomllib
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from ruamel.yaml import YAML

import stt_bench
from stt_bench.benchmark.config.table_files import table_files

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGE = ROOT / "stt_bench"


def package_files() -> list[Path]:
    return [
        path.relative_to(PACKAGE)
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]


def canonical(line: str) -> str:
    return canonicalize_name(re.split(r"[<>=]", line)[0])


def test_every_data_file_is_in_the_wheel() -> None:
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["stt_bench"]
    data = [path for path in package_files() if path.suffix != ".py"]
    assert len(data) > 25
    left_out = [p for p in data if not any(p in set(map(Path, glob(q))) for q in patterns)]
    assert left_out == []


def glob(pattern: str) -> list[Path]:
    return [path.relative_to(PACKAGE) for path in PACKAGE.glob(pattern)]


def test_every_pattern_finds_something() -> None:
    for pattern in PROJECT["tool"]["setuptools"]["package-data"]["stt_bench"]:
        assert glob(pattern), pattern
    for pattern in PROJECT["project"]["license-files"]:
        assert list(ROOT.glob(pattern)), pattern


def test_every_folder_of_modules_is_a_package() -> None:
    folders = {path.parent for path in package_files() if path.suffix == ".py"}
    assert [f for f in folders if not (PACKAGE / f / "__init__.py").exists()] == []


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return {canonical(line): line.partition("==")[2] for line in lines if "==" in line}


def test_all_that_make_installs_is_pinned() -> None:
    """Follow the requirements of what is installed, from those of the project on."""
    extras = PROJECT["project"]["optional-dependencies"]
    open_ends = [*PROJECT["project"]["dependencies"], *chain(*extras.values())]
    seen: set[str] = set()
    while open_ends:
        requirement = Requirement(open_ends.pop())
        name = canonicalize_name(requirement.name)
        if name in seen or not (requirement.marker is None or requirement.marker.evaluate()):
            continue
        seen.add(name)
        assert name in pins(), name
        with suppress(PackageNotFoundError):  # of cpu and gpu only one is there
            open_ends += requires(name) or []
    assert len(seen) > 50


def test_pins_are_not_below_the_lower_bounds() -> None:
    pinned = pins()

    def numbers(version: str) -> list[int]:
        return [int(part) for part in re.findall(r"\d+", version)][:3]

    for requirement in PROJECT["project"]["dependencies"]:
        bound = requirement.partition(">=")[2]
        assert bound, requirement
        assert numbers(pinned[canonical(requirement)]) >= numbers(bound), requirement


def test_all_files_name_one_version() -> None:
    citation = YAML(typ="safe").load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert PROJECT["project"]["version"] == stt_bench.__version__ == citation["version"]
    assert f"## {stt_bench.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_all_files_ask_for_one_python() -> None:
    oldest = PROJECT["project"]["requires-python"].removeprefix(">=")
    for name in ("README.md", "Makefile"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert re.findall(r"Python ([\d.]+) or newer", text) == [oldest], name


def test_the_demo_runs_shipped_tables() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    demo = re.search(r"^DEMO := (.*)$", makefile, flags=re.MULTILINE)
    assert demo is not None
    assert set(demo[1].split()) <= set(table_files())


def test_the_workflow_calls_the_two_commands() -> None:
    path = ROOT / ".github" / "workflows" / "ci.yml"
    (job,) = YAML(typ="safe").load(path.read_text(encoding="utf-8"))["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == ["make demo", "make test"]


def test_the_image_is_given_what_its_file_copies() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    copied = {
        source
        for line in re.findall(r"^COPY (.*)$", dockerfile, flags=re.MULTILINE)
        for source in line.split()[:-1]
    }
    allowed = set(re.findall(r"^!(.*)$", (ROOT / ".dockerignore").read_text(), flags=re.MULTILINE))
    assert copied == allowed
    assert all((ROOT / source).exists() for source in copied)
    assert {"README.md", "LICENSE"} <= copied  # pyproject.toml reads them


@pytest.mark.parametrize("name", ["benchmark", "losses", "evaluation", "configs"])
def test_the_links_for_readers_lead_into_the_package(name: str) -> None:
    link = ROOT / name
    if not (ROOT / ".git").exists():
        pytest.skip("a source distribution has no links")
    assert link.is_symlink()
    assert link.readlink() == Path("stt_bench") / name
