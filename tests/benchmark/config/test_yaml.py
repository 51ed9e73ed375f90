"""YAML as people write it, and as nobody should: a value, or one sentence with the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from stt_bench.benchmark.config.tables import read_table
from stt_bench.benchmark.config.yaml_lines import parse_value, read_yaml
from stt_bench.benchmark.system.errors import BenchError

LEVELS = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E+3", 1e3),
        ("8", 8),
        ("-2.5", -2.5),
        (".5", 0.5),
        ("010", 10),
        ("soft", "soft"),
        ("true", True),
        ("yes", "yes"),
        ("12:30", "12:30"),
        ("2024-01-02", "2024-01-02"),
        ("2024-13-45", "2024-13-45"),
        ("~", None),
        ("", None),
        ("[1, {a: b}]", [1, {"a": "b"}]),
        ("[&x 1, *x, &x 2, *x]", [1, 1, 2, 2]),
        ("[&x {a: 1}, *x]", [{"a": 1}, {"a": 1}]),
    ],
)
def test_values_are_those_of_yaml_1_2(text: str, value: object) -> None:
    parsed = parse_value(text)
    assert parsed == value
    assert type(parsed) is type(value)


def test_keys_have_lines_also_in_lists_and_behind_aliases(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text("a: &x\n  b: 1\n  c:\n  - d\n  - e: 2\nf: *x\n")
    content, lines = read_yaml(path)
    assert content["f"] == content["a"] == {"b": 1, "c": ["d", {"e": 2}]}
    assert lines["a",] == 1
    assert lines["a", "b"] == lines["f", "b"] == 2
    assert lines["a", "c", "1"] == lines["a", "c", "1", "e"] == 5
    assert lines["f",] == 6


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "line 1: a mapping such as"),
        (b"- 1\n", "line 1: a mapping such as"),
        (b"# only a comment\n", "line 1: a mapping such as"),
        (b"a: 1\na: 2\n", "line 2: 'a' stands here again; it was already given on line 1"),
        (b"a: {b: 1,\n    b: 2}\n", "line 2: 'a.b' stands here again"),
        (b"a:\n\t- 1\n", "line 2: not valid YAML: found character"),
        (b"a: 'x\n", "not valid YAML"),
        (b"a: x\0y\n", "not valid YAML"),
        (b"a: *b\n", "line 1: not valid YAML: found undefined alias"),
        (b"a: 1\n---\nb: 2\n", "not valid YAML"),
        ("a: 1".encode("utf-16"), "is not text in UTF-8"),
        ("title: Vögel".encode("latin-1"), "is not text in UTF-8"),
        (b"b: 1\na: !!binary aGVsbG8=\n", "line 2: the tag '.*binary' has no meaning here"),
        (b"a: !!set {b, c}\n", "line 1: the tag"),
        (b"a: !!python/object/apply:os.system [ls]\n", "line 1: the tag"),
        (b"a: !mine 1\n", "line 1: the tag '!mine'"),
        (b"a: !!int many\n", "line 1: is no int that can be used"),
        (b'b: 1\na: !!int ""\n', "line 2: is no int that can be used"),
        (b"data: {name: digits}\nrows: {a: null}\n", "line 2: a table needs 'rows:'"),
        (
            b"data: {name: digits}\nrows:\n- softmax: {loss: softmax}\n",
            "line 2: rows is a list, not a mapping from names to settings: write NAME: SETTINGS, "
            "such as rows: {softmax: {loss: softmax}, ",
        ),
        (b"rows: softmax\n", "line 1: rows is 'softmax', not a mapping from names to settings"),
        (b"%YAML 1.3\n---\na: 1\n", "not valid YAML"),
        (b'a: "\\U00110000"\n', "not valid YAML"),
        (b"a: {1, 2}\n", "line 1: put the name '1' in quotes"),
        (b"a: {? [1] : 2}\n", "line 1: a list or mapping cannot be a name"),
        (b"a: &x {b: 1}\nc: {<<: *x}\n", "line 2: '<<' is not known here"),
        (b"a: &x [*x]\n", "line 1: '&x' contains itself"),
        (b'a: "\\ud800"\n', "line 1: holds half a character"),
        (b"b: 1\na: " + b"9" * 5000, "line 2: is no int that can be used"),
        (b"b: 1\na: 0x" + b"f" * 5000, "line 2: is no int that can be used"),
        (b"a: " + b"[" * 60 + b"]" * 60, "line 1: is nested more than 50 levels"),
        (b"a: " + b"[" * 500 + b"]" * 500, "not valid YAML"),
        (b"a0: &a0 {x: 1}\n" + LEVELS.encode(), "holds more than 100,000 values"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "is a JPEG image, not a table: name a file of YAML"),
        (b"\x93NUMPY\x01\0v\0", "is a NumPy array, not a table"),
        (b"a: " + b"x" * (1 << 20), "is larger than a table can be"),
    ],
)
def test_what_no_table_holds_is_one_sentence(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "t.yaml"
    path.write_bytes(content)
    with pytest.raises(BenchError, match=said) as caught:
        read_table(str(path))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    assert str(caught.value).startswith(str(path))


def test_a_folder_or_nothing_in_place_of_a_table(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").mkdir()
    for name in ("t.yaml", "other.yaml"):
        with pytest.raises(BenchError, match=name):
            read_table(str(tmp_path / name))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seeds: 1e21", "line 1: seeds must be integers from 0"),
        ("seeds: [0, 4294967296]", "line 1: seeds must be integers from 0 to 4294967295"),
        ("seeds: []", "line 1: seeds must be"),
        ("seeds: {a: 1}", "line 1: seeds must be"),
        ("seeds: true", "line 1: seeds must be"),
        ("title: [a]", "line 1: title must be text"),
        ("description: {a: b}", "line 1: description must be text"),
        ("optimizer: adam", "line 1: row 'a': optimizer: a mapping of its fields is expected"),
        ("model: {normalize: yes}", "line 1: row 'a': model.normalize: write true or false"),
        ("figure: 7", "line 1: .*mapping"),
        ("compare_by: mni", "line 1: compare_by: there is no such metric; .*'nmi'"),
        ("compare_by: [nmi]", "line 1: compare_by: there is no such metric"),
        ("model: {backbone: " + "x" * 5000 + ", head: [" + "7, " * 5000 + "]}", "line 1"),
    ],
)
def test_values_that_do_not_fit_are_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "t.yaml"
    path.write_text(f"{text}\ndata: {{name: digits}}\nrows:\n  a: {{loss: softmax}}\n")
    with pytest.raises(BenchError, match=said) as caught:
        read_table(str(path))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_date_in_a_title_is_text(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    for title in ("2024-13-45", "2024-01-02", "5", "null and void"):
        path.write_text(f"title: {title}\ndata: {{name: digits}}\nrows:\n  a: {{loss: softmax}}\n")
        assert read_table(str(path)).title == title
