"""What every item table must satisfy, whichever dataset it comes from."""

from __future__ import annotations

import hashlib
import json
import math
import re
from pathlib import Path

import pandas as pd

from stt_bench.benchmark.config.sections import Task
from stt_bench.benchmark.datasets.catalog import Dataset, counts_of
from stt_bench.benchmark.system.errors import RefusedError
from stt_bench.benchmark.system.text import one_line

COLUMNS = ("path", "label", "split", "role")
GROUP = "group"  # optional: rows of one group are embedded one by one and averaged
WEIGHT = "weight"  # optional: how much a training item counts in the loss, a number from 0
RESERVED = {*COLUMNS, GROUP, WEIGHT, "id", "vector"}  # columns that no metadata may be called
_SPLITS = ("train", "validation", "test")
_VALUES = {"split": _SPLITS, "role": ("query", "gallery", "both")}
_UNWRITABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def check_item_table(
    dataset: Dataset, task: Task, frame: pd.DataFrame, root: Path | None = None
) -> None:
    """Raise a BenchError at the first rule that the table breaks."""
    official = "split" in frame and (frame["split"] == "validation").any()
    problem = (
        _columns(frame)
        or _weights(frame)
        or _duplicates(frame)
        or _groups(frame)
        or _counts(dataset, task, frame, root)
        or _classes(task, frame)
        or (_validation(task, frame) if official else None)
        or (_positives(frame) if task == "retrieval" else None)
    )
    if problem:
        raise RefusedError(f"dataset '{dataset.name}', task {task}: {problem}")


def columns_of(frame: pd.DataFrame) -> list[str]:
    """Return the columns of an item table that have a meaning, those that it has."""
    return [*COLUMNS, *(column for column in (GROUP, WEIGHT) if column in frame)]


def metadata_of(frame: pd.DataFrame) -> list[str]:
    """Return the further columns of an item table: what is known of the items, such as a camera.

    They are no part of the data hash: nothing is trained on them.
    """
    return [column for column in frame.columns if column not in RESERVED]


def metadata_hash(frame: pd.DataFrame) -> str | None:
    """Return the sha256 of the metadata columns and their names; None where there are none."""
    columns = [[column, *frame[column]] for column in sorted(metadata_of(frame))]
    return hashlib.sha256(json.dumps(columns).encode()).hexdigest() if columns else None


def as_metadata(values: pd.Series) -> pd.Series:
    """Return values of any kind as single lines of text; a missing one is empty."""
    return values.map(_as_text).astype(object)


def _as_text(value: object) -> str:
    if value is None or value is pd.NA or value is pd.NaT or value != value:  # NaN
        return ""
    whole = isinstance(value, float) and value.is_integer()
    return one_line(str(int(value) if whole else value))  # type: ignore[call-overload]


def _words_of(frame: pd.DataFrame) -> list[str]:
    return [column for column in columns_of(frame) if column != WEIGHT]


def _columns(frame: pd.DataFrame) -> str | None:
    missing = [column for column in COLUMNS if column not in frame]
    if missing:
        return f"the item table has no column '{missing[0]}': it needs {', '.join(COLUMNS)}"
    for column in _words_of(frame):
        odd = [value for value in frame[column] if not isinstance(value, str) or not value]
        if odd:
            return f"column '{column}' holds {odd[0]!r}: all values are non-empty strings"
    problem = unwritable(frame)
    if problem:
        return problem
    for column, valid in _VALUES.items():
        wrong = set(frame[column]) - set(valid)
        if wrong:
            return f"column '{column}' holds '{min(wrong)}': valid are {', '.join(valid)}"
    for split in ("train", "test"):
        if not (frame["split"] == split).any():
            return f"there are no {split} items: both splits are needed"
    if (frame.loc[frame["split"] == "train", "role"] != "both").any():
        return "a train item has a role: query and gallery belong to the test split"
    return None


def unwritable(frame: pd.DataFrame) -> str | None:
    """Say which names and labels could not be written as a line of text and read again.

    These are names that are not UTF-8, which Python holds with surrogates, and control characters.
    """
    for column in _words_of(frame):
        odd = [value for value in frame.get(column, ()) if _UNWRITABLE.search(value)]
        if odd:
            decoded = not any("\ud800" <= letter <= "\udfff" for letter in odd[0])
            what = "holds a control character" if decoded else "is not UTF-8"
            return f"the {column} {odd[0]!a} {what} ({len(odd)} such): rename it"
    return None


