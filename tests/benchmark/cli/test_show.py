"""`stt-bench show`: a table, a record and a run again, each found by its name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from command_line import Command

from stt_bench.benchmark.leaderboards.answer import answer
from stt_bench.benchmark.leaderboards.report import read_board
from stt_bench.benchmark.store.records import read_record, record_path
from stt_bench.benchmark.suite import load_table, run_table
from stt_bench.benchmark.system.progress import Reporter


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tiny_text: str) -> Path:
    folder = tmp_path_factory.mktemp("shown")
    (folder / "tiny.yaml").write_text(tiny_text)
    run_table(
        load_table(str(folder / "tiny.yaml"), ["evaluation.clustering=false"]),
        rows=["softmax", "hard"],
        seeds=[0],
        runs=folder / "runs",
        results=folder / "results",
        force=False,
        reporter=Reporter(quiet=True),
    )
    return folder


def where(folder: Path) -> tuple[object, ...]:
    return "--results", folder / "results", "--runs", folder / "runs"


def test_a_table_shows_its_short_table_and_its_answer(made: Path, stt_bench: Command) -> None:
    said = stt_bench("show", "tiny", *where(made))
    sentences = answer(read_board(made / "results", "tiny"))
    assert said.returncode == 0
    assert said.stdout.splitlines()[-len(sentences) :] == sentences
    assert "− best Softmax" in said.stdout


@pytest.mark.parametrize("file", [False, True])
def test_a_record_shows_both_distances_and_where_it_is_from(
    made: Path, stt_bench: Command, file: bool
) -> None:
    path = record_path(made / "results", "tiny", "hard", 0)
    record = read_record(path)
    said = stt_bench("show", path if file else "tiny/hard/seed-0", *where(made)).stdout
    lines = {line.split("  ")[0].strip(): line for line in said.splitlines()}
    assert "tiny/hard/seed-0: Hard" in lines
    other = record.other_distance
    assert other is not None
    (line,) = [line for line in said.splitlines() if line.split()[:1] == ["MAP@R"]]
    values = (record.metrics["map@r"], other.metrics["map@r"])
    assert line.split()[1:] == [f"{100 * value:.2f}" for value in values]
    (line,) = [line for line in said.splitlines() if line.split()[:1] == ["queries"]]
    assert line.split()[1:] == ["896"]
    for fact in (record.data_hash, record.checkpoint_sha256, record.protocol_fingerprint):
        assert fact in said


@pytest.mark.parametrize("name", ["tiny/hard/seed-0", "folder"])
def test_a_run_shows_its_state_and_its_curves(
    made: Path, stt_bench: Command, tmp_path: Path, name: str
) -> None:
    """By name where there is no record of it; else by its folder."""
    folder = made / "runs/tiny/hard/seed-0"
    results = tmp_path / "none" if name != "folder" else made / "results"
    said = stt_bench(
        "show", folder if name == "folder" else name, "--results", results, "--runs", made / "runs"
    )
    assert said.returncode == 0, said.stderr
    entries = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    rows = {line.split()[0]: line.split()[1:] for line in said.stdout.splitlines() if line.split()}
    assert rows["Step"] == [f"{entry['step']:,.0f}" for entry in entries]
    assert rows["loss"] == [f"{entry['loss']:.4g}" for entry in entries]
    assert rows["training"][:3] == ["done:", "12", "steps"]
    assert rows["embeddings"] == ["test"]
    assert (rows["record"][0] == "none") == (name != "folder")


def test_a_stopped_run_says_so_and_a_cut_line_is_left_out(
    made: Path, stt_bench: Command, tmp_path: Path
) -> None:
    folder = tmp_path / "seed-0"
    shutil.copytree(made / "runs/tiny/hard/seed-0", folder)
    shutil.rmtree(folder / "embeddings")
    for name in ("training.json", "model.safetensors"):
        (folder / name).unlink()
    said = stt_bench("show", folder, "--results", tmp_path).stdout
    assert "not begun: 12 steps" in said
    (folder / "checkpoint.pt").write_bytes(b"")
    log = folder / "metrics.jsonl"
    log.write_text(log.read_text() + '{"step": 13, "lo')
    said = stt_bench("show", folder, "--results", tmp_path).stdout
    assert "stopped at step 12 of 12 or later" in said
    assert "embeddings  none" in said


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("tinny", "did you mean 'tiny'?"),
        ("tiny/hard/seed-1", "did you mean 'tiny/hard/seed-0'?"),
        ("cub50_retrieval", "run `stt-bench run cub50_retrieval` first"),
        ("=1\x1b[2J", "is no table, record or run"),
    ],
)
def test_what_is_not_there_is_told_with_the_nearest_name(
    made: Path, stt_bench: Command, name: str, told: str
) -> None:
    said = stt_bench("show", name, *where(made))
    assert said.returncode == 2
    assert told in said.stderr
    assert "\x1b" not in said.stderr
    assert len(said.stderr.splitlines()) == 1
