"""Lines in place of bars where standard error is no terminal."""

from __future__ import annotations

import io
import re
from contextlib import ExitStack
from pathlib import Path

import pytest
from rich.console import Console

from stt_bench.benchmark.suite import load_table, run_table
from stt_bench.benchmark.system import progress
from stt_bench.benchmark.system.progress import Reporter, duration


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_a_line_comes_every_half_minute_with_the_time_left(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    reporter = Reporter()
    reporter.runs_after = 2
    with reporter.bar("t/row/seed-0: train", 100, stage=True, runs=True) as bar:
        assert lines(capsys) == ["t/row/seed-0: train: starts"]
        for step in range(1, 101):
            clock.now += 1.0  # 100 steps in 100 seconds
            bar.to(step, "loss 0.5000, 80 images/s")
        assert lines(capsys) == [
            f"t/row/seed-0: train: {step}/100, loss 0.5000, 80 images/s, {left} left; "
            f"{rest} with the 2 runs after it"
            for step, left, rest in (
                (30, "1 min 10 s", "4 min 30 s"),
                (60, "40 s", "4 min 0 s"),
                (90, "10 s", "3 min 30 s"),
            )
        ]
    assert lines(capsys) == [
        "t/row/seed-0: train: 100/100, loss 0.5000, 80 images/s, took 1 min 40 s"
    ]


def test_the_runs_that_follow_take_as_long_as_is_known_of_them(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    reporter = Reporter(line_every=10)
    reporter.runs_after, reporter.seconds_after = 3, 300.0
    with reporter.bar("x", 100, runs=True) as bar:
        clock.now += 20
        bar.to(50)
    with reporter.bar("other", 100) as bar:
        clock.now += 20
        bar.to(50)
    assert lines(capsys) == [
        "x: 50/100, 20 s left; 5 min 20 s with the 3 runs after it",
        "other: 50/100, 20 s left",
    ]


def test_a_terminal_shows_what_is_left_of_the_table(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    reporter = Reporter()
    screen = io.StringIO()
    reporter.console = Console(file=screen, force_terminal=True, width=120, highlight=False)
    reporter.runs_after, reporter.seconds_after = 1, 60.0
    with reporter.bar("x", 100, runs=True) as bar:
        clock.now += 10
        bar.to(50, "loss 0.5")
    assert "1 min 10 s with the 1 run after it" in screen.getvalue()


def test_what_continues_counts_its_own_pace(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with Reporter(line_every=10).bar("x", 100, 90, stage=True) as bar:
        clock.now += 20
        bar.to(95)
    assert lines(capsys) == ["x: starts at 90/100", "x: 95/100, 20 s left", "x: 95/100, took 20 s"]


def test_a_short_step_of_a_stage_says_nothing(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with Reporter().bar("read images", 1) as bar:
        clock.now += 29
        bar.of(1, 10)
    with Reporter(quiet=True).bar("train", 10, stage=True) as bar:
        clock.now += 100
        bar.to(5)
    assert lines(capsys) == []


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (3599.7, "1 h 0 min"),
        (7260, "2 h 1 min"),
    ],
)
def test_times_in_words(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_a_run_without_a_terminal_tells_its_stages(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = load_table(str(tiny), ["evaluation.clustering=false"])

    def said(seed: int, *, quiet: bool = False) -> list[str]:
        places = {"runs": tmp_path / "runs", "results": tmp_path / "results"}
        reporter = Reporter(quiet=quiet)
        run_table(table, rows=["hard"], seeds=[seed], **places, force=False, reporter=reporter)
        return lines(capsys)

    first = said(0)
    assert first[0] == "1 run to do; how long it takes is told after its first steps"
    for part in ("train: starts", "train: 12/12, loss ", "embed: starts", "embed: 896/896, took "):
        assert any(line.startswith(f"tiny/hard/seed-0: {part}") for line in first), part
    assert re.fullmatch(r"\[1/1\] tiny/hard/seed-0  R@1 .* s; no run left", first[-1])
    second = said(7)[0]
    assert second.startswith("1 run to do; about ")
    assert second.endswith(" by the records of their rows")
    assert said(8, quiet=True) == []


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 160])
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_narrow_terminal_shortens_words_and_no_numbers(
    clock: Clock, width: int, jobs: int
) -> None:
    reporter = Reporter()
    screen = io.StringIO()
    reporter.console = Console(file=screen, force_terminal=True, width=width, highlight=False)
    reporter.runs_after, reporter.seconds_after = 12, 600.0
    names = [f"digits_retrieval/hard_{lr}/seed-{lr}: train" for lr in range(10, 10 + jobs)]
    with ExitStack() as stack:
        stack.enter_context(reporter.display())
        bars = [stack.enter_context(reporter.bar(name, 900, runs=True)) for name in names]
        clock.now += 20
        for bar in bars:
            bar.to(360, "loss 0.6859, 4,738 images/s")
        screen.truncate(0)
        assert reporter._display is not None
        reporter._display.refresh()
    text = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", screen.getvalue())
    lines = [line.rstrip() for line in re.split(r"[\r\n]+", text) if "train" in line]
    whole = {"10", "11", "360/900", "0.6859", "4,738", "12", "30"}
    assert len(lines) >= jobs
    for line in lines:
        assert "360/900" in line
        assert len(line) <= width
        assert set(re.findall(r"\d[\d.,/]*\d|\d", line)) <= whole, line
        assert ("0.6859" in line) == (width >= 80)
        assert ("10 min 30 s" in line) == (width >= 60)
    if jobs == 1 and width == 80:
        assert lines[-1] == (
            "…/hard_10/seed-10: train ━━━╺━━━━ 360/900 loss 0.6859 --:-- 10 min 30 s for all"
        )


def test_a_description_without_folders_is_cut_before_any_number() -> None:
    reporter = Reporter()
    screen = io.StringIO()
    reporter.console = Console(file=screen, force_terminal=True, width=40, highlight=False)
    with reporter.bar(f"download {'archive_' * 5}images.tar.gz", 123456789) as bar:
        bar.to(12345678)
    assert "12345678/123456789" in screen.getvalue()
