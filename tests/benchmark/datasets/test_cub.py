import numpy as np
import pytest
from PIL import Image

from stt_bench.benchmark.datasets.sources.cub import read_cub_index
from stt_bench.benchmark.system.errors import BenchError


def test_retrieval_halves_the_classes(load, mini_cub):
    items = load("cub50", mini_cub)
    assert items.split("train")["label"].unique().tolist() == ["001.Albatross", "002.Auklet"]
    assert items.split("test")["label"].unique().tolist() == ["003.Blackbird", "004.Bunting"]
    first = items.frame["path"][0]
    assert first == "images/001.Albatross/Albatross_3.jpg"  # the order of images.txt
    expected = np.asarray(Image.open(mini_cub / "CUB_200_2011" / first))
    np.testing.assert_array_equal(np.asarray(items.read(first)), expected)


def test_classification_is_the_official_split(load, mini_cub):
    items = load("cub50", mini_cub / "CUB_200_2011", "classification")
    assert set(items.split("train")["path"].str[-5]) == {"3"}
    assert set(items.split("test")["path"].str[-5]) == {"1", "2"}


def test_only_the_classes_of_classes_txt(load, mini_cub, expect):
    expect("cub50", "classification", 2, 4, 2, 2)
    classes = mini_cub / "CUB_200_2011" / "classes.txt"
    classes.write_text("2 002.Auklet\n4 004.Bunting\n")
    items = load("cub50", mini_cub, "classification")
    assert items.frame["label"].unique().tolist() == ["002.Auklet", "004.Bunting"]


def test_numbers_sort_as_numbers(mini_cub, load, expect):
    folder = mini_cub / "CUB_200_2011"
    expect("cub50", "retrieval", 6, 6, 2, 2)
    renumbered = {"1": "10", "2": "9", "3": "1", "4": "2"}
    for name, column in (("classes", 0), ("image_class_labels", 1)):
        file = folder / f"{name}.txt"
        rows = [line.split() for line in file.read_text().splitlines()]
        for row in rows:
            row[column] = renumbered[row[column]]
        file.write_text("\n".join(" ".join(row) for row in rows))
    trained = load("cub50", mini_cub).split("train")["label"]
    assert set(trained) == {"003.Blackbird", "004.Bunting"}


def edit(mini_cub, name, line, text):
    file = mini_cub / "CUB_200_2011" / f"{name}.txt"
    lines = file.read_text().splitlines()
    lines[line - 1 : line] = [] if text is None else [text]
    file.write_text("\n".join(lines))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("images", "x a.jpg", r"labels.txt has no line for image x \(a.jpg\)"),
        ("images", "2", r"images.txt:2: '2' is not a new number and a value"),
        ("classes", "x 002.Auklet", r"classes.txt:2: 'x 002.Auklet' is not a new number and a"),
        ("images", "1 a.jpg", r"images.txt:2: '1 a.jpg' is not a new number"),
        ("classes", "2", r"classes.txt:2: '2' is not a new number and a value"),
        ("image_class_labels", None, r"labels.txt has no line for image 2 \(001.Albatross/Al"),
        ("train_test_split", None, r"train_test_split.txt has no line for image 2"),
        ("images", "2 001.Albatross/gone.jpg", r"1 of 12 image files do not exist.*gone.jpg"),
    ],
)
def test_errors_in_the_index(load, mini_cub, name, text, message):
    edit(mini_cub, name, 2, text)
    with pytest.raises(BenchError, match=message):
        load("cub50", mini_cub)


def test_missing_index_and_wrong_counts(load, mini_cub, expect):
    expect("cub50", "retrieval", 1402, 1487, 25, 25)
    with pytest.raises(BenchError, match=r"expected 1402 train images of 25 classes .* found 6"):
        load("cub50", mini_cub)
    (mini_cub / "CUB_200_2011" / "images.txt").unlink()
    with pytest.raises(BenchError, match=r"images.txt cannot be read"):
        load("cub50", mini_cub)


@pytest.mark.data
def test_the_real_copy(real):
    items = real("cub50")
    assert items.classes[0] == "001.Black_footed_Albatross"
    assert min(items.read(items.frame["path"][0]).size) == 160
    official = real("cub50", "classification")
    assert official.split("train")["label"].nunique() == 50
    folder = official.read.__self__.root
    assert read_cub_index(folder)["is_train"].sum() == 1500
