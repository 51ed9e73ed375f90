"""Where tables are found: beside, in ``configs/``, and shipped with the package."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import ROOT, Done

from stt_bench.benchmark.config.table_files import SHIPPED_FOLDER, table_files
from stt_bench.benchmark.config.tables import read_table
from stt_bench.benchmark.system.errors import BenchError

MINE = "title: Mine\ndata: {name: digits}\nrows:\n  a: {loss: softmax}\n"


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder that is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_shipped_tables_are_found_from_an_empty_folder(empty: Path) -> None:
    table = read_table("digits_retrieval")
    assert table.path == SHIPPED_FOLDER / "digits_retrieval.yaml"
    assert table.command == "stt-bench run digits_retrieval"
    with_changes = read_table("digits_retrieval", ["optimizer.lr=0.1"])
    assert with_changes.command == "stt-bench run digits_retrieval --set optimizer.lr=0.1"
    assert sorted(table_files()) == sorted(file.stem for file in SHIPPED_FOLDER.glob("*.yaml"))
    with pytest.raises(BenchError, match="did you mean 'digits_retrieval'"):
        read_table("digits_retreival")


def test_a_table_in_configs_hides_the_shipped_one(empty: Path) -> None:
    (empty / "configs").mkdir()
    for name in ("digits_retrieval", "mine"):
        (empty / "configs" / f"{name}.yaml").write_text(MINE)
    table = read_table("digits_retrieval")
    assert table.title == "Mine"
    assert table.command == "stt-bench run configs/digits_retrieval.yaml"
    assert "mine" in table_files()
    with pytest.raises(BenchError, match="did you mean 'mine'"):
        read_table("mien")


def test_the_same_file_by_a_link_is_the_shipped_one(empty: Path) -> None:
    (empty / "configs").symlink_to(SHIPPED_FOLDER)
    assert read_table("digits_retrieval").command == "stt-bench run digits_retrieval"


def test_a_base_is_looked_for_beside_then_in_configs_then_shipped(empty: Path) -> None:
    (empty / "sub").mkdir()
    (empty / "configs").mkdir()
    mine = empty / "sub" / "mine.yaml"
    mine.write_text("base: digits_retrieval\nseeds: 7\n")
    shipped = read_table("digits_retrieval")
    table = read_table(str(mine))
    assert (table.title, table.seeds) == (shipped.title, (7,))
    assert table.rows == shipped.rows
    (empty / "configs" / "digits_retrieval.yaml").write_text(MINE)
    assert read_table(str(mine)).title == "Mine"
    (mine.parent / "digits_retrieval.yaml").write_text(MINE.replace("Mine", "Beside"))
    assert read_table(str(mine)).title == "Beside"
    mine.write_text("base: nothing_such\n")
    with pytest.raises(BenchError, match=r"mine.yaml, line 1: there is no table 'nothing_such'"):
        read_table(str(mine))


def test_a_table_may_stand_on_the_shipped_one_of_its_name(empty: Path) -> None:
    (empty / "digits_retrieval.yaml").write_text("base: digits_retrieval\ntitle: Longer\n")
    table = read_table("digits_retrieval.yaml")
    assert table.title == "Longer"
    assert table.rows == read_table("digits_retrieval").rows


def test_a_file_that_is_no_table_is_named_for_what_it_is(empty: Path) -> None:
    (empty / "one.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    (empty / "list.csv").write_text("path,label\n")
    (empty / "one.what").write_text("x")
    told = "not a table: name a YAML file"
    for name, kind in {
        "one.jpg": f"a JPEG image, {told}",
        "one.what": f"a file of another kind, {told}",
        "list.csv": "a csv list, not a table: `stt-bench compare list.csv`",
    }.items():
        with pytest.raises(BenchError, match=f"{name} is {kind}"):
            read_table(name)


def test_bases_in_a_circle_are_refused(empty: Path) -> None:
    (empty / "one.yaml").write_text("base: two\n")
    (empty / "two.yaml").write_text("base: one\n")
    with pytest.raises(BenchError, match=r"two.yaml, line 1: no table can be its own base"):
        read_table("one.yaml")


@pytest.mark.parametrize("base", ["[a]", "{a: b}", "7", "'\\0'", "a/../b", f"'{'x' * 5000}'"])
def test_a_base_that_is_no_name_is_refused(empty: Path, base: str) -> None:
    (empty / "t.yaml").write_text(f"base: {base}\n")
    with pytest.raises(BenchError, match=r"t.yaml, line 1: there is no table"):
        read_table("t.yaml")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("birds", "did you mean 'birds.yaml'?"),
        ("./birds", "did you mean './birds.yaml'?"),
        ("long", "did you mean 'long.yml'?"),  # and not fashion_mnist_long_tail
        ("sub", "did you mean 'sub/one.yaml'?"),
        ("my photos", "it is a folder: `stt-bench compare 'my photos'` compares losses on images"),
        ("digits_retreival", "did you mean 'digits_retrieval'?"),
    ],
)
@pytest.mark.parametrize("command", ["run", "tune", "runs", "train"])
def test_a_name_without_its_suffix_and_a_folder_are_told(
    stt_bench: Callable[..., Done], empty: Path, command: str, name: str, told: str
) -> None:
    for folder in ("sub", "my photos"):
        (empty / folder).mkdir()
    for file in ("birds.yaml", "long.yml", "sub/one.yaml"):
        (empty / file).write_text(MINE)
    done = stt_bench(command, name, *(["--row", "a"] if command == "train" else []))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert told in done.stderr


@pytest.mark.parametrize("name", ["t.yaml", "t"])
def test_a_table_without_records_is_told_to_be_run(
    stt_bench: Callable[..., Done], empty: Path, name: str
) -> None:
    (empty / "t.yaml").write_text(MINE)
    done = stt_bench("show", name)
    assert done.returncode == 2
    assert done.stderr.endswith("has no records in results; run `stt-bench run t.yaml` first\n")
    for command in ("verify", "diff"):
        done = stt_bench(command, "t.yaml", *(["t.yaml"] if command == "diff" else []))
        assert done.returncode == 2
        assert "'t.yaml' is no record, row or table" in done.stderr


@pytest.mark.parametrize(
    ("base", "told"),
    [("birds.yaml", "birds"), ("t.yaml", "t"), ("up", "../up"), ("up.yaml", "../up")],
)
def test_a_base_is_named_without_its_suffix_and_from_the_file(
    empty: Path, base: str, told: str
) -> None:
    (empty / "sub").mkdir()
    for file in ("up.yaml", "sub/birds.yaml", "sub/t.yaml"):
        (empty / file).write_text(MINE)
    (empty / "sub" / "mine.yaml").write_text(f"base: {base}\n")
    with pytest.raises(BenchError, match=rf"line 1: .* did you mean '{told}'\?"):
        read_table("sub/mine.yaml")
    (empty / "sub" / "mine.yaml").write_text(f"base: {told}\n")
    assert read_table("sub/mine.yaml").title == "Mine"


@pytest.mark.parametrize("name", ["README", "readme", "timing", "a b"])
def test_a_table_does_not_take_the_place_of_another_page(empty: Path, name: str) -> None:
    (empty / f"{name}.yaml").write_text(MINE)
    with pytest.raises(BenchError, match="not README or timing"):
        read_table(f"{name}.yaml")


def test_list_tables_marks_where_each_lies_and_goes_on_after_a_broken_one(
    stt_bench: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "mine.yaml").write_text(MINE)
    (tmp_path / "configs" / "broken.yaml").write_text("rows: [")
    lines = dict(line.split(maxsplit=1) for line in stt_bench("list", "tables").stdout.splitlines())
    assert lines["mine"] == "Mine (1 rows, 1 seeds; configs/mine.yaml)"
    assert lines["digits_retrieval"].endswith("shipped)")
    assert "broken.yaml, line 1: not valid YAML" in lines["broken"]


TAKEN = ("losses", "evaluation", "benchmark", "metrics", "names", "suite", "config", "stt")


def test_files_of_the_same_names_in_the_current_folder_do_no_harm(tmp_path: Path) -> None:
    for name in TAKEN:
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong one')\n")
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('the wrong one')\n")
    (tmp_path / "plugin.py").write_text(
        "from stt_bench.losses import RankingLoss, register_loss\n"
        "@register_loss('of_the_plugin')\n"
        "class Mine(RankingLoss):\n"
        "    def compute(self, embeddings, labels):\n"
        "        return embeddings.sum(), {}\n"
    )
    code = (
        "import sys; from stt_bench import build_loss, retrieval_metrics\n"
        "assert build_loss('lifted') and retrieval_metrics\n"
        "sys.argv = ['stt-bench', '--plugin', 'plugin.py', 'list', 'losses']\n"
        "from stt_bench.__main__ import main; main()"
    )
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    for arguments in (["-c", code], ["-m", "stt_bench", "list", "tables"]):
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env=environment,
        )
        assert done.returncode == 0, done.stderr
        assert ("of_the_plugin" in done.stdout) == (arguments[0] == "-c")


def test_vectors_take_the_rows_of_a_table_of_images(empty: Path) -> None:
    vectors = "data: {name: features, root: X.npy, options: {items: items.csv}}\n"
    mine = f"base: frozen_cub50_lite0\n{vectors}model: {{backbone: identity}}\n"
    (empty / "mine.yaml").write_text(mine)
    table, shipped = read_table("mine.yaml"), read_table("frozen_cub50_lite0")
    assert (list(table.rows), table.seeds, table.tuning) == (
        list(shipped.rows),
        shipped.seeds,
        shipped.tuning,
    )
    for name, row in table.rows.items():
        other = shipped.rows[name]
        assert (row.data.name, row.data.root, row.data.task) == ("features", "X.npy", "retrieval")
        assert (row.model.backbone, row.model.weights, row.model.freeze) == ("identity", None, [])
        assert row.input == type(row.input)()
        for section in ("loss", "memory", "sampler", "optimizer", "train", "evaluation"):
            assert getattr(row, section) == getattr(other, section), section
        for field in ("head", "head_start", "embedding_dim", "normalize"):
            assert getattr(row.model, field) == getattr(other.model, field), field
    (empty / "child.yaml").write_text("base: mine\nmodel: {backbone: identity, embedding_dim: 9}\n")
    assert read_table("child.yaml").rows["softmax"].data.root == "X.npy"
    (empty / "own.yaml").write_text(f"{mine}input: {{size: 96}}\n")  # what the file itself says
    with pytest.raises(BenchError, match="input is of images"):
        read_table("own.yaml")
