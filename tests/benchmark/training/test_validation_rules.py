"""Weights and settings are selected by the rules that the test is measured by."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.training.validation import value_of
from stt_bench.benchmark.training.validation_rules import check_positives

FRAME = pd.DataFrame(
    {
        "path": [f"{i}.jpg" for i in range(6)],
        "label": ["a", "a", "a", "b", "b", "b"],
        "camera": ["1", "1", "2", "1", "1", "2"],
        "bad": ["", "", "", "", "", "yes"],
    }
)
# What one camera sees of a class is together; the junk lies between the two views of the other.
ANGLES = np.radians([0, 2, 30, 61, 63, 20])
POINTS = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1).astype(np.float32)


def experiment(**rules: Any) -> Experiment:
    return Experiment.model_validate(
        {
            "data": {"name": "digits", "task": "retrieval"},
            "loss": {"name": "softmax"},
            "evaluation": {"clustering": False, **rules},
        }
    )


def value(**rules: Any) -> float:
    return value_of(experiment(**rules), POINTS, FRAME, ["a", "b"], normalize=True)


def expected(*, cameras: bool, junk: bool) -> float:
    """Return MAP@R by a plain loop."""
    kept = [i for i in range(6) if not (junk and FRAME["bad"][i])]
    scores = []
    for i in kept:
        same = [
            j
            for j in kept
            if FRAME["label"][j] == FRAME["label"][i] and FRAME["camera"][j] == FRAME["camera"][i]
        ]
        gone = set(same) if cameras else {i}
        ranked = sorted(set(kept) - gone, key=lambda j: abs(ANGLES[j] - ANGLES[i]))
        hits = [FRAME["label"][j] == FRAME["label"][i] for j in ranked]
        if positives := sum(hits):
            found = [sum(hits[: r + 1]) / (r + 1) for r in range(positives) if hits[r]]
            scores.append(sum(found) / positives)
    return float(np.mean(scores))


def test_cameras_and_junk_count_in_validation() -> None:
    assert value() == pytest.approx(expected(cameras=False, junk=False))
    ruled = value(query_groups="camera")
    assert ruled == pytest.approx(expected(cameras=True, junk=False))
    assert ruled < value()
    both = value(query_groups="camera", junk="bad")
    assert both == pytest.approx(expected(cameras=True, junk=True))
    assert both != ruled


def test_held_out_items_that_the_rules_leave_nothing_to_find_are_told() -> None:
    check_positives(FRAME, experiment(query_groups="camera").evaluation, "data.validation")
    one = FRAME.assign(camera="1")
    check_positives(one, experiment().evaluation, "data.validation")
    with pytest.raises(BenchError, match=r"data.validation: under the rules .* \(camera\) no held"):
        check_positives(one, experiment(query_groups="camera").evaluation, "data.validation")
    empty = FRAME.assign(camera="")  # as for training items of which no camera is known
    check_positives(empty, experiment(query_groups="camera").evaluation, "data.validation")


def test_a_training_is_another_where_its_weights_are_selected_by_another_rule() -> None:
    def digest(every: int | None, **rules: Any) -> str:
        one = experiment(**rules)
        train = one.train.model_copy(update={"validate_every": every})
        return one.model_copy(update={"train": train}).training_digest()

    assert digest(None, query_groups="camera") == digest(None)
    assert digest(5, rerank={"k1": 5}) == digest(5)
    assert digest(5, query_groups="camera") != digest(5)