def _weights(frame: pd.DataFrame) -> str | None:
    if WEIGHT not in frame:
        return None
    weights = frame.loc[frame["split"] == "train", WEIGHT]
    odd = [
        value for value in weights if not (isinstance(value, int | float) and 0 <= value < math.inf)
    ]
    if odd:
        return f"a train item has the weight {odd[0]!r}: it is a finite number from 0"
    return None if (weights > 0).any() else "every train item has the weight 0: leave weights out"


def listed_twice(frame: pd.DataFrame) -> str | None:
    """Say which images a list names more than once, and whether under several labels."""
    paths = frame.loc[frame.duplicated("path"), "path"]
    if paths.empty:
        return None
    labels = frame[frame["path"].isin(set(paths))].groupby("path")["label"].nunique()
    path = str(labels.idxmax())
    several = int((labels > 1).sum())
    how = f", {several:,} under different labels" if several else ""
    return f"{path} is listed twice ({len(labels):,} such{how}): list every image once"


def _duplicates(frame: pd.DataFrame) -> str | None:
    repeated = frame.loc[frame.duplicated("path"), "path"]
    if repeated.empty:
        return None
    path = repeated.iloc[0]
    splits = frame.loc[frame["path"] == path, "split"]
    where = "in train and in test" if splits.nunique() > 1 else f"twice in {splits.iloc[0]}"
    return f"{path} is {where} ({len(repeated)} such): list every image once"


def _groups(frame: pd.DataFrame) -> str | None:
    if GROUP not in frame:
        return None
    for column in COLUMNS[1:]:
        kinds = frame.groupby(GROUP)[column].nunique()
        if (kinds > 1).any():
            return f"group '{kinds.idxmax()}' has rows of {kinds.max()} {column}s: it needs one"
    return None


def _counts(dataset: Dataset, task: Task, frame: pd.DataFrame, root: Path | None) -> str | None:
    expected, found = dataset.counts.get(task), counts_of(frame)
    if expected is None or found == expected:
        return None
    place = f" in {root}" if root is not None else ""
    how_to_fix = dataset.get or "get a complete copy"
    return f"expected {expected}, found {found}{place}: {how_to_fix}"


def _classes(task: Task, frame: pd.DataFrame) -> str | None:
    train = set(frame.loc[frame["split"] == "train", "label"])
    test = set(frame.loc[frame["split"] == "test", "label"])
    if task == "retrieval" and train & test:
        return (
            f"class '{min(train & test)}' is in train and in test ({len(train & test)} such): "
            "retrieval tests unseen classes; for shared classes use task: classification"
        )
    if task == "classification" and test - train:
        return (
            f"test class '{min(test - train)}' has no train item ({len(test - train)} such): "
            "classification tests trained classes; for unseen classes use task: retrieval"
        )
    return None


def _validation(task: Task, frame: pd.DataFrame) -> str | None:
    """The data's own validation items ask what the test asks, and show nothing of it."""
    classes = {split: set(frame.loc[frame["split"] == split, "label"]) for split in _SPLITS}
    shared = classes["validation"] & classes["test"]
    if task == "retrieval" and shared:
        return (
            f"class '{min(shared)}' is in validation and in test ({len(shared)} such), so that "
            "weights would be selected on test classes: leave data.validation: official out"
        )
    new = classes["validation"] - classes["train"]
    if task == "classification" and new:
        return (
            f"validation class '{min(new)}' has no train item ({len(new)} such): leave "
            "data.validation: official out"
        )
    return None


def _positives(frame: pd.DataFrame) -> str | None:
    """Some query must have an item of its class, other than itself, among others to find."""
    test = frame[frame["split"] == "test"]
    if GROUP in test:
        test = test.drop_duplicates(GROUP)
    roles = pd.crosstab(test["label"], test["role"]).reindex(
        columns=["query", "gallery", "both"], fill_value=0
    )
    pairs = (roles["query"] + roles["both"]) * (roles["gallery"] + roles["both"]) - roles["both"]
    if not (pairs > 0).any():
        return "no test query has another item of its class to find: add test images of the classes"
    found = test.loc[test["role"] != "query", "label"]
    if found.nunique() == 1:
        return (
            f"all test items that can be found are of the class '{found.iloc[0]}', so that every "
            "metric is 100 whatever the network does: test on two classes or more"
        )
    return None
