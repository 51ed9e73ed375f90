from itertools import pairwise

import numpy as np
import pytest

from stt_bench.benchmark.datasets.bundled import make_omniglot_mini as script
from stt_bench.benchmark.system.errors import BenchError


def coverage(drawing: np.ndarray) -> np.ndarray:
    """Return the share of ink of each 28 x 28 pixel, by the overlap of its edges with the 105."""
    edges = np.arange(29) * 105 / 28
    overlap = np.array(
        [
            [max(0.0, min(high, i + 1) - max(low, i)) for i in range(105)]
            for low, high in pairwise(edges)
        ]
    ) * (28 / 105)
    return overlap @ drawing @ overlap.T


def test_classes_and_alphabets_are_disjoint_and_have_20_drawings(load):
    items = load("omniglot_mini")
    sizes = items.frame.groupby(["split", "label"]).size()
    assert sizes.unique().tolist() == [20]
    assert sizes.groupby("split").size().to_dict() == {"train": 100, "test": 100}
    train, test = (
        {label.partition("/")[0] for label in items.split(s)["label"]} for s in ("train", "test")
    )
    assert (len(train), len(test)) == (30, 20)
    assert not train & test


def test_drawings_are_dark_on_white(load):
    items = load("omniglot_mini")
    assert items.arrays.shape == (4000, 28, 28)
    assert np.unique(items.arrays).tolist() == [0, 255]
    assert ((items.arrays == 0).sum((1, 2)) >= 4).all()
    assert (items.arrays == 0).mean() < 0.2
    path = items.frame["path"][1234]
    np.testing.assert_array_equal(np.asarray(items.read(path)), items.arrays[1234])


def test_a_root_is_refused(load, tmp_path):
    with pytest.raises(BenchError, match=r"comes with stt-bench: leave out data.root"):
        load("omniglot_mini", tmp_path)


@pytest.mark.data
def test_the_bundled_drawings_are_omniglots(load, real):
    """Characters by the stated rule, pixels by areas summed up in float64."""
    items, whole = load("omniglot_mini"), real("omniglot")
    for split, count in (("train", 964), ("test", 659)):
        all_labels = sorted(set(whole.split(split)["label"]))
        assert len(all_labels) == count
        expected = [all_labels[i * count // 100] for i in range(100)]
        assert items.split(split)["label"].drop_duplicates().tolist() == expected
    for number in range(0, 4000, 401):
        label, drawer = items.frame["path"][number].rsplit("/", 1)
        found = whole.frame[whole.frame["label"] == label]["path"]
        (path,) = [path for path in found if path.endswith(f"_{drawer}.png")]
        drawing = whole.read(path)
        ink = items.arrays[number] == 0
        np.testing.assert_array_equal(ink, coverage(~np.asarray(drawing)) >= 0.2 - 1e-12)
        np.testing.assert_array_equal(ink, script.shrink(drawing))
