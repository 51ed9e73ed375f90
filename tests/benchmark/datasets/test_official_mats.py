"""Datasets whose lists are MATLAB files: the layouts of Stanford Cars, and damaged files."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torchvision.datasets as tv
from dataset_miniatures import lift_counts, miniature
from mat_miniatures import (
    CAR_NAMES,
    cell,
    save_mat,
    structs,
    write_cars,
    write_cars_devkit,
    write_cars_folders,
)
from scipy.io import loadmat

from stt_bench.benchmark.datasets.sources.official import read_mat
from stt_bench.benchmark.system.errors import BenchError

LAYOUTS = {"car_ims": write_cars, "devkit": write_cars_devkit, "folders": write_cars_folders}


@pytest.fixture
def cars(tmp_path, monkeypatch):
    """Write the cars in a layout."""
    lift_counts(monkeypatch, "cars196")

    def build(layout: str):
        root = tmp_path / layout
        root.mkdir()
        LAYOUTS[layout](root)
        return root

    return build


def change(file: Path, edit: Callable[[dict], None]) -> None:
    """Edit the variables of a MATLAB file."""
    content = {name: value for name, value in loadmat(file).items() if not name.startswith("__")}
    edit(content)
    save_mat(file, content)


@pytest.mark.parametrize("task", ["retrieval", "classification"])
def test_all_layouts_have_the_same_images_labels_and_splits(load, cars, task):
    tables = []
    for layout in LAYOUTS:
        items = load("cars196", cars(layout), task)
        table = {
            items.read(row.path).tobytes(): (row.label, row.split)
            for row in items.frame.itertuples()
        }
        assert len(table) == 128
        tables.append(table)
    assert tables[0] == tables[1] == tables[2]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_retrieval_trains_on_the_first_half_of_the_classes(load, cars, layout):
    items = load("cars196", cars(layout))
    assert set(items.classes) == set(CAR_NAMES[:8])
    test = set(items.split("test")["label"])
    assert test == {name.replace("C/V", "C-V") for name in CAR_NAMES[8:]}
    assert "F C-V Cargo Van Minivan 2012" in test


def test_halves_go_by_number_not_by_name(load, cars):
    root = cars("car_ims")
    change(root / "cars_annos.mat", lambda mat: mat.update(class_names=cell(CAR_NAMES[::-1]).T))
    assert set(load("cars196", root).classes) == {n.replace("/", "-") for n in CAR_NAMES[8:]}


def test_the_devkit_is_torchvisions(load, cars):
    root = cars("devkit")
    items = load("cars196", root, "classification")
    for split in ("train", "test"):
        other = tv.StanfordCars(root, split)
        frame = items.split(split)
        paths = [str(root / "stanford_cars" / path) for path in frame["path"]]
        names = [other.classes[label].replace("/", "-") for _, label in other._samples]
        assert paths == [path for path, _ in other._samples]
        assert frame["label"].tolist() == names
    (root / "stanford_cars" / "cars_test_annos_withlabels.mat").rename(
        root / "stanford_cars" / "devkit" / "cars_test_annos_withlabels.mat"
    )
    assert load("cars196", root / "stanford_cars", "classification").data_hash == items.data_hash


def test_class_folders_anywhere(load, cars):
    root = cars("folders")
    expected = load("cars196", root).data_hash
    assert load("cars196", root / "car_data").data_hash == expected
    assert load("cars196", root / "car_data" / "car_data").data_hash == expected


def test_no_cars(load, tmp_path):
    with pytest.raises(BenchError, match=r"no Stanford Cars in .*car_ims and cars_annos.mat, or"):
        load("cars196", tmp_path)


def test_incomplete_cars(load, cars):
    root = cars("folders")
    (root / "car_data/car_data/test").rename(root / "car_data/car_data/tests")
    with pytest.raises(BenchError, match=r"car_data/test does not exist"):
        load("cars196", root)
    root = cars("devkit")
    (root / "stanford_cars/cars_test_annos_withlabels.mat").unlink()
    with pytest.raises(
        BenchError, match=r"cars_test_annos_withlabels.mat cannot be read as the off"
    ):
        load("cars196", root)


@pytest.mark.parametrize("number", [0, 17])
def test_a_class_without_a_name(load, cars, number):
    root = cars("car_ims")

    def renumber(mat) -> None:
        mat["annotations"]["class"][0, 5] = np.uint8(number)

    change(root / "cars_annos.mat", renumber)
    with pytest.raises(BenchError, match=rf"have class {number}, but there are 16 class names"):
        load("cars196", root)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("cars196", "cars_annos.mat"),
        ("flowers102", "flowers-102/imagelabels.mat"),
        ("flowers102", "flowers-102/setid.mat"),
        ("dogs", "test_list.mat"),
    ],
)
@pytest.mark.parametrize("damage", ["missing", "empty", "text", "truncated", "flipped", "others"])
def test_damaged_mat_files(load, tmp_path, monkeypatch, name, file, damage):
    lift_counts(monkeypatch, name)
    root = miniature(name, tmp_path / name)
    path = root / file
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "others":
        save_mat(path, {"other": 1})
    else:
        path.write_bytes(
            {
                "empty": b"",
                "text": b"<html>not found</html>" * 20,
                "truncated": content[: len(content) // 2],
                "flipped": content[:130] + bytes(byte ^ 255 for byte in content[130:]),
            }[damage]
        )
    with pytest.raises(BenchError) as told:
        load(name, root, "classification")
    text = str(told.value)
    assert text.startswith(f"{path} cannot be read as the official MATLAB file with ")
    assert text.endswith("): get it again")
    assert "\n" not in text


def test_an_image_without_a_label(load, tmp_path, monkeypatch):
    lift_counts(monkeypatch, "flowers102")
    root = miniature("flowers102", tmp_path)

    def renumber(mat) -> None:
        mat["valid"][0, 3] = 129

    change(root / "flowers-102" / "setid.mat", renumber)
    with pytest.raises(BenchError, match=r"setid.mat: valid has image 129, but .* has 128 labels"):
        load("flowers102", root, "classification")


def test_values_of_mat_files(tmp_path):
    file = tmp_path / "x.mat"
    pair = structs(name=["a", "b"], number=[np.uint8(3), np.float64(4)])
    single = structs(name=["only"], number=[np.uint8(5)])
    save_mat(file, {"pair": pair, "single": single, "row": [[7, 8]], "cells": cell(["x", "yz"])})
    kinds = {"pair.name": str, "pair.number": int, "single.name": str, "row": int, "cells": str}
    assert read_mat(file, kinds) == {
        "pair.name": ["a", "b"],
        "pair.number": [3, 4],
        "single.name": ["only"],
        "row": [7, 8],
        "cells": ["x", "yz"],
    }
    for kinds in (
        {"row": str},
        {"cells": int},
        {"pair.other": str},
        {"row.name": str},
        {"pair": int},
    ):
        with pytest.raises(BenchError, match=r"x.mat cannot be read as the official MATLAB file"):
            read_mat(file, kinds)
