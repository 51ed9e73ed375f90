"""data.long_tail: sizes against the formula by hand, nested choice, aligned arrays, the record."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.config.sections import DataConfig
from stt_bench.benchmark.datasets import load_items
from stt_bench.benchmark.datasets.long_tail import long_tail
from stt_bench.benchmark.store.protocol import fingerprint, protocol_of
from stt_bench.benchmark.system.errors import BenchError


def table(**sizes: int) -> pd.DataFrame:
    """Train classes of these sizes, their items mixed, and three test items."""
    rows = [(f"{c}{i}", c, "train", "both") for i in range(99) for c in sizes if i < sizes[c]]
    rows += [(f"t{i}", "a", "test", "both") for i in range(3)]
    return pd.DataFrame(rows, columns=["path", "label", "split", "role"])


def sizes_after(frame: pd.DataFrame, factor: float) -> dict[str, int]:
    kept = frame[long_tail(frame, factor)]
    return kept.loc[kept["split"] == "train", "label"].value_counts().to_dict()


@pytest.mark.parametrize(
    ("sizes", "factor", "expected"),
    [
        # 80 · 16^(0, −1/4, −2/4, −3/4, −1)
        (dict.fromkeys("abcde", 80), 16.0, {"a": 80, "b": 40, "c": 20, "d": 10, "e": 5}),
        ({"b": 80, "a": 80}, 4.0, {"a": 80, "b": 20}),  # by label, not by place
        ({"a": 80, "b": 7, "c": 80}, 4.0, {"a": 80, "b": 7, "c": 20}),  # never more than there are
        ({"a": 3, "b": 30, "c": 30}, 4.0, {"a": 3, "b": 15, "c": 8}),  # of the largest; 7.5 → 8
        ({"a": 10, "b": 10}, 1000.0, {"a": 10, "b": 1}),  # at least one
    ],
)
def test_sizes(sizes, factor, expected):
    frame = table(**sizes)
    assert sizes_after(frame, factor) == expected
    assert long_tail(frame, factor)[-3:].all()  # the test items


def test_a_larger_factor_keeps_a_part_and_always_the_same():
    frame = table(**dict.fromkeys("abcd", 60))
    kept = [long_tail(frame, factor) for factor in (1.5, 4.0, 4.0, 50.0)]
    assert (kept[1] == kept[2]).all()
    for more, fewer in pairwise(kept):
        assert (more | ~fewer).all()
    # the choice of a class does not depend on the others, and is not simply its first items
    chosen = {path for path in frame["path"][kept[1]] if path.startswith("d")}
    fewer_classes = table(a=60, d=60)
    alone = fewer_classes["path"][long_tail(fewer_classes, 4.0)]
    assert chosen == {path for path in alone if path.startswith("d")}
    assert len(chosen) == 15
    assert chosen != {f"d{number}" for number in range(15)}


def test_groups_stay_or_go_as_a_whole():
    frame = table(a=40, b=40)
    clip = frame["label"] + frame["path"].str[1:].astype(int).floordiv(4).astype(str)
    frame = frame.assign(group=clip.where(frame["split"] == "train", frame["path"]))
    kept = frame[long_tail(frame, 5.0)]
    assert kept["group"].value_counts()[kept.loc[kept["split"] == "train", "group"]].eq(4).all()
    assert kept.groupby("label")["group"].nunique().to_dict() == {"a": 10 + 3, "b": 2}


def items_of(name: str, factor: float | None, **where):
    return load_items(DataConfig(name=name, task="classification", long_tail=factor, **where))


def test_arrays_stay_beside_their_rows():
    whole, tail = items_of("digits", None), items_of("digits", 20.0)
    assert len(tail.frame) == len(tail.arrays) < len(whole.frame)
    for row in range(0, len(tail.frame), 37):
        pixels = np.asarray(whole.read(tail.frame["path"][row]))
        np.testing.assert_array_equal(tail.arrays[row], pixels)
        np.testing.assert_array_equal(np.asarray(tail.read(tail.frame["path"][row])), pixels)
    assert tail.split("test").equals(whole.split("test"))
    assert len({whole.data_hash, tail.data_hash, items_of("digits", 10.0).data_hash}) == 3
    assert items_of("digits", 20.0).data_hash == tail.data_hash


def test_files(tmp_path, save):
    for label in "abc":
        for number in range(10):
            save(tmp_path / label / f"{number}.png", seed=number)
    tail = items_of("images", 8.0, root=str(tmp_path))
    assert tail.split("train")["label"].value_counts().to_dict() == {"a": 8, "b": 3, "c": 1}
    assert len(tail.split("test")) == 6
    assert tail.arrays is None


def test_refusals(tmp_path, save):
    for name in ("train/a/1", "test/b/1", "test/b/2", "test/c/1"):
        save(tmp_path / f"{name}.png")
    with pytest.raises(BenchError, match="needs two training classes or more, and there is one"):
        load_items(DataConfig(name="images", root=str(tmp_path), long_tail=2.0))
    for factor in (1.0, 0.5, float("inf")):
        with pytest.raises(ValueError, match="long_tail"):
            DataConfig(name="digits", long_tail=factor)


def test_it_is_part_of_digest_and_protocol_only_where_it_is_set():
    plain = Experiment.model_validate({"data": {"name": "digits"}, "loss": "softmax"})
    same = plain.model_validate({"data": {"name": "digits", "long_tail": None}, "loss": "softmax"})
    tail = plain.model_validate({"data": {"name": "digits", "long_tail": 10}, "loss": "softmax"})
    assert same.digest() == plain.digest()
    assert tail.digest() != plain.digest()
    assert tail.training_digest() != plain.training_digest()
    facts = {"data_hash": "d", "initial_weights": "none", "embedding_dim": 2}
    assert "long_tail" not in protocol_of(plain, **facts)
    assert protocol_of(tail, **facts)["long_tail"] == 10.0
    assert fingerprint(protocol_of(tail, **facts)) != fingerprint(protocol_of(plain, **facts))
