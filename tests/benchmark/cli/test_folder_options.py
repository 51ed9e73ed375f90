"""Options that give folders: a file there, or a place not to be written, is told once, before all.

`/proc` is where nothing can be made, root or not.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import Command

NOT_LINUX = pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc")
COMMANDS = [
    (("run", "TABLE", "--rows", "softmax"), "--runs"),
    (("run", "TABLE", "--rows", "softmax"), "--results"),
    (("run", "TABLE", "--rows", "softmax", "--dry-run"), "--runs"),
    (("train", "TABLE", "--row", "softmax"), "--runs"),
    (("compare", "TABLE"), "--out"),
    (("compare", "TABLE", "--dry-run"), "--out"),
    (("embed", "RUN", "--images", "photos"), "--to"),
    (("tune", "TABLE"), "--results"),
    (("eval", "RUN"), "--results"),
    (("runs",), "--runs"),
    (("runs",), "--results"),
    (("show", "digits_retrieval"), "--results"),
    (("report",), "--results"),
    (("verify", "all"), "--runs"),
    (("reproduce", "spot"), "--runs"),
    (("timing",), "--to"),
    (("data", "prepare", "cub50", "--size", "32"), "--to"),
]


@pytest.mark.parametrize(("command", "option"), COMMANDS)
def test_a_file_in_place_of_a_folder_is_told_once(
    stt_bench: Command, tiny: Path, tmp_path: Path, command: tuple[str, ...], option: str
) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    dead = tmp_path / "dead"
    dead.symlink_to(tmp_path / "nowhere")
    given = [str(tiny) if one == "TABLE" else one for one in command]
    for folder, what in ((file, "it is a file"), (file / "x" / "y", f"{file} is a file"),
                         (dead, "it is a link to nothing")):  # fmt: skip
        done = stt_bench(*given, option, folder)
        told = f"{option} {folder}: {what}, and a folder is needed: choose another {option}"
        assert (done.returncode, done.stdout, done.stderr) == (2, "", f"error: {told}\n")
    assert {path.name for path in tmp_path.iterdir()} == {"file", "dead", tiny.name}
    assert file.read_text() == "mine"


@NOT_LINUX
@pytest.mark.parametrize(
    ("command", "option"),
    [(("run", "TABLE"), "--runs"), (("run", "TABLE"), "--results"),
     (("train", "TABLE", "--row", "softmax"), "--runs"), (("compare", "TABLE"), "--out"),
     (("timing",), "--to"), (("reproduce", "spot"), "--runs")],
)  # fmt: skip
def test_a_place_where_nothing_can_be_written_is_told_once(
    stt_bench: Command, tiny: Path, tmp_path: Path, command: tuple[str, ...], option: str
) -> None:
    given = [str(tiny) if one == "TABLE" else one for one in command]
    done = stt_bench(*given, option, "/proc/zz")
    start = f"error: {option} /proc/zz: nothing can be written in /proc ("
    assert done.returncode == 2
    assert done.stderr.startswith(start)
    assert done.stderr.endswith(f"): choose another {option}\n")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == [tiny]


def test_a_file_within_the_runs_is_named(stt_bench: Command, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "tiny").write_text("mine")
    where = ("--runs", tmp_path / "runs", "--results", tmp_path / "results")
    done = stt_bench("run", tiny, "--rows", "softmax", *where)
    told = f"{tmp_path / 'runs' / 'tiny'} is a file where a folder is needed: move it away, or"
    assert done.returncode == 1
    assert f"softmax/seed-0 failed: {told}" in done.stderr
