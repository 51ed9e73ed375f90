import numpy as np
import pytest
from sklearn.datasets import load_digits

from stt_bench.benchmark.system.errors import BenchError


def test_retrieval_halves_the_classes(load):
    items = load("digits")
    assert set(items.split("train")["label"]) == set("01234")
    assert set(items.split("test")["label"]) == set("56789")
    assert set(items.frame["role"]) == {"both"}
    assert len(items.frame) == 1797


def test_classification_tests_the_last_fifth_of_every_class(load):
    frame = load("digits", task="classification").frame
    for label, group in frame.groupby("label"):
        n = len(group)
        assert group["split"].tolist() == ["train"] * (n - n // 5) + ["test"] * (n // 5), label


def test_pixels_span_the_bytes(load):
    items = load("digits")
    bunch = load_digits()
    assert items.arrays.dtype == np.uint8
    assert (items.arrays.min(), items.arrays.max()) == (0, 255)
    np.testing.assert_allclose(items.arrays / 255, bunch.images / 16, atol=0.5 / 255)
    assert items.frame["label"].tolist() == [str(digit) for digit in bunch.target]
    np.testing.assert_array_equal(np.asarray(items.read("0007")), items.arrays[7])


def test_the_hash_covers_the_split(load):
    assert load("digits").data_hash == load("digits").data_hash
    assert load("digits").data_hash != load("digits", task="classification").data_hash


def test_a_root_is_refused(load, tmp_path):
    with pytest.raises(BenchError, match=r"comes with scikit-learn: leave out data.root"):
        load("digits", tmp_path)
