"""The official layouts, against other readers of the same files, and lists with mistakes."""

import numpy as np
import pandas as pd
import pytest
import torchvision.datasets as tv
from dataset_miniatures import lift_counts
from pytorch_metric_learning.datasets.sop import StanfordOnlineProducts

from stt_bench.benchmark.datasets.catalog import find_dataset
from stt_bench.benchmark.system.errors import BenchError


def sizes(frame: pd.DataFrame) -> dict[str, int]:
    return frame["label"].value_counts().to_dict()


# Against other readers of the same files.


def rows(items, split: str) -> list[tuple[str, str]]:
    """Return (absolute path, label) of a split."""
    folder, frame = items.read.__self__.root, items.split(split)
    return [
        (str(folder / path), label)
        for path, label in zip(frame["path"], frame["label"], strict=True)
    ]


def test_aircraft_is_torchvisions(load, mini):
    root = mini("aircraft")
    items = load("aircraft", root, "classification")
    for split, theirs in (("train", "trainval"), ("test", "test")):
        other = tv.FGVCAircraft(root, theirs)
        labels = [other.classes[label] for label in other._labels]
        assert rows(items, split) == list(zip(other._image_files, labels, strict=True))
    assert "F/A-18" in items.classes
    assert "Global Express" in items.classes


def test_flowers_are_torchvisions(load, mini, monkeypatch):
    root = mini("flowers102")
    items = load("flowers102", root, "classification")
    monkeypatch.setattr(tv.flowers102, "check_integrity", lambda *args: True)
    for split, parts in (("train", ("train", "val")), ("test", ("test",))):
        theirs = []
        for other in (tv.Flowers102(root, part) for part in parts):
            labels = [f"{label + 1:03}" for label in other._labels]
            theirs += zip(map(str, other._image_files), labels, strict=True)
        assert rows(items, split) == theirs
    assert len(rows(items, "train")) == 64


def test_flowers_for_retrieval_are_split_by_the_number_of_the_class(load, mini):
    root = mini("flowers102")
    order = np.random.default_rng(0).permutation(128)  # as the miniature is written
    expected: dict[str, list[tuple[str, str]]] = {"train": [], "test": []}
    for image, place in enumerate(order, 1):
        path = str(root / "flowers-102" / "jpg" / f"image_{image:05}.jpg")
        number = place // 8 + 1  # 16 classes of 8 images
        expected["train" if number <= 8 else "test"].append((path, f"{number:03}"))
    items = load("flowers102", root, "retrieval")
    assert {split: rows(items, split) for split in expected} == expected


def test_products_are_metric_learnings(load, mini):
    root = mini("sop")
    items = load("sop", root)
    for split in ("train", "test"):
        other = StanfordOnlineProducts(str(root), split)
        assert rows(items, split) == list(
            zip(other.paths, [f"{n:05}" for n in other.labels], strict=True)
        )
    assert items.classes == [f"0000{n}" for n in range(1, 9)]


def test_dogs_are_those_of_the_lists(load, mini):
    root = mini("dogs")
    items = load("dogs", root, "classification")
    assert items.classes[0] == "n02085620-Breed_O"  # by number, not by name
    assert items.frame.iloc[0].tolist() == [
        "Images/n02085620-Breed_O/n02085620_1.jpg",
        "n02085620-Breed_O",
        "train",
        "both",
    ]
    (root / "lists").mkdir()
    for file in root.glob("*.mat"):
        file.rename(root / "lists" / file.name)
    assert load("dogs", root, "classification").frame.equals(items.frame)
    assert sizes(items.split("test")) == dict.fromkeys(items.classes, 4)


def test_nabirds(load, mini):
    root = mini("nabirds")
    items = load("nabirds", root / "nabirds", "classification")
    assert len(items.classes) == 16
    assert items.classes[:3] == [  # two share a name, and the hierarchy's are not there
        "0291 Bird number 0 (Adult male)",
        "0292 Bird number 1 (Adult male)",
        "0293 Bird number 1 (Adult male)",
    ]
    assert items.frame.iloc[1].tolist() == [
        "images/0291/0000000221dc4d0cbfe14cae3c85c829.jpg",
        "0291 Bird number 0 (Adult male)",
        "test",
        "both",
    ]
    assert load("nabirds", root, "classification").data_hash == items.data_hash


