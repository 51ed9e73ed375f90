"""Columns that say of each item whether it is of one split: `is_train`, `is_validation`, `is_test`.

An item is of the split whose flag is true. Where none is, it is of train, or, where `is_train` says
that it is not, of test.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.text import one_line

SPLIT_FLAGS: Mapping[str, str] = {
    "is_train": "train",
    "is_validation": "validation",
    "is_test": "test",
}
"""The names of the columns, and the splits they tell of."""
WORDS: Mapping[str, bool] = {
    **dict.fromkeys(("true", "1", "1.0", "yes"), True),
    **dict.fromkeys(("false", "0", "0.0", "no"), False),
}
"""How yes and no are written; capitals do not count."""


def without_flags(file: Path, frame: pd.DataFrame) -> pd.DataFrame:
    """Return a list with the column split in place of its flags; one that it has agrees with them.

    Raises:
        BenchError: a flag is no word of `WORDS`, several are true of an item, none is where every
            split has one, or the column split says otherwise.
    """
    names = [name for name in SPLIT_FLAGS if name in frame]
    if not names:
        return frame
    flags = pd.DataFrame({name: _read(file, frame[name]) for name in names})
    rest = frame.drop(columns=names)
    several = flags.index[flags.sum(axis=1) > 1]
    if len(several):
        shown = " and ".join(name for name in names if flags.at[several[0], name])
        raise BenchError(
            f"{file}:{several[0]}: {shown} are true of one item: an item is of one split, so leave "
            "one of them true, or rename the columns"
        )
    split = pd.Series(index=flags.index, dtype=object)
    for name in names:
        split[flags[name]] = SPLIT_FLAGS[name]
    if "split" in rest:
        _check_agreement(file, rest["split"], flags)
        return rest
    left = [one for name, one in SPLIT_FLAGS.items() if name not in names]
    default = next((one for one in ("train", "test") if one in left), None)
    neither = split.isna()
    if neither.any() and default is None:
        raise BenchError(
            f"{file}:{neither.idxmax()}: none of {', '.join(names)} is true: make one of them "
            "true, or give a column split"
        )
    return rest.assign(split=split.fillna(default))


def _read(file: Path, cells: pd.Series) -> pd.Series:
    meant = cells.str.lower().map(WORDS)
    wrong = cells[meant.isna()]
    if len(wrong):
        raise BenchError(
            f"{file}:{wrong.index[0]}: {cells.name} '{one_line(wrong.iloc[0], 60)}' is not valid: "
            "write true or false (or 1 or 0), or rename the column if it tells of no split"
        )
    return meant.astype(bool)


def _check_agreement(file: Path, split: pd.Series, flags: pd.DataFrame) -> None:
    """Refuse flags that say otherwise than the column split; validation may count as training."""
    for name in filter(flags.__contains__, SPLIT_FLAGS):
        wrong = flags[name] != (split == SPLIT_FLAGS[name])
        if name == "is_train":
            wrong &= split != "validation"
        if wrong.any():
            at = int(wrong.to_numpy().argmax())
            raise BenchError(
                f"{file}:{split.index[at]}: the split is '{split.iloc[at]}', and {name} is "
                f"{str(flags[name].iloc[at]).lower()}: leave one of the two columns, or mend them"
            )
