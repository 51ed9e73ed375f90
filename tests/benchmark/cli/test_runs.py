"""`stt-bench runs`: the state of each run, from files made by hand."""

from __future__ import annotations

import io
import json
import math
import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import Command
from rich.console import Console

from stt_bench.benchmark.cli import runs as command
from stt_bench.benchmark.store import progress, run_states
from stt_bench.benchmark.store.leases import lease_file
from stt_bench.benchmark.store.locks import locked
from stt_bench.benchmark.store.run_states import RunState, state_of
from stt_bench.benchmark.store.runs import run_of
from stt_bench.benchmark.suite import load_table
from stt_bench.benchmark.system.errors import TrainingStopped
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.training import log
from stt_bench.benchmark.training.train import train

SETTINGS = {"experiment": {"train": {"steps": 50}}}
LOG = '{"step": 1, "loss": 2.0}\n{"step": 20, "loss": 0.5}\n'
VALIDATED = '{"step": 10, "validation_map@r": 0.25}\n{"step": 20, "validation_map@r": 0.2}\n'
RECORD = SETTINGS | {
    "metrics": {"recall@1": 0.5, "map@r": 0.125, "queries": 9},
    "training": {"images_per_second": 640.2},
}


def write(folder: Path, **files: Any) -> Path:
    """Write the files of a run; a dot in a name is written as two underscores."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / name.replace("__", ".")).write_text(text)
    return folder


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Path]:
    """Return a folder with a run in each state; one is held by this process."""
    table = tmp_path / "runs" / "t"
    write(table / "a_done" / "seed-0", run__json=SETTINGS, training__json={"steps": 50})
    write(tmp_path / "results/records/t/a_done", **{"seed-0__json": RECORD})
    write(table / "b_stopped" / "seed-3", run__json=SETTINGS, metrics__jsonl=LOG)
    write(
        table / "c_failed" / "seed-0",
        run__json=SETTINGS,
        failed__json={"failed": "t/c_failed/seed-0: no room"},
    )
    write(table / "d_waiting" / "seed-0", run__json=SETTINGS)
    facts = {"images_per_second": 100.0}
    write(table / "e_trained" / "seed-0", run__json=SETTINGS, training__json=facts)
    end = time.time() + 60
    now = {"first": 10, "step": 30, "started": end - 40, "now": end, "images": 16}
    training = write(
        table / "f_training" / "seed-0",
        run__json=SETTINGS,
        metrics__jsonl=LOG + VALIDATED + '{"step": 30, "loss": 0.4}\n{"step": 31, "lo',
        progress__json=now,
        failed__json={"failed": "of an earlier try"},
    )
    with locked(training):
        os.utime(training / "progress.json", (5000, 5000))  # by the folder's server
        os.utime(lease_file(training), (5005, 5005))
        yield tmp_path


def called(stt_bench: Command, world: Path, *more: object) -> list[list[str]]:
    done = stt_bench("runs", *more, "--runs", world / "runs", "--results", world / "results")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return [line.split("\t") for line in done.stdout.splitlines()]


def test_each_state_is_told(world: Path, stt_bench: Command) -> None:
    lines = {line[0]: line[1:] for line in called(stt_bench, world)}
    who = lines["t/f_training/seed-0"].pop()
    assert lines == {
        "t/a_done/seed-0": ["done", "50/50", "map@r 12.5", "640", "", ""],
        "t/b_stopped/seed-3": ["stopped", "0/50", "", "", "", ""],  # no checkpoint yet
        "t/c_failed/seed-0": ["failed", "0/50", "", "", "", "no room"],
        "t/d_waiting/seed-0": ["waiting", "0/50", "", "", "", ""],
        "t/e_trained/seed-0": ["trained", "50/50", "", "100", "", ""],
        # 20 steps of 16 images in 40 s; 20 steps are left, and 5 s of them are over
        "t/f_training/seed-0": ["training", "30/50", "map@r 25.0", "8", "35"],
    }
    assert who.startswith("pid ")


def test_what_is_to_be_run_waits(world: Path, stt_bench: Command, tiny: Path) -> None:
    lines = called(stt_bench, world, tiny)
    assert [line[:3] for line in lines] == [
        [f"tiny/{row}/seed-0", "waiting", "0/12"]
        for row in ("softmax", "hard", "two_head", "center")
    ]
    assert len(called(stt_bench, world, "t")) == 6
    assert len(called(stt_bench, world, "t", tiny)) == 10
    done = stt_bench("runs", "tt", "--runs", world / "runs", "--results", world / "results")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "did you mean 't'" in done.stderr


def test_where_there_is_nothing_it_says_so(tmp_path: Path, stt_bench: Command) -> None:
    places = ("--runs", tmp_path / "runs", "--results", tmp_path / "results")
    done = stt_bench("runs", *places)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"no runs in {tmp_path / 'runs'}, no records in {tmp_path / 'results'}\n"
    assert stt_bench("runs", "--json", *places) == (0, "[]\n", "")


def test_json_has_all_that_is_known(world: Path, stt_bench: Command) -> None:
    done = stt_bench("runs", "--json", "--runs", world / "runs", "--results", world / "results")
    found = {one["run"]: one for one in json.loads(done.stdout)}
    assert found["t/f_training/seed-0"] | {"told": ""} == {
        "run": "t/f_training/seed-0", "table": "t", "row": "f_training", "seed": 0,
        "state": "training", "step": 30, "steps": 50, "metric": "map@r", "best": 0.25,
        "images_per_second": 8.0, "seconds_left": 35.0, "told": "",
    }  # fmt: skip


def test_words_of_others_command_no_terminal(
    tmp_path: Path, stt_bench: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, told = "\x1b[31mred\n[bold]", "a\n\x1b]0;x\x07\tb [link=x]c"
    write(tmp_path / "runs" / "t" / name / "seed-0", failed__json={"failed": told})
    (line,) = called(stt_bench, tmp_path)
    assert line == ["t/[31mred [bold]/seed-0", "failed", "", "", "", "", "a ]0;x b [link=x]c"]
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    places = ("--runs", tmp_path / "runs", "--results", tmp_path / "results")
    shown = stt_bench("runs", *places).stdout
    assert "[bold]" in shown
    assert "[link=x]c" in shown
    assert "\x1b]0" not in shown
    assert "\x07" not in shown


def test_a_reason_that_many_have_is_told_once_below(
    tmp_path: Path, stt_bench: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = "3 of 24 images cannot be used: " + "x.jpg (it is empty); " * 9
    for seed in range(3):
        write(tmp_path / f"runs/t/row/seed-{seed}", failed__json={"failed": reason})
    write(tmp_path / "runs/t/row/seed-3", failed__json={"failed": "no room"})
    for name, value in {"FORCE_COLOR": "1", "TTY_COMPATIBLE": "1", "COLUMNS": "300"}.items():
        monkeypatch.setenv(name, value)
    places = ("--runs", tmp_path / "runs", "--results", tmp_path / "results")
    shown = re.sub(r"\x1b\[[?0-9;]*[mlh]", "", stt_bench("runs", *places).stdout)
    assert [line.split() for line in shown.splitlines() if line.startswith("  t/")] == [
        [f"t/row/seed-{seed}", "failed"] for seed in range(4)
    ]
    assert f"failed: t/row/seed-0 and 2 more: {reason.strip()}\n" in shown
    assert "failed: t/row/seed-3: no room\n" in shown


@pytest.mark.parametrize(
    "content", ["", "[1, 2]", "5", "{}", '{"experiment": 5}', "\x00\xff{", None]
)
def test_files_that_cannot_be_read_tell_nothing(
    world: Path, stt_bench: Command, content: str | None
) -> None:
    for path in [*world.glob("runs/*/*/*/*"), *world.glob("results/records/*/*/*")]:
        path.unlink()
        if content is None:
            path.mkdir()
        else:
            path.write_text(content, encoding="latin-1")
    lines = {line[0].split("/")[1]: line for line in called(stt_bench, world)}
    assert len(lines) == 6
    readable = content == '{"experiment": 5}'
    assert lines["a_done"][1] == ("done" if readable else "failed")


@pytest.mark.parametrize(
    ("height", "listed", "more"),
    [
        (80, ["f_", "c_", "b_", "e_", *["d_"] * 31, "a_"], None),
        (24, ["f_", "c_", "b_", "e_", *["d_"] * 12], "and 20 more: 19 waiting, 1 done"),
        (8, ["f_"], "and 35 more: 1 failed, 1 stopped, 1 trained, 31 waiting, 1 done"),
        (5, [], None),
    ],
)
def test_watching_on_a_terminal_shows_what_it_has_room_for_and_counts_the_rest(
    world: Path,
    stt_bench: Command,
    monkeypatch: pytest.MonkeyPatch,
    height: int,
    listed: list[str],
    more: str | None,
) -> None:
    terminal = {"FORCE_COLOR": "1", "TTY_COMPATIBLE": "1", "TERM": "xterm"}
    size = {"LINES": str(height), "COLUMNS": "300"}  # each run is a line, whatever the host's name
    for name, value in (terminal | size).items():
        monkeypatch.setenv(name, value)
    for seed in range(1, 31):
        write(world / f"runs/t/d_waiting/seed-{seed}", run__json=SETTINGS)

    def sleep(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command.time, "sleep", sleep)
    places = ("--runs", world / "runs", "--results", world / "results")
    shown = stt_bench("runs", "--watch", *places).stdout
    first, _, end = re.sub(r"\x1b\[[?0-9;]*[mlh]", "", shown).partition("\r\x1b")
    lines = first.splitlines()
    assert len(lines) <= height
    assert [line[4:6] for line in lines if line.startswith("  t/")] == listed
    assert [line for line in lines if line.startswith("and ")] == ([more] if more else [])
    assert lines[-1] == "1 training, 1 failed, 1 stopped, 1 trained, 31 waiting, 1 done"
    assert end.rpartition("\x1b")[2].count("  t/") == 36  # what was seen last stays, whole
    assert stt_bench("runs", *places).stdout.count("  t/") == 36


def test_what_is_no_number_is_not_shown_and_is_null_in_json(
    tmp_path: Path, stt_bench: Command
) -> None:
    speed = {"training": {"images_per_second": math.inf}}
    record = RECORD | speed | {"metrics": {"map@r": math.nan, "recall@1": 0.5}}
    write(tmp_path / "results/records/t/done", **{"seed-0__json": record})
    write(tmp_path / "results/records/t/huge", **{"seed-0__json": '{"metrics": {"nmi": 1e999}}'})
    begun = tmp_path / "runs/t/trained/seed-0"
    write(begun, training__json={"images_per_second": math.nan}, metrics__jsonl='{"loss": NaN}\n')
    assert called(stt_bench, tmp_path) == [
        ["t/done/seed-0", "done", "50/50", "recall@1 50.0", "", "", ""],
        ["t/huge/seed-0", "done", "", "", "", "", ""],
        ["t/trained/seed-0", "trained", "", "", "", "", ""],
    ]
    places = ("--runs", tmp_path / "runs", "--results", tmp_path / "results")
    text = stt_bench("runs", "--json", *places).stdout
    found = json.loads(text, parse_constant=pytest.fail)
    assert [one["best"] for one in found] == [0.5, None, None]


def test_watching_ends_when_all_have_ended_and_tells_what_changed(
    world: Path, stt_bench: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("b_stopped", "d_waiting", "e_trained", "f_training"):
        shutil.rmtree(world / "runs" / "t" / name)
    for lease in world.glob("runs/t/*/.*"):
        lease.unlink()
    waiting = write(world / "runs/t/z/seed-0", run__json=SETTINGS)
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 1:
            write(waiting, metrics__jsonl=LOG)
        if len(looks) == 3:
            write(world / "results/records/t/z", **{"seed-0__json": RECORD})

    monkeypatch.setattr(command.time, "sleep", sleep)
    lines = called(stt_bench, world, "--watch", "--every", "0.5")
    assert [line[:2] for line in lines] == [
        ["t/a_done/seed-0", "done"],
        ["t/c_failed/seed-0", "failed"],
        ["t/z/seed-0", "waiting"],
        ["t/z/seed-0", "stopped"],
        ["t/z/seed-0", "done"],
    ]
    assert looks == [0.5, 0.5, 0.5]


def test_watching_waits_for_the_first_run(
    tmp_path: Path, stt_bench: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 2:
            write(tmp_path / "results/records/t/z", **{"seed-0__json": RECORD})

    monkeypatch.setattr(command.time, "sleep", sleep)
    places = ("--runs", tmp_path / "runs", "--results", tmp_path / "results")
    done = stt_bench("runs", "--watch", *places)
    assert done.stdout.split("\t")[:2] == ["t/z/seed-0", "done"]
    assert done.stderr.startswith("no runs in ")
    assert looks == [2.0, 2.0]


def test_a_run_that_is_resumed_is_at_its_checkpoint_until_it_makes_steps(
    tiny: Path, tmp_path: Path, killed_at: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "NOTED_EVERY", 0.0)
    settings = ["train.checkpoint_every=3", "train.log_every=1"]
    run = run_of(load_table(str(tiny), settings), "hard", 0, tmp_path)

    def look() -> RunState:
        return state_of("tiny", "hard", 0, tmp_path, tmp_path / "results")

    with killed_at(8):
        train(run, Reporter(quiet=True))
    at_rest = look()
    noted = progress.read_progress(run.folder)
    assert noted is not None
    before = {"started": noted.started - 60, "now": noted.now - 60}
    progress.write_progress(run.folder, noted.model_copy(update=before))
    with locked(run.folder):
        found = look()
        assert (found.state, found.step, found.steps) == ("training", 6, 12)
        assert (found.metric, found.best) == (at_rest.metric, at_rest.best)
        assert (found.images_per_second, found.seconds_left) == (None, None)
        progress.write_progress(run.folder, noted.model_copy(update={"now": time.time()}))
        found = look()
        assert (found.state, found.step) == ("training", 8)
        assert found.images_per_second is not None


@pytest.mark.parametrize(("seconds", "step"), [(0.0, 8), (1e9, 0)])
def test_a_training_notes_now_and_then_how_fast_it_goes_until_its_end(
    tiny: Path,
    tmp_path: Path,
    killed_at: Any,
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
    step: int,
) -> None:
    monkeypatch.setattr(log, "NOTED_EVERY", seconds)
    run = run_of(load_table(str(tiny)), "hard", 0, tmp_path)
    with killed_at(9):
        train(run, Reporter(quiet=True))
    found = progress.read_progress(run.folder)
    assert found is not None
    assert (found.first, found.step, found.images) == (0, step, 16)
    assert found.now >= found.started
    train(run, Reporter(quiet=True))
    assert not progress.progress_file(run.folder).exists()


@pytest.mark.parametrize(
    ("checkpoint", "log", "shown"),
    [
        (19, LOG, ("loss", 2.0)),
        (20, LOG, ("loss", 0.5)),
        (19, LOG + VALIDATED, ("map@r", 0.25)),
        (9, LOG + VALIDATED, ("loss", 2.0)),
        (None, LOG + VALIDATED, (None, None)),
    ],
)
def test_what_is_best_of_a_killed_run_is_not_of_a_step_that_is_made_again(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    checkpoint: int | None,
    log: str,
    shown: tuple[str | None, float | None],
) -> None:
    write(tmp_path / "t/row/seed-0", run__json=SETTINGS, metrics__jsonl=log)
    monkeypatch.setattr(run_states, "checkpoint_step", lambda _path: checkpoint)
    found = run_states.state_of("t", "row", 0, tmp_path, tmp_path / "results")
    assert (found.state, found.step) == ("stopped", checkpoint or 0)
    assert (found.metric, found.best) == shown


def test_a_run_that_nobody_works_on_is_at_the_step_it_goes_on_from(
    tiny: Path, tmp_path: Path, killed_at: Any, at_step: Any
) -> None:
    run = run_of(load_table(str(tiny), ["train.checkpoint_every=3"]), "hard", 0, tmp_path)

    def step() -> int:
        return state_of("tiny", "hard", 0, tmp_path, tmp_path / "results").step

    def stop(_objective: object) -> None:
        signal.raise_signal(signal.SIGTERM)

    with killed_at(8):
        train(run, Reporter(quiet=True))
    assert step() == 6
    with at_step(9, stop), pytest.raises(TrainingStopped, match="stopped at step 10"):
        train(run, Reporter(quiet=True))
    assert step() == 10
    (run.folder / "failed.json").write_text('{"failed": "no room"}')
    assert step() == 10
    run.checkpoint.write_bytes(run.checkpoint.read_bytes()[:500])
    assert step() == 0


@pytest.mark.parametrize("width", [60, 80, 100, 120])
def test_a_narrow_terminal_leaves_out_columns_and_cuts_no_cell(width: int) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=width)
    states = [
        RunState("digits_retrieval", "hard_triplet", seed, state, step=1360, steps=12900,
                 metric="recall@1", best=0.853, images_per_second=14738.2, seconds_left=7380.0)
        for seed, state in ((0, "training"), (12, "evaluating"))
    ]  # fmt: skip
    console.print(command._screen(states, console))
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    cells = {cell for line in lines for cell in re.split(r"  +", line.strip())}
    kept = {"training", "evaluating", "1,360/12,900"}
    kept |= {"recall@1 85.3", "2 h 3 min"} if width >= 80 else set()
    kept |= {"14,738"} if width >= 120 else set()
    if width >= 100:
        kept |= {f"digits_retrieval/hard_triplet/seed-{seed}" for seed in (0, 12)}
    else:
        kept |= {"digits_retrieval/", "hard_triplet/", "seed-0", "seed-12"}
    told = {"Run", "State", "Steps", "Best", "Images/s", "Left", "1 training, 1 evaluating", ""}
    assert kept <= cells
    assert {cell for cell in cells - told if set(cell) != {"─"}} == kept
