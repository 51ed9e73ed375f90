"""What data are said to be, against data whose every image is known."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from command_line import Command, stt_bench  # noqa: F401  (a fixture)
from test_folders import lay

from stt_bench.benchmark.compare.look import look
from stt_bench.benchmark.datasets.describe import describe, image_sizes
from stt_bench.benchmark.datasets.stores import FileStore
from stt_bench.benchmark.system.errors import BenchError


@pytest.fixture
def shops(tmp_path: Path, save) -> Path:
    """Seven images of three products, one unreadable, one copied within and one across classes."""
    rows = ["File Name;pid;Camera;subset"]
    for number, (label, split) in enumerate(
        [("a", "train"), ("a", "train"), ("b", "train"), ("c", "query"), ("c", "gallery")]
    ):
        save(tmp_path / f"img/{number}.png", size=(80 + number, 70), seed=number)
        rows.append(f"img\\{number}.png;{label};k{number};{split}")
    for name, source, label in (("5", "0", "a"), ("6", "0", "b")):
        shutil.copy(tmp_path / f"img/{source}.png", tmp_path / f"img/{name}.png")
        rows.append(f"img\\{name}.png;{label};;train")
    (tmp_path / "img/7.png").write_bytes(b"no image")
    rows.append("img\\7.png;b;;train")
    (tmp_path / "shops.csv").write_text("\n".join(rows))
    return tmp_path / "shops.csv"


def test_a_list(shops: Path) -> None:
    found = describe(shops, near_duplicates=True)
    assert (found.layout, found.items, found.classes) == ("csv list", 8, 3)
    assert found.columns == {"path": "File Name", "label": "pid", "split": "subset"}
    assert found.metadata == ["Camera"]
    assert found.per_class == (2, 3.0, 3)
    assert found.single == []
    assert [(p.name, p.items, p.classes) for p in found.parts] == [
        ("train", 6, 2),
        ("test", 2, 1),
        ("test, queries", 1, 1),
        ("test, in the gallery", 1, 1),
    ]
    assert found.sides == (70, 70.0, 70)
    assert len(found.unreadable) == 1
    assert found.unreadable[0].startswith(f"{shops.parent}/img/7.png (")
    assert found.duplicates is not None
    within, across = found.duplicates.within, found.duplicates.across
    named = [[(Path(m.image).name, Path(m.other).name) for m in some] for some in (within, across)]
    assert named[0] == [("0.png", "5.png")]
    assert set(named[1]) == {("0.png", "6.png"), ("5.png", "6.png")}
    assert all(match.exact for match in [*within, *across])


def test_the_command(stt_bench: Command, shops: Path) -> None:  # noqa: F811
    code, told, _ = stt_bench("data", "describe", shops)
    assert code == 0
    assert told.splitlines()[:5] == [
        f"{shops}: csv list",
        "columns: path is 'File Name', label is 'pid', split is 'subset'",
        "metadata: Camera",
        "8 images of 3 classes, 2 to 3 a class, median 3",
        "  train: 6 images of 2 classes",
    ]
    code, told, _ = stt_bench("data", "describe", shops, "--columns", "label=Camera,path=File Name")
    assert "columns: path is 'File Name', label is 'Camera', split is 'subset'" not in told
    assert code == 2  # some have no camera
    code, _, said = stt_bench("data", "describe", shops, "--columns", "label")
    assert code == 2
    assert "write path=NAME,label=NAME" in said


def test_hostile_names_stay_in_their_line(tmp_path: Path, save) -> None:
    name = "\u202eevil\x1b[31m\ttab"
    for label in (name, "b"):
        save(tmp_path / label / "1.png")
    lines = list(describe(tmp_path).lines())
    assert "2 classes have a single image: b, evil[31m tab" in lines
    assert not any(c in line for line in lines for c in "\x1b\n\u202e\t")
    assert "holds a control character (1 such): rename it" in lines[-1]
    assert "  no split: one is made by class for retrieval, within classes to classify" in lines


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"none of 2 images can be read: .*1\.jpg \(it is empty"):
        describe(lay(tmp_path, "{a,b}/1.jpg"))
    (tmp_path / "x.csv").write_text("path,label\n/none/1.jpg,a\n/none/2.jpg,b\n")
    with pytest.raises(BenchError, match=r"none/1.jpg \(No such .* correct the paths, or give the"):
        describe(tmp_path / "x.csv")


def test_an_image_listed_twice_and_a_label_that_may_be_missing_are_told(shops: Path) -> None:
    lines = [*shops.read_text().splitlines(), "img/0.png;b;;train", "img/1.png;a;;train"]
    shops.write_text("\n".join([*lines, "img/2.png;NaN;;train"]))
    *others, last = describe(shops).notes
    twice = f"{shops.parent}/img/0.png is listed twice (3 such, 2 under different labels)"
    assert last == f"{twice}: list every image once"
    missing = f"{shops}: 'NaN' is taken as a class (1 line): if it says"
    assert sum(note.startswith(missing) for note in others) == 1
    with pytest.raises(BenchError, match=r"img/0\.png is listed twice \(3 such, 2 under"):
        look(shops)


def test_an_image_that_is_cut_off_is_named_where_all_are_decoded(tmp_path: Path, save) -> None:
    for label in "ab":
        for number in range(2):
            save(
                tmp_path / f"{label}/{number}.png", size=(40, 40), seed=number + 2 * (label == "b")
            )
    whole = (tmp_path / "a/0.png").read_bytes()
    (tmp_path / "a/0.png").write_bytes(whole[: len(whole) // 2])
    lines = list(describe(tmp_path).lines())
    assert not any("cannot be read" in line for line in lines)
    assert "only the heads of the images were read: --near-duplicates decodes them whole" in lines
    lines = list(describe(tmp_path, near_duplicates=True).lines())
    told = [line for line in lines if line.startswith("1 image cannot be read: ")]
    assert "a/0.png (" in told[0]
    assert not any("only the heads" in line for line in lines)
    assert {f"near-duplicates {where} classes: 0 pairs" for where in ("within", "across")} <= {
        *lines
    }
    (tmp_path / "a/1.png").write_bytes(whole[:60])
    for number in range(2):
        (tmp_path / f"b/{number}.png").write_bytes(whole[:60])
    with pytest.raises(BenchError, match="none of 4 images can be read"):
        describe(tmp_path, near_duplicates=True)


def test_a_pipe_is_not_waited_for(tmp_path: Path, save) -> None:
    for label in "ab":
        for number in range(2):
            save(tmp_path / f"{label}/{number}.png", size=(40, 40), seed=number)
    os.mkfifo(tmp_path / "a/2.png")
    assert [Path(path).name for path, _ in image_sizes([str(tmp_path / "a/2.png")])[1]] == ["2.png"]
    for near in (False, True):
        lines = describe(tmp_path, near_duplicates=near).lines()
        (told,) = [line for line in lines if "cannot be read" in line]
        assert "it is no file but a pipe or a device" in told
    with pytest.raises(BenchError, match="a pipe or a device"):
        FileStore(tmp_path).read("a/2.png")
