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


def write_cars(root: Path, layout: str = "car_ims") -> None:
    """Write the layout `car_ims`, `devkit` or `folders`; images and classes are the same.

    By name, a make's two classes are in the opposite order.
    """
    rows = {"train": [], "test": []}
    for n, c, i in members():
        rows["test" if i % 2 else "train"].append((n, c))
    if layout == "car_ims":
        both = sorted([*((*row, 0) for row in rows["train"]), *((*row, 1) for row in rows["test"])])
        paths = [f"car_ims/{n:06}.jpg" for n, _, _ in both]
        for (n, _, _), path in zip(both, paths, strict=True):
            photo(root / path, n)
        annotations = structs(
            relative_im_path=paths,
            bbox_x1=[np.uint8(1)] * len(both),
            **{"class": [np.uint8(c) for _, c, _ in both]},
            test=[np.uint8(test) for _, _, test in both],
        )
        names = np.array(CAR_NAMES, dtype=object)[None]
        savemat(root / "cars_annos.mat", {"annotations": annotations, "class_names": names})
        return
    for split, images in rows.items():
        order = np.random.default_rng(0).permutation(len(images))
        shuffled = [images[k] for k in order]  # the official lists are in no order
        files = [f"{k:05}.jpg" for k in range(1, len(images) + 1)]
        for (n, c), file in zip(shuffled, files, strict=True):
            name = CAR_NAMES[c - 1].replace("/", "-")
            top = root / "car_data" / "car_data" / split / name
            photo((top if layout == "folders" else root / f"cars_{split}") / file, n)
        if layout == "devkit":
            (root / "devkit").mkdir(exist_ok=True)
            annotations = structs(
                bbox_x1=[np.uint8(1)] * len(files),
                **{"class": [np.uint8(c) for _, c in shuffled]},
                fname=files,
            )
            file = "devkit/cars_train_annos" if split == "train" else "cars_test_annos_withlabels"
            savemat(root / f"{file}.mat", {"annotations": annotations})
            names = np.array(CAR_NAMES, dtype=object)[None]
            savemat(root / "devkit" / "cars_meta.mat", {"class_names": names})


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
    savemat(folder / "setid.mat", sets)
    savemat(folder / "imagelabels.mat", {"labels": labels.astype(np.uint8)[None]})


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
        savemat(root / f"{split}_list.mat", content)
