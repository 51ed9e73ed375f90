"""Miniatures whose lists are MATLAB files, and what all miniatures are made of."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

# Miniatures that are large enough to train on: 16 classes (8 where only the retrieval classes of
# one split count) of 8 random photographs, half of them in the official test split.

CLASSES = range(1, 17)
PER_CLASS = 8


def members() -> Iterator[tuple[int, int, int]]:
    """Yield (number of the image, class number, place in the class), class by class."""
    for c in CLASSES:
        for i in range(PER_CLASS):
            yield (c - 1) * PER_CLASS + i + 1, c, i


def photo(file: Path, seed: int, size: tuple[int, int] = (40, 32)) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(file)


def save_mat(file: Path, content: dict) -> None:
    """Write a MATLAB file, compressed as MATLAB does."""
    savemat(file, content, do_compression=True)


def cell(values: Sequence[str]) -> np.ndarray:
    """Return what savemat writes as an N × 1 cell array."""
    return np.array(values, dtype=object).reshape(-1, 1)


def structs(**fields: Sequence) -> np.ndarray:
    """Return what savemat writes as a 1 × N struct array."""
    array = np.zeros((1, len(next(iter(fields.values())))), [(name, object) for name in fields])
    for name, values in fields.items():
        array[name][0] = values
    return array


CAR_NAMES = [f"{make} {model} 2012" for make in "ABCDEFGH" for model in ("SUV", "Coupe")]
CAR_NAMES[10] = "F C/V Cargo Van Minivan 2012"


def write_cars(root: Path) -> None:
    """Write one folder and one list; by name, a make's two classes are in the opposite order."""
    rows = [(f"car_ims/{n:06}.jpg", np.uint8(c), np.uint8(i % 2), n) for n, c, i in members()]
    for path, _, _, n in rows:
        photo(root / path, n)
    paths, classes, tests, _ = zip(*rows, strict=True)
    fields = {"relative_im_path": paths, "bbox_x1": tests, "class": classes, "test": tests}
    content = {"annotations": structs(**fields), "class_names": cell(CAR_NAMES).T}
    save_mat(root / "cars_annos.mat", content)


def write_cars_devkit(root: Path) -> None:
    """Write the same images as torchvision expects them."""
    folder = root / "stanford_cars"
    for split, rows in shuffled_cars().items():
        for file, _, n in rows:
            photo(folder / f"cars_{split}" / file, n)
        files, classes, _ = zip(*rows, strict=True)
        annotations = structs(bbox_x1=classes, **{"class": classes}, fname=files)
        name = "devkit/cars_train_annos" if split == "train" else "cars_test_annos_withlabels"
        (folder / "devkit").mkdir(exist_ok=True)
        save_mat(folder / f"{name}.mat", {"annotations": annotations})
    save_mat(folder / "devkit" / "cars_meta.mat", {"class_names": cell(CAR_NAMES).T})


def write_cars_folders(root: Path) -> None:
    """Write the same images in class folders, as in a mirror."""
    for split, rows in shuffled_cars().items():
        for file, c, n in rows:
            name = CAR_NAMES[c - 1].replace("/", "-")
            photo(root / "car_data" / "car_data" / split / name / file, n)


def shuffled_cars() -> dict[str, list[tuple[str, np.uint8, int]]]:
    """Return (file, class, number of the image) of each split: the official lists have no order."""
    lists = {}
    for test, split in enumerate(("train", "test")):
        rows = [(n, c) for n, c, i in members() if i % 2 == test]
        order = np.random.default_rng(0).permutation(len(rows))
        shuffled = enumerate((rows[k] for k in order), 1)
        lists[split] = [(f"{k:05}.jpg", np.uint8(c), n) for k, (n, c) in shuffled]
    return lists


def write_flowers(root: Path) -> None:
    """Write images whose order has nothing to do with their classes."""
    folder = root / "flowers-102"
    order = np.random.default_rng(0).permutation(len(CLASSES) * PER_CLASS)
    labels = order // PER_CLASS + 1
    for n in range(1, len(labels) + 1):
        photo(folder / "jpg" / f"image_{n:05}.jpg", n)
    sets = {
        name: (np.flatnonzero(np.isin(order % PER_CLASS, places)) + 1).astype(np.uint16)[None]
        for name, places in (("trnid", [0, 1]), ("valid", [2, 3]), ("tstid", [4, 5, 6, 7]))
    }
    save_mat(folder / "setid.mat", sets)
    save_mat(folder / "imagelabels.mat", {"labels": labels.astype(np.uint8)[None]})


def write_dogs(root: Path) -> None:
    lists = {"train": [], "test": []}
    for n, c, i in members():
        wnid = f"n{2085600 + 20 * c:08}"
        file = f"{wnid}-Breed_{chr(80 - c)}/{wnid}_{n}.jpg"
        photo(root / "Images" / file, n)
        lists["test" if i % 2 else "train"].append((file, c))
    for split, entries in lists.items():
        files = [file for file, _ in entries]
        content = {
            "file_list": cell(files),
            "annotation_list": cell([file[:-4] for file in files]),
            "labels": np.array([[float(c)] for _, c in entries]),
        }
        save_mat(root / f"{split}_list.mat", content)
