"""No output takes the place of an input, or of a file that somebody else wrote."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import Done
from PIL import Image

from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.outputs import check_output, write_page
from stt_bench.benchmark.system.png import drawn_figure, save_png


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = tmp_path / "labels.csv"
    path.write_text("a\na\nb\nb\n")
    return path


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("spelling", ["same", "dots", "relative", "link", "hard link", "by folder"])
def test_an_input_is_never_overwritten(
    labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spelling: str, force: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inner").mkdir()
    output, given = labels, labels
    if spelling == "dots":
        output = tmp_path / "inner" / ".." / "labels.csv"
    elif spelling == "relative":
        output = Path("labels.csv")
    elif spelling == "link":
        output = tmp_path / "link.csv"
        output.symlink_to(labels)
    elif spelling == "hard link":
        output = tmp_path / "link.csv"
        os.link(labels, output)
    elif spelling == "by folder":
        given = tmp_path
    with pytest.raises(BenchError, match="is an input of this command"):
        check_output(output, inputs=[tmp_path / "x.npy", given], force=force)


def test_a_file_that_is_not_ours_is_overwritten_by_force_alone(
    labels: Path, tmp_path: Path
) -> None:
    dangling = tmp_path / "dangling.png"
    dangling.symlink_to(tmp_path / "nowhere")
    theirs = tmp_path / "theirs.png"
    Image.new("L", (4, 4)).save(theirs)
    readme = tmp_path / "README.md"
    readme.write_text("# Leaderboards\n\nMade with `stt-bench report`, and what I think of them.\n")
    for file in (labels, dangling, theirs, readme):
        with pytest.raises(BenchError, match=rf"{re.escape(str(file))} exists .* --force"):
            check_output(file)
        check_output(file, force=True)
    check_output(tmp_path / "new.csv", inputs=[labels])
    with pytest.raises(BenchError, match="is a folder"):
        check_output(tmp_path, force=True)


def test_what_we_write_we_know_again(tmp_path: Path) -> None:
    page, figure, picture = (tmp_path / name for name in ("a.md", "a.png", "b.png"))
    write_page(page, "# Title\n" + "x" * 200_000)
    with drawn_figure(figure, 2, 2):
        pass
    save_png(np.zeros((4, 4, 3), np.uint8), picture)
    for file in (page, figure, picture):
        check_output(file)


def test_eval_keeps_the_labels_it_reads(
    stt_bench: Callable[..., Done], labels: Path, tmp_path: Path
) -> None:
    np.save(tmp_path / "x.npy", np.eye(4))
    text = labels.read_text()
    given = ("eval", "--embeddings", tmp_path / "x.npy", "--labels", labels, "--no-clustering")
    for more in ([], ["--force"]):
        done = stt_bench(*given, "--per-class", labels, *more)
        assert done.returncode == 2
        assert "is an input" in done.stderr
        assert labels.read_text() == text
    other = tmp_path / "classes.csv"
    assert stt_bench(*given, "--per-class", other).returncode == 0
    other.write_text("mine")
    done = stt_bench(*given, "--per-class", other)
    assert (done.returncode, other.read_text()) == (2, "mine")
    assert "--force" in done.stderr
    assert stt_bench(*given, "--per-class", other, "--force").returncode == 0
    assert other.read_text().startswith("label,")


@pytest.mark.parametrize("file", ["README.md", "tiny.md", "tiny.png"])
def test_run_finds_a_page_written_by_hand_before_it_trains(
    stt_bench: Callable[..., Done], tiny: Path, tmp_path: Path, file: str
) -> None:
    results = tmp_path / "results"
    results.mkdir()
    (results / file).write_text("by hand")
    done = stt_bench("run", tiny, "--runs", tmp_path / "runs", "--results", results, "--force")
    assert done.returncode == 2
    assert f"{results / file} would be overwritten" in done.stderr
    assert not (tmp_path / "runs").exists()
    assert (results / file).read_text() == "by hand"


def test_pictures_and_timings_spare_what_is_not_ours(
    stt_bench: Callable[..., Done], tmp_path: Path
) -> None:
    photo = tmp_path / "photo.png"
    Image.new("RGB", (8, 8)).save(photo)
    before = photo.read_bytes()
    done = stt_bench("neighbors", tmp_path, photo, "--to", photo, "--force")
    assert (done.returncode, "is an input" in done.stderr) == (2, True)
    (tmp_path / "timing.md").write_text("by hand")
    done = stt_bench("timing", "--to", tmp_path)
    assert (done.returncode, "timing.md exists" in done.stderr) == (2, True)
    assert photo.read_bytes() == before


def test_force_removes_no_folder_that_is_no_run(
    stt_bench: Callable[..., Done], tiny: Path, tmp_path: Path
) -> None:
    theirs = tmp_path / "runs" / "tiny" / "hard" / "seed-0"
    theirs.mkdir(parents=True)
    (theirs / "thesis.txt").write_text("by hand")
    for command in (["run", tiny, "--rows", "hard"], ["train", tiny, "--row", "hard"]):
        more = ["--results", tmp_path / "r"] if command[0] == "run" else []
        done = stt_bench(*command, "--force", "--runs", tmp_path / "runs", *more)
        assert done.returncode == 2
        assert "holds files that are no run" in done.stderr
        assert (theirs / "thesis.txt").read_text() == "by hand"
