"""The rules of the evaluation where held-out items select weights: groups, junk, several labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from stt_bench.benchmark.config.evaluation_section import EvaluationConfig
from stt_bench.benchmark.datasets.rule_columns import group_codes, junk_flags, labels_apart
from stt_bench.benchmark.system.errors import RefusedError
from stt_bench.evaluation import NoPositiveError, retrieval_scores


def ruled(array: np.ndarray, frame: pd.DataFrame, config: EvaluationConfig) -> dict[str, Any]:
    """Return the arguments of `retrieval_scores` for items and their rows of the item table.

    Raises:
        BenchError: see `junk_flags`.
    """
    if config.junk is not None:
        cells, ids = frame[config.junk].tolist(), frame["path"].tolist()
        kept = ~junk_flags(config.junk, cells, ids)
        array, frame = array[kept], frame[kept]
    labels = labels_apart(frame["label"].to_numpy(str), config.label_separator)
    found: dict[str, Any] = {"embeddings": array, "labels": labels}
    if config.query_groups is not None:
        found["query_groups"] = group_codes(frame[config.query_groups].to_numpy(str))
        found["groups_apply_to"] = config.groups_apply_to
    return found


def check_positives(frame: pd.DataFrame, config: EvaluationConfig, part: str) -> None:
    """Check that the rules leave some held-out query a positive.

    Args:
        frame: the rows of the held-out items.
        config: with the rules.
        part: what holds them out, for the message.

    Raises:
        BenchError: they leave none.
    """
    if not (config.columns or config.label_separator):
        return
    try:
        sets = ruled(np.zeros((len(frame), 1)), frame, config)
        retrieval_scores(**sets, ks=(1,), metrics=("recall",))
    except NoPositiveError:
        named = ", ".join(config.columns) or "label_separator"
        raise RefusedError(
            f"{part}: under the rules of the evaluation ({named}) no held-out item has a positive: "
            "fill these columns for training items too, leave them empty there, or raise "
            "data.validation"
        ) from None
