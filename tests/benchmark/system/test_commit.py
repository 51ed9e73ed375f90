"""The commit of the source tree, and whether the code is that of the commit."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from stt_bench.benchmark.system import machine


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "stt_bench").mkdir()
    (tmp_path / "stt_bench" / "a.py").write_text("1\n")
    (tmp_path / "results.md").write_text("1\n")
    monkeypatch.setattr(machine, "_PACKAGE", tmp_path / "stt_bench")
    return tmp_path


def git(tree: Path, *arguments: str) -> str:
    author = ("-c", "user.name=a", "-c", "user.email=a@a.example")
    done = subprocess.run(
        ["git", *author, *arguments], cwd=tree, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def found() -> str | None:
    return machine.commit.__wrapped__()  # what a new process would find


def test_code_that_is_not_the_commits_is_told(tree: Path) -> None:
    assert found() is None
    git(tree, "init", "-q")
    assert found() is None  # no commit yet
    git(tree, "add", ".")
    git(tree, "commit", "-q", "-m", "m")
    head = git(tree, "rev-parse", "HEAD")
    assert found() == head
    (tree / "results.md").write_text("2\n")  # pages and records are no code
    assert found() == head
    new = tree / "stt_bench" / "b.py"
    new.write_text("")
    assert found() == f"{head}+changes"
    new.unlink()
    (tree / "stt_bench" / "a.py").write_text("2\n")
    assert found() == f"{head}+changes"


def test_commits_are_of_the_same_code_where_the_package_is(tree: Path) -> None:
    def committed() -> str:
        git(tree, "add", ".")
        git(tree, "commit", "-q", "-m", "m")
        return git(tree, "rev-parse", "HEAD")

    git(tree, "init", "-q")
    first = committed()
    (tree / "results.md").write_text("2\n")
    (tree / "stt_bench" / "configs").mkdir()
    (tree / "stt_bench" / "configs" / "t.yaml").write_text("")
    second = committed()
    (tree / "stt_bench" / "a.py").write_text("2\n")
    third = committed()
    assert machine.same_code(first, second)
    assert machine.same_code(third, third)
    assert not machine.same_code(second, third)
    assert not machine.same_code(f"{first}+changes", f"{first}+changes")
    assert not machine.same_code(first, "0" * 40)
    assert not machine.same_code(None, None)
    assert not machine.same_code(f"--output={tree / 'written'}", first)


def test_without_git_there_is_no_commit(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(tree, "init", "-q")
    monkeypatch.setenv("PATH", "")
    assert found() is None
