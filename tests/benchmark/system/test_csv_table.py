"""The one csv reader, against what is written by hand."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from stt_bench.benchmark.system.csv_table import CsvTable, read_csv, read_table
from stt_bench.benchmark.system.errors import BenchError

KNOWN = ("path", "label", "split")


def read(folder: Path, content: str | bytes, **options: object) -> CsvTable:
    file = folder / "list.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_csv(file, KNOWN, **{"required": ("path", "label")} | options)


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_marks_line_ends_and_delimiters(
    tmp_path: Path, mark: str, end: str, delimiter: str
) -> None:
    lines = ["", "Path,LABEL,size", " ", "ä.jpg, 01 ,3", "b.jpg,02,", ""]
    found = read(tmp_path, mark + end.join(lines).replace(",", delimiter))
    assert found.frame.to_dict("list") == {"path": ["ä.jpg", "b.jpg"], "label": ["01", "02"]}
    assert found.frame.index.tolist() == [4, 5]
    assert found.unknown == ["size"]


def test_quoted_cells_and_the_lines_they_take(tmp_path: Path) -> None:
    rows = [["path", "label"], ["a, b.jpg", 'say "x"'], ["two\nlines", "c"], ["d\u2028d", "e"]]
    with (tmp_path / "own.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    found = read_csv(tmp_path / "own.csv", KNOWN, required=("path", "label"))
    assert found.frame.to_numpy().tolist() == rows[1:]
    assert found.frame.index.tolist() == [2, 3, 5]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("x;y,a.jpg\n", [["x;y", "a.jpg"]]),
        ("x z;a.jpg\n", [["x z", "a.jpg"]]),
        ("x y\ta.jpg\n", [["x y", "a.jpg"]]),
        ("a b.jpg  0\n\nc.jpg 1\n", [["a b.jpg", "0"], ["c.jpg", "1"]]),
        ("Golden Retriever\nPug dog\n", [["Golden Retriever"], ["Pug dog"]]),
        ("a.jpg 0\nb.jpg\n", [["a.jpg 0"], ["b.jpg"]]),
        ("cat|dog\nsea\n", [["cat|dog"], ["sea"]]),
        ("cat;dog\nsea\n", [["cat;dog"], ["sea"]]),
        ("Bild;Klasse\na;x,y\n", [["Bild", "Klasse"], ["a", "x,y"]]),
        ("Bild\tKlasse\na\tx,y\n", [["Bild", "Klasse"], ["a", "x,y"]]),
    ],
)
def test_no_header(tmp_path: Path, text: str, rows: list[list[str]]) -> None:
    (tmp_path / "list.txt").write_text(text)
    found = read_table(
        tmp_path / "list.txt",
        lambda cells: False,
        lambda cells: any(cell.endswith(".jpg") for cell in cells),
    )
    assert found.names == []
    assert found.frame.to_numpy().tolist() == rows
    assert found.frame.index.tolist()[0] == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"list.csv is empty: its first line names the columns path,label$"),
        ("\n , \n\n", r"list.csv:2: ',' is not the first line"),
        ("path,label\n", "has a header but no lines below it"),
        ("a,b,c\n", r"list.csv:1: 'a,b,c' is not the first line of such a list: its first"),
        ("path,label\n\na,b,c\n", r"list.csv:3: expected 2 cells, found 3: put a value"),
        ("path;label\na;b;c\n", r"list.csv:2: .* a value that contains a semicolon in double"),
        ("path,label,spilt\na,b,c\n", r"list.csv:1: column 'spilt': did you mean 'split'\?"),
        ("path,lable,x,y\na,b,c,d\n", r"list.csv:1: column 'lable': did you mean 'label'\?"),
        ("path,label,Label\na,b,c\n", r"list.csv:1: column 'label' is there twice: remove one"),
        ('path,label\n1,"b\n', r"list.csv:2: not a csv line"),
        ("path,label\na,b\ncafé,c\n".encode("latin-1"), r"list.csv:3: byte 0xe9 .* iconv -f lat"),
        ("path,label\n".encode("utf-16"), "is UTF-16 text: save it as UTF-8"),
        (b"path,label\na\0,b\n", r"list.csv:2: a null byte is no text"),
        ("path,label\n" + "x" * 200_000 + ",b\n", r"list.csv:2: not a csv line .*field larger"),
    ],
)
def test_mistakes_get_one_sentence(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(BenchError, match=message) as told:
        read(tmp_path, content)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("list.csv", b"\x93NUMPY\x01\0v\0{'descr': '<i8'}", "a NumPy array, .*numpy.savetxt"),
        ("list.csv", b"\xff\xd8\xff\xe0\0\x10JFIF", "a JPEG image"),
        ("list.csv", b"\x89PNG\r\n\x1a\n\0\0", "a PNG image"),
        ("list.csv", b"RIFF\x0a\0\0\0WEBPVP8 ", "a WebP image"),
        ("list.csv", b"PK\x03\x04\x14\0", "a zip archive, .* unpack it"),
        ("list.xlsx", b"PK\x03\x04\x14\0", "a spreadsheet, .* save it as csv"),
        ("list.json", b'[{"path": "a.jpg", "label": "b"}]', "a JSON file"),
        ("birds.yaml", b"title: a, b\nrows: {}\n", "a YAML file"),
        ("list.csv", b"\x01\x02\xfe\xff" * 9, "a binary file"),
    ],
)
def test_files_of_another_kind_are_named(
    tmp_path: Path, name: str, content: bytes, kind: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BenchError, match=rf"{name} is {kind}.*names the columns path") as told:
        read_csv(tmp_path / name, KNOWN, required=KNOWN[:2])
    assert "not a csv: " in str(told.value)
    assert "iconv" not in str(told.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="is a folder: name a csv file"):
        read_csv(tmp_path, KNOWN)
    with pytest.raises(BenchError, match=r"x\.csv: there is no such file"):
        read_csv(tmp_path / "x.csv", KNOWN)
    with pytest.raises(BenchError, match="cannot be read"):
        read_csv(tmp_path / ("x" * 300), KNOWN)
