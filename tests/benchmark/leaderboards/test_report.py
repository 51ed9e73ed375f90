"""What `report` reads and writes where files are broken, not ours, hostile or missing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from saved_records import save
from test_leaderboard import record

from stt_bench.benchmark.leaderboards.published import SHIPPED, published_of, read_published
from stt_bench.benchmark.leaderboards.report import check_pages, report
from stt_bench.benchmark.store.records import Record
from stt_bench.benchmark.system.errors import BenchError

HEADER = "table,row,metric,value,source,note\n"


def records_of(table: str, results: Path) -> Path:
    """Return a folder of results with two records of a table."""
    for row in ("softmax", "hard_triplet"):
        made = record(row, 0, {"map@r": 0.5, "recall@1": 0.75}, loss=row)
        save(results, [made.model_copy(update={"table": table})])
    return results


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("table,row\n", r"csv:1: .*columns table,row,metric,value,source,note"),
        (HEADER + "a,b,c,1,s\n", r"csv:2: expected 6 cells, found 5"),
        (HEADER + "a,b,c,1,s,n\na,b,c,1,,\n", r"csv:3: a published number needs a source"),
        (HEADER + "a,b,c,1,\x85 ,\n", r"csv:2: a published number needs a source"),
        (HEADER + "../../x,b,c,1,s,\n", r"csv:2: '\.\./\.\./x' is no table's name"),
        (HEADER + "/etc/x,b,c,1,s,\n", "is no table's name"),
        (HEADER + "..,b,c,1,s,\n", "is no table's name"),
        (HEADER + ",b,c,1,s,\n", "is no table's name"),
        (HEADER + '"a\nb",b,c,1,s,\n', "is no table's name"),
        (HEADER + "Readme,b,c,1,s,\n", "is no table's name"),
        (HEADER + "timing,b,c,1,s,\n", "is no table's name"),
    ],
)
def test_mistakes_are_told_before_anything_is_trained_or_written(
    tmp_path: Path, text: str, said: str
) -> None:
    results = records_of("omniglot_mini_retrieval", tmp_path / "results")
    (results / "published.csv").write_text(text)
    for check in (lambda: check_pages(results, ["t"]), lambda: report(results)):
        with pytest.raises(BenchError, match=said):
            check()
    assert {path.name for path in results.iterdir()} == {"records", "published.csv"}
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


def test_a_latin_1_file_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "published.csv").write_bytes((HEADER + "a,b,c,1,Müller,\n").encode("latin-1"))
    with pytest.raises(BenchError, match=r"csv:2: byte 0xfc is not UTF-8"):
        published_of(tmp_path)


def test_ones_own_file_goes_before_the_shipped_one(tmp_path: Path) -> None:
    assert published_of(tmp_path) == (read_published(SHIPPED), False)
    assert "cub200_retrieval" in read_published(SHIPPED)
    (tmp_path / "published.csv").write_text(HEADER + "t,r,nmi,1.0,A paper,\n")
    own, is_own = published_of(tmp_path)
    assert (list(own), is_own) == (["t"], True)


def test_shipped_numbers_stand_beside_what_was_run_and_make_no_pages(tmp_path: Path) -> None:
    results = records_of("omniglot_mini_retrieval", tmp_path)
    report(results)
    assert {path.name for path in results.glob("*.md")} == {
        "README.md",
        "omniglot_mini_retrieval.md",
    }
    (results / "published.csv").write_text(
        HEADER + "omniglot_mini_retrieval,softmax,map@r,1.5,A paper,\nother,r,nmi,1.0,A paper,\n"
    )
    report(results)
    assert "| *1.5* |" in (results / "omniglot_mini_retrieval.md").read_text()
    assert "[other](other.md)" in (results / "README.md").read_text()
    assert (results / "other.md").exists()


@pytest.mark.parametrize(
    "name", ["README.md", "omniglot_mini_retrieval.md", "omniglot_mini_retrieval.png"]
)
def test_a_file_of_somebody_else_stays_whatever_its_encoding(tmp_path: Path, name: str) -> None:
    results = records_of("omniglot_mini_retrieval", tmp_path)
    theirs = "# Leaderboards von Müller\n".encode("latin-1")
    (results / name).write_bytes(theirs)
    with pytest.raises(BenchError, match=f"{name} would be overwritten"):
        report(results)
    assert (results / name).read_bytes() == theirs
    assert {path.name for path in results.iterdir()} == {"records", name}


def test_results_that_are_a_file_or_hold_a_folder_for_a_page_are_told(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("")
    with pytest.raises(BenchError, match="results: it is a file, and a folder is needed"):
        check_pages(tmp_path / "results", ["t"])
    with pytest.raises(BenchError, match="holds no records"):
        report(tmp_path / "results")
    results = records_of("omniglot_mini_retrieval", tmp_path / "other")
    (results / "omniglot_mini_retrieval.md").mkdir()
    with pytest.raises(BenchError, match=r"omniglot_mini_retrieval\.md"):
        report(results)


def test_a_page_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = records_of("omniglot_mini_retrieval", tmp_path)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(BenchError, match=r"omniglot_mini_retrieval\.md.*Permission denied"):
        report(results)


def test_a_table_whose_rows_and_file_are_gone_keeps_its_page(tmp_path: Path) -> None:
    results = records_of("omniglot_mini_retrieval", tmp_path)
    (results / "records/omniglot_mini_retrieval").rename(results / "records/gone")
    for path in results.glob("records/gone/*/*.json"):
        Record.model_validate(json.loads(path.read_text()) | {"table": "gone"}).save(path)
    assert [board.table for board in report(results, ["gone"])] == ["gone"]
    assert "(gone.md)" in (results / "README.md").read_text()
    shutil.rmtree(results / "records/gone/hard_triplet")
    report(results)
    assert "hard_triplet" not in (results / "gone.md").read_text()