def test_cub200_trains_on_the_first_half_by_number(load, mini):
    root = mini("cub200")
    items = load("cub200", root)
    assert items.classes == [f"00{c}.Bird_{chr(80 - c)}" for c in range(1, 9)]
    assert sizes(items.split("test")) == {f"{c:03}.Bird_{chr(80 - c)}": 8 for c in range(9, 17)}
    official = load("cub200", root, "classification")
    assert official.split("train")["path"].str.contains(r"Bird_000[0246]_").all()
    assert official.split("test")["path"].str.contains(r"Bird_000[1357]_").all()


def test_aircraft_retrieval_halves_the_variants_by_name(load, mini):
    items = load("aircraft", mini("aircraft"))
    names = sorted(set(items.frame["label"]))
    assert items.classes == names[:8]
    assert sizes(items.frame) == dict.fromkeys(names, 8)


# In-Shop.


def test_inshop_roles(load, mini):
    root = mini("inshop")
    items = load("inshop", root)
    train, test = items.split("train"), items.split("test")
    assert set(train["label"]) == {f"id_{c:08}" for c in range(1, 17, 2)}
    assert set(test["label"]) == {f"id_{c:08}" for c in range(2, 17, 2)}
    assert set(train["role"]) == {"both"}
    expected = ["gallery" if int(path[-13]) % 2 else "query" for path in test["path"]]
    assert test["role"].tolist() == expected
    assert expected.count("query") == 32


def test_inshop_merged_differs_in_the_roles_alone(load, mini, monkeypatch):
    root = mini("inshop")
    lift_counts(monkeypatch, "inshop_merged")
    apart, merged = load("inshop", root), load("inshop_merged", root)
    assert set(merged.frame["role"]) == {"both"}
    assert merged.frame.assign(role=apart.frame["role"]).equals(apart.frame)
    assert merged.data_hash != apart.data_hash


def test_inshop_without_the_official_folders(load, mini):
    root = mini("inshop")
    expected = load("inshop", root)
    (root / "Eval" / "list_eval_partition.txt").rename(root / "list_eval_partition.txt")
    (root / "Eval").rmdir()
    (root / "Img" / "img").rename(root / "img")
    (root / "Img").rmdir()
    assert load("inshop", root).data_hash == expected.data_hash


# Lists with mistakes.


@pytest.mark.parametrize(
    ("name", "file", "line", "text", "message"),
    [
        (
            "sop",
            "*/Ebay_train.txt",
            3,
            "2 1 1",
            r"Ebay_train.txt:3: '2 1 1' is not a line 'image_id ",
        ),
        ("sop", "*/Ebay_test.txt", 2, "9 9 1 gone.JPG", r"1 of 128 image files do not .*gone.JPG"),
        (
            "inshop",
            "Eval/*.txt",
            5,
            "img/x.jpg train",
            r"partition.txt:5: 'img/x.jpg train' is not a",
        ),
        (
            "inshop",
            "Eval/*.txt",
            5,
            "img/x.jpg id_7 tran",
            r"img/x.jpg has the status 'tran', not o",
        ),
        (
            "aircraft",
            "*/*/images_variant_test.txt",
            4,
            "12",
            r"_test.txt:4: '12' is not a line 'imag",
        ),
        ("nabirds", "*/classes.txt", 3, "x Owl", r"classes.txt:3: 'x Owl' is not a new number and"),
    ],
)
def test_bad_lines(load, mini, name, file, line, text, message):
    root = mini(name)
    (path,) = root.glob(file)
    lines = path.read_text().splitlines()
    lines[line - 1] = text
    path.write_text("\n".join(lines))
    with pytest.raises(BenchError, match=message):
        load(name, root, find_dataset(name).tasks[-1])


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("sop", "*/Ebay_test.txt"),
        ("inshop", "Eval/list_eval_partition.txt"),
        ("aircraft", "*/*/images_variant_trainval.txt"),
        ("nabirds", "*/images.txt"),
        ("cub200", "*/images.txt"),
    ],
)
@pytest.mark.parametrize("damage", ["missing", "empty", "binary"])
def test_damaged_lists(load, mini, name, file, damage):
    root = mini(name)
    (path,) = root.glob(file)
    message = rf"{path.name} cannot be read \("
    if damage == "missing":
        path.unlink()
    elif damage == "binary":
        path.write_bytes(b"\xff\xfe\x00" * 9)
    else:
        path.write_bytes(b"")
        message = rf"{path.name} lists nothing|there are no train items"
    for task in find_dataset(name).tasks:
        with pytest.raises(BenchError, match=message):
            load(name, root, task)
