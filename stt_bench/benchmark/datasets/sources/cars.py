"""Stanford Cars (Cars196), read from either official layout or from class folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from stt_bench.benchmark.config.sections import Task
from stt_bench.benchmark.datasets.catalog import Counts, Source, register_dataset
from stt_bench.benchmark.datasets.folders import read_folder
from stt_bench.benchmark.datasets.sources.official import in_first_half, read_mat, subfolder
from stt_bench.benchmark.datasets.stores import FileStore
from stt_bench.benchmark.system.errors import BenchError


@register_dataset(
    "cars196",
    folder="cars196",
    also=("stanford_cars",),
    counts={
        "retrieval": Counts(train=8_054, test=8_131, train_classes=98, test_classes=98),
        "classification": Counts(train=8_144, test=8_041, train_classes=196, test_classes=196),
    },
    get="the official page (https://ai.stanford.edu/~jkrause/cars/car_dataset.html) serves no "
    "files any more, so put a copy into data/cars196: car_ims with cars_annos.mat, or what "
    "torchvision's StanfordCars reads, or folders train/CLASS and test/CLASS",
)
def cars196(root: Path, task: Task) -> Source:
    """16,185 photographs of 196 car models (Stanford Cars), for research use.

    Retrieval trains on classes 1–98 and tests on 99–196, official train and test images pooled.
    Classification has the official split. Class folders have no numbers and are taken by name:
    within a make the order differs from the official one, but class 98 is the last of its make,
    so the halves are the same; the counts would tell. In a label a hyphen replaces the slash of
    "Ram C/V Cargo Van Minivan 2012", as it does in the folder's name.
    """
    folder = subfolder(root, "stanford_cars", "car_data/car_data", "car_data")
    for present, read in (("car_ims", _pooled), ("devkit", _devkit), ("train", _class_folders)):
        if (folder / present).is_dir():
            index = read(folder)
            break
    else:
        raise BenchError(
            f"no Stanford Cars in {folder}: it needs the folder car_ims and cars_annos.mat, or "
            "cars_train, cars_test and devkit, or train and test with a folder for each class"
        )
    is_train = in_first_half(index["class"]) if task == "retrieval" else index["is_train"]
    frame = pd.DataFrame(
        {
            "path": index["path"],
            "label": index["name"],
            "split": np.where(is_train, "train", "test"),
            "role": "both",
        }
    )
    return Source(frame, FileStore(folder))


# Each of these returns columns path, class (what sorts the classes), name and is_train.


def _pooled(folder: Path) -> pd.DataFrame:
    """Read car_ims and cars_annos.mat: all images with a flag for those of the test split."""
    mat = read_mat(
        folder / "cars_annos.mat",
        {
            "annotations.relative_im_path": str,
            "annotations.class": int,
            "annotations.test": int,
            "class_names": str,
        },
    )
    index = pd.DataFrame(
        {
            "path": mat["annotations.relative_im_path"],
            "class": mat["annotations.class"],
            "is_train": np.array(mat["annotations.test"]) == 0,
        }
    )
    return _named(folder, index, mat["class_names"])


def _devkit(folder: Path) -> pd.DataFrame:
    """Read cars_train, cars_test and the devkit's lists, the test list with labels."""
    devkit, labelled = folder / "devkit", "cars_test_annos_withlabels.mat"
    tests = devkit if (devkit / labelled).exists() else folder
    tables = []
    for name, file in (
        ("cars_train", devkit / "cars_train_annos.mat"),
        ("cars_test", tests / labelled),
    ):
        mat = read_mat(file, {"annotations.fname": str, "annotations.class": int})
        table = pd.DataFrame({"path": mat["annotations.fname"], "class": mat["annotations.class"]})
        tables.append(table.assign(path=f"{name}/" + table["path"], is_train=name == "cars_train"))
    names = read_mat(devkit / "cars_meta.mat", {"class_names": str})["class_names"]
    return _named(folder, pd.concat(tables, ignore_index=True), names)


def _named(folder: Path, index: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    odd = index.loc[~index["class"].between(1, len(names)), "class"]
    if not odd.empty:
        raise BenchError(
            f"{folder}: the annotations have class {odd.iloc[0]}, but there are {len(names)} "
            "class names: get all official .mat files again"
        )
    return index.assign(name=[names[number - 1].replace("/", "-") for number in index["class"]])


def _class_folders(folder: Path) -> pd.DataFrame:
    """Read train/CLASS/IMAGE and test/CLASS/IMAGE."""
    tables = []
    for split in ("train", "test"):
        table = read_folder(folder / split).frame
        path = f"{split}/" + table["path"]
        tables.append(table.assign(path=path, name=table["label"], is_train=split == "train"))
    index = pd.concat(tables, ignore_index=True)
    return index.assign(**{"class": index["name"]})
