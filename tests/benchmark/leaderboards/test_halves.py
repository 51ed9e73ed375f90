"""The rare and the frequent half of a long tail stand apart, with intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from test_evidence import TRIPLET
from test_leaderboard import record

from stt_bench.benchmark.leaderboards.board import build_leaderboard
from stt_bench.benchmark.leaderboards.halves import halves
from stt_bench.benchmark.leaderboards.markdown import markdown
from stt_bench.benchmark.statistics.moderated import moderated
from stt_bench.benchmark.store.class_records import ClassRetrieval, ClassScores, ClassShare
from stt_bench.benchmark.store.records import Record

LABELS = ["c0", "c1", "c2", "c3", "c4"]
TAIL = {"data": {"name": "digits", "long_tail": 10.0}}


def scored(
    row: str, seed: int, recall: list[float], ap: list[float] | None = None, **settings: Any
) -> Record:
    metrics = {"accuracy": float(np.mean(recall)), "map@r": float(np.mean(ap or recall))}
    made = record(row, seed, metrics, **{**TAIL, **settings})
    classes = ClassScores(
        labels=LABELS,
        items=[100] * 5,
        recall=recall,
        confusion=[f"{i}:100" for i in range(5)],
    )
    update: dict[str, Any] = {"per_class": classes}
    if ap is not None:
        share = ClassShare(sums=[10 * value for value in ap], values=ap)
        update["class_values"] = ClassRetrieval(
            groups=LABELS, counts=[10] * 5, weighting="query", metrics={"map@r": share}
        )
    return made.model_copy(update=update)


def test_each_half_has_its_mean_and_its_difference_with_an_interval() -> None:
    softmax = [[0.9, 0.8, 0.7, 0.4, 0.2], [0.9, 0.8, 0.7, 0.5, 0.3], [0.9, 0.8, 0.7, 0.6, 0.4]]
    gains = np.array([[0.03, 0.03, 0.03, 0.10, 0.10]] * 3) + np.array([[-0.01], [0.0], [0.01]])
    other = (np.array(softmax) + gains).tolist()
    two_heads = {**TRIPLET, "softmax_head": True}
    records = [scored("s", seed, softmax[seed], softmax[seed]) for seed in range(3)]
    records += [scored("row", seed, other[seed], other[seed], **two_heads) for seed in range(3)]
    board = build_leaderboard("t", records, [])
    lines = halves(board)
    # Four comparisons with two kinds of halves; both rows of a pool have the standard deviation
    # 0.01, so that the moderated interval is Student's of 2 degrees of freedom.
    estimate = moderated(np.array([[0.02, 0.03, 0.04]]))
    reach = 100 * float(estimate.half_width()[0])
    assert reach == pytest.approx(4.303 / 3**0.5, abs=0.01)
    (line,) = [line for line in lines if line.startswith("| row")]
    frequent, rare = f"83.0 ± 1.0 | +3.0 ± {reach:.1f}", f"50.0 ± 11.0 | +10.0 ± {reach:.1f}"
    assert frequent in line
    assert rare in line
    assert line.count("±") == 8
    assert "| s | 80.0 ± 0.0 | – | 40.0 ± 10.0 | – |" in "\n".join(lines)
    assert "the 4 comparisons of this table are a family of their own" in lines[-1]
    assert "## Frequent and rare classes" in markdown(board)


def test_a_table_without_a_long_tail_or_classes_has_no_halves() -> None:
    plain = {"data": {"name": "digits"}}
    recall = [0.9, 0.8, 0.7, 0.4, 0.2]
    without = [scored("s", seed, recall, recall, **plain) for seed in range(3)]
    assert halves(build_leaderboard("t", without, [])) == []
    old = [record("s", seed, {"map@r": 0.5}, **TAIL) for seed in range(3)]
    assert halves(build_leaderboard("t", old, [])) == []
