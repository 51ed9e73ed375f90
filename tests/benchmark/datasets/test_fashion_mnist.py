import numpy as np
import pytest
import torchvision
from dataset_miniatures import FASHION_LABELS, fashion_pixels, write_fashion

from stt_bench.benchmark.system.errors import BenchError

NAMES = torchvision.datasets.FashionMNIST.classes


def test_classification_is_the_official_split(load, mini_fashion):
    items = load("fashion_mnist", mini_fashion, "classification")
    for split, part in (("train", "train"), ("test", "t10k")):
        rows = items.split(split)
        assert rows["label"].tolist() == [NAMES[label] for label in FASHION_LABELS[part]]
        for row in (0, 7):
            read = np.asarray(items.read(rows["path"][row]))
            np.testing.assert_array_equal(read, fashion_pixels(part)[row])
    expected = np.concatenate([fashion_pixels("train"), fashion_pixels("t10k")])
    np.testing.assert_array_equal(items.arrays, expected)


def test_retrieval_halves_the_classes(load, mini_fashion):
    items = load("fashion_mnist", mini_fashion)
    assert set(items.split("train")["label"]) == set(NAMES[:5])
    assert set(items.split("test")["label"]) == set(NAMES[5:])
    assert items.split("test")["path"][0] == "test/00005"
    np.testing.assert_array_equal(np.asarray(items.read("test/00005")), fashion_pixels("t10k")[5])
    np.testing.assert_array_equal(items.arrays[20], fashion_pixels("t10k")[5])


def test_the_hash_covers_the_pixels(load, mini_fashion):
    before = load("fashion_mnist", mini_fashion).data_hash
    file = mini_fashion / "FashionMNIST/raw/train-images-idx3-ubyte"
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.write_bytes(content)
    assert load("fashion_mnist", mini_fashion).data_hash != before


def test_wrong_counts(load, tmp_path):
    write_fashion(tmp_path)
    with pytest.raises(BenchError, match=r"expected 60000 train .* found 40 train images of 10"):
        load("fashion_mnist", tmp_path, "classification")


@pytest.mark.parametrize("damage", ["remove", "truncate", "label", "fewer"])
def test_broken_copies(load, mini_fashion, damage):
    raw = mini_fashion / "FashionMNIST/raw"
    images, labels = raw / "train-images-idx3-ubyte", raw / "train-labels-idx1-ubyte"
    content = labels.read_bytes()
    if damage == "remove":
        images.unlink()
    elif damage == "truncate":
        images.write_bytes(images.read_bytes()[:-100])
    elif damage == "label":
        labels.write_bytes(content[:-1] + b"\x0b")
    else:
        labels.write_bytes(content[:7] + b"\x27" + content[8:-1])
    with pytest.raises(BenchError, match=r"no Fashion-MNIST train images can be read from .*raw"):
        load("fashion_mnist", mini_fashion)


@pytest.mark.data
def test_the_real_copy(real):
    items = real("fashion_mnist", "classification")
    train = items.arrays[:60_000] / 255
    assert round(train.mean(), 4) == 0.2860
    assert round(train.std(), 4) == 0.3530
    assert items.split("train")["label"].value_counts().unique().tolist() == [6000]
    assert real("fashion_mnist").split("test")["label"].nunique() == 5
