"""`stt-bench data ...` as a user meets it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stt_bench.benchmark.cli.main import main
from stt_bench.benchmark.datasets import dataset_names, load_items
from stt_bench.benchmark.suite import load_table

ROOT = Path(__file__).parents[3]


@pytest.fixture
def data(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., tuple[int, str, str]]:
    """Call `stt-bench data ...` in an empty folder; return exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STT_BENCH_DATA", raising=False)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["stt-bench", "data", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        return (int(end.value.code or 0), *capfd.readouterr())

    return call


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for label in "abcd":
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(3):
            pixels = rng.integers(0, 256, (40, 30, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / label / f"{number}.jpg")
    return tmp_path / "photos"


def test_list_is_plain_in_a_pipe(data: Callable[..., tuple[int, str, str]]) -> None:
    code, out, _ = data("list")
    assert code == 0
    lines = [line.split("\t") for line in out.splitlines()]
    assert [line[0] for line in lines] == dataset_names()
    assert {len(line) for line in lines} == {4}
    states = {line[0]: line[1] for line in lines}
    assert states["digits"] == "complete"
    assert states["cub50"] == "not here"


def test_list_is_a_table_on_a_terminal(
    data: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    _, out, _ = data("list")
    assert "Where, or how to get it" in out
    assert "\t" not in out
    digits = next(line for line in out.splitlines() if "digits" in line)
    assert "retrieval: 901 + 896 images of 5 + 5 classes" in digits


def test_verify_tells_by_its_exit_code(
    data: Callable[..., tuple[int, str, str]], photos: Path
) -> None:
    code, out, _ = data("verify", "images", "--root", "photos")
    assert code == 0
    assert "retrieval: 6 train images of 2 classes and 6 test images of 2 classes, data " in out
    (photos / "b" / "1.jpg").write_bytes(b"no image")
    code, out, err = data("verify", "images", "--root", "photos", "--quiet")
    assert code == 1
    assert "photos/b/1.jpg cannot be read as an image" in out
    assert "1 broken or missing" in out
    assert err == ""


def test_prepare_prints_what_a_config_needs(
    data: Callable[..., tuple[int, str, str]], photos: Path, tmp_path: Path
) -> None:
    (photos / "some.csv").write_text("a,a/0.jpg\na,a/1.jpg\nb,b/0.jpg\nb,b/1.jpg\n")
    options = ["--option", "train=some.csv", "--option", "test=a"]
    code, _, err = data("prepare", "images", "--size", "20", "--root", "photos", *options)
    assert code == 2  # in train and in test
    (photos / "some.csv").write_text(
        "path,label,split\na/0.jpg,a,train\nb/0.jpg,b,test\nb/1.jpg,b,test\nc/0.jpg,c,test"
    )
    code, out, err = data(
        "prepare", "images", "--size", "20", "--root", "photos", "--option", "items=some.csv"
    )
    assert code == 0, err
    assert "4 images, 0 of them from before" in err
    assert "left out: 8 images" in err
    (tmp_path / "table.yaml").write_text(out + "rows: {a: {loss: softmax}}\n")
    items = load_items(load_table(str(tmp_path / "table.yaml")).rows["a"].data)
    assert len(items.frame) == 4
    assert min(items.read(items.frame["path"][0]).size) == 20
    assert (tmp_path / "data" / "images-20" / "a" / "0.jpg").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["verify", "cub5"], "did you mean 'cub50'"),
        (["verify", "cub50"], "not found (looked for"),
        (["verify", "images", "--root", "nowhere"], "data.root nowhere does not exist"),
        (
            ["verify", "."],
            ". is a folder, not the name of a dataset: run `stt-bench data verify images --root "
            ".`, which splits it as a table does, or `stt-bench data describe . --near-duplicates`",
        ),
        (
            ["prepare", ".", "--size", "32"],
            "not the name of a dataset: run `stt-bench data prepare images --size 32 --root .`\n",
        ),
        (["verify", "images", "--option", "items"], "write it as name=value"),
        (["prepare", "cub50", "--size", "3"], "16 or more"),
        (["prepare", "digits", "--size", "32"], "needs no preparation"),
    ],
)
def test_a_mistake_ends_in_one_sentence(
    data: Callable[..., tuple[int, str, str]], arguments: list[str], said: str
) -> None:
    code, _, err = data(*arguments)
    assert code == 2
    assert said in err
    assert err.startswith("error: ")
    assert len(err.strip().splitlines()) == 1


def test_help_teaches_and_imports_nothing_heavy(
    data: Callable[..., tuple[int, str, str]],
) -> None:
    for command in ("list", "verify", "prepare"):
        code, out, _ = data(command, "--help")
        assert code == 0
        assert f"stt-bench data {command}" in out  # an example
    code = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, stt_bench.benchmark.cli.main\n"
            "heavy = {'torch', 'pandas', 'numpy', 'pydantic', 'PIL'} & set(sys.modules)\n"
            "sys.exit(f'imported {heavy}' if heavy else 0)",
        ],
        cwd=ROOT,
        check=False,
    ).returncode
    assert code == 0
