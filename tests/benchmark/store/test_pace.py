"""What is left of a table, against sums worked out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.store.display import Display
from stt_bench.benchmark.store.pace import Pace, rest_text
from stt_bench.benchmark.store.runs import Run

EXPERIMENT = Experiment.model_validate({"data": {"name": "digits"}, "loss": "softmax"})
DISPLAY = Display(label="", title="", description="", order=0)


def run(row: str, seed: int) -> Run:
    return Run("t", row, seed, EXPERIMENT, Path(row), DISPLAY)


def test_nothing_is_known_before_the_first_run() -> None:
    runs = [run("a", 0), run("b", 0)]
    pace = Pace({one.name: None for one in runs})
    assert pace.left(runs) is None
    assert pace.plan() == "2 runs to do; how long they take is told after their first steps"
    one = Pace({runs[0].name: None})
    assert one.plan() == "1 run to do; how long it takes is told after its first steps"
    assert rest_text(2, None) == "2 runs left"


def test_a_row_takes_what_its_runs_took_and_others_their_mean() -> None:
    runs = [run("a", 0), run("a", 1), run("b", 0)]
    pace = Pace({one.name: None for one in runs})
    pace.done(runs[0], 10.0)
    assert pace.left(runs[1:]) == pytest.approx(10.0 + 10.0)
    pace.done(runs[1], 20.0)
    assert pace.left([run("a", 2), runs[2]]) == pytest.approx(15.0 + 15.0)
    pace.done(runs[2], 60.0)
    assert pace.left([run("b", 1), run("c", 0)]) == pytest.approx(60.0 + 60.0)


def test_what_records_let_expect_is_scaled_by_what_the_runs_took() -> None:
    runs = [run("a", 0), run("b", 0), run("c", 0)]
    pace = Pace({runs[0].name: 10.0, runs[1].name: 40.0, runs[2].name: None})
    assert pace.plan() == (
        "3 runs to do; about 50 s for 2 of them by the records of their rows; "
        "how long 1 of them takes is told after its first steps"
    )
    assert pace.left(runs) == pytest.approx(10.0 + 40.0 + 25.0)
    pace.done(runs[0], 15.0)  # half as long again
    assert pace.left(runs[1:]) == pytest.approx(60.0 + 60.0)
    assert rest_text(2, pace.left(runs[1:])) == "2 runs left, about 2 min 0 s"
    assert rest_text(1, 9.0) == "1 run left, about 9.0 s"
    assert rest_text(0, None) == "no run left"
    assert pace.left([]) == 0.0


def test_of_an_untrained_network_no_time_is_promised(tmp_path: Path) -> None:
    untrained = EXPERIMENT.with_values({"train.steps": 0})
    runs = [Run("t", "a", seed, untrained, Path("a"), DISPLAY) for seed in range(2)]
    pace = Pace.of(runs, tmp_path)
    assert pace.plan() == "2 runs to do; how long they take is told after their first steps"
    pace.done(runs[0], 3.0)
    assert pace.left(runs[1:]) == pytest.approx(3.0)
