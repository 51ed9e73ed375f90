"""Folders as people have them: each is read as it is meant, or refused in one sentence."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from stt_bench.benchmark.datasets import ItemTable
from stt_bench.benchmark.datasets.folders import read_folder
from stt_bench.benchmark.system.errors import BenchError

Load = Callable[..., ItemTable]


def lay(root: Path, text: str) -> Path:
    """Write empty files; a name `a/{b,c}/{1,2}.jpg` stands for all that it spells."""
    for pattern in text.split():
        names = [""]
        for part in pattern.replace("}", "{").split("{"):
            names = [name + choice for name in names for choice in part.split(",")]
        for name in names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).touch()
    return root


def seen(root: Path, **options: str) -> dict[str, str]:
    """Return what each image was read as: `[split/][role/]label`, without the role both."""
    frame = read_folder(root, **options).frame
    parts = [frame[column] for column in ("split", "role", "label") if column in frame]
    return {
        path: "/".join(word for word in words if word != "both")
        for path, *words in zip(frame["path"], *parts, strict=True)
    }


READ = {
    "class folders": ("{cat,dog}/{1,2}.jpg .DS_Store __MACOSX/cat/._1.jpg readme.txt", {
        "cat/1.jpg": "cat", "cat/2.jpg": "cat", "dog/1.jpg": "dog", "dog/2.jpg": "dog",
    }),
    "Stanford Cars, mirror": ("train/Audi_TT/1.jpg test/Audi_TT/2.jpg names.csv", {
        "train/Audi_TT/1.jpg": "train/Audi_TT", "test/Audi_TT/2.jpg": "test/Audi_TT",
    }),
    "Fruits-360": ("Training/Apple/0.jpg Test/Apple/1.jpg papers/x.pdf", {
        "Training/Apple/0.jpg": "train/Apple", "Test/Apple/1.jpg": "test/Apple",
    }),
    "ImageNet": ("train/n01/a.JPEG val/n01/b.JPEG", {
        "train/n01/a.JPEG": "train/n01", "val/n01/b.JPEG": "validation/n01",
    }),
    "ILSVRC, dated": ("train2017/n01/a.JPEG val2017/n01/b.JPEG annotations/x.json", {
        "train2017/n01/a.JPEG": "train/n01", "val2017/n01/b.JPEG": "validation/n01",
    }),
    "miniImageNet": ("{train,val,test}/n0/a.jpg", {
        "train/n0/a.jpg": "train/n0", "val/n0/a.jpg": "validation/n0", "test/n0/a.jpg": "test/n0",
    }),
    "Kaggle's cats and dogs": ("{training_set,test_set}/cats/a.jpg", {
        "training_set/cats/a.jpg": "train/cats", "test_set/cats/a.jpg": "test/cats",
    }),
    "shops": ("TRAIN/a/1.png query/b/2.png Gallery/b/3.png", {
        "TRAIN/a/1.png": "train/a", "query/b/2.png": "test/query/b",
        "Gallery/b/3.png": "test/gallery/b",
    }),
    "shops, nested": ("train/a/1.png test/{query,gallery}/b/2.png", {
        "train/a/1.png": "train/a", "test/query/b/2.png": "test/query/b",
        "test/gallery/b/2.png": "test/gallery/b",
    }),
    "LFW": ("Ada_L/Ada_L_0001.jpg Test_Person/Test_Person_0001.jpg", {
        "Ada_L/Ada_L_0001.jpg": "Ada_L",
        "Test_Person/Test_Person_0001.jpg": "Test_Person",
    }),
    "vehicles, one of them a train": ("{bus,car,train}/1.jpg", {
        "bus/1.jpg": "bus", "car/1.jpg": "car", "train/1.jpg": "train",
    }),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_layouts_that_are_read(tmp_path: Path, name: str) -> None:
    text, expected = READ[name]
    assert seen(lay(tmp_path, text)) == expected


REFUSED = {
    "Market-1501": (
        "{bounding_box_train,bounding_box_test,query,gt_bbox}/0002_c1.jpg",
        "bounding_box_test, bounding_box_train, query with images but no class folders",
    ),
    "VeRi-776": (
        "{image_train,image_query,image_test}/0001.jpg train_label.xml",
        "image_query, image_test, image_train with images but no class folders",
    ),
    "COCO": ("{train2017,val2017}/1.jpg annotations/x.json", "train2017, val2017 with images but"),
    "dogs against cats": ("{train,test}/cat.1.jpg", "test, train with images but no class folders"),
    "tiny ImageNet": (
        "train/n01/images/a.JPEG {val,test}/images/b.JPEG wnids.txt",
        "train/n01 holds no images but folders .* set the option classes: leaf",
    ),
    "tiny ImageNet's val": (
        "train/n01/a.JPEG val/images/b.JPEG",
        "val has only images, which seems to be no class",
    ),
    "CUB-200-2011": (
        "images/001.A/a.jpg attributes/x.txt",
        "1 class folder without images, .* which holds 1 .txt",
    ),
    "CUB-200-2011 with its images alone": ("images/{001.A,002.B}/a.jpg", "has only images, which"),
    "Omniglot": (
        "{images_background,images_evaluation}/Greek/character01/1.png",
        "has the folders images_evaluation, .*|beside others",
    ),
    "In-Shop": ("img/{MEN,WOMEN}/Denim/id_1/1.jpg", "has only img, which seems to be no class"),
    "Caltech-256": ("256_ObjectCategories/{001.ak47,002.flag}/1.jpg", "give it as the root if"),
    "Places": ("{a,b}/{abbey,bar}/1.jpg", r"/a holds no images but folders \(2 of 2 such\)"),
    "Intel": ("{seg_train/seg_train,seg_test/seg_test}/sea/1.jpg", "holds no images but folders"),
    "GTSRB": ("Train/{0,1}/1.png {Test,Meta}/2.png", "of a split, Train, beside others .* Meta, T"),
    "segmentation": ("{images,masks}/1.png", "has only images, masks, which seems to be no class"),
    "Oxford-IIIT Pets": ("images/a.jpg annotations/trimaps/a.png", "annotations holds no images b"),
    "Flowers": ("jpg/image_1.jpg setid.mat", "has only jpg, which seems to be no class"),
    "YOLO": ("{images,labels}/{train,val}/1.jpg", "holds no images but folders|has only images"),
    "a split twice": ("{train,Train,test}/a/1.jpg", "Train, test, train: a data set has train and"),
    "a split alone": ("train/{a,b}/1.jpg", "if the classes are in one of them, give .*/train as"),
    "test beside query": ("{train,test,query}/a/1.jpg", "query, test, train: a data set has train"),
    "a split in a split": ("{train,test}/{train,test}/a/1.jpg", "splits in the folder of a split"),
    "flat": ("1.jpg 2.jpg", r"images outside of a class folder \(2, the first is 1.jpg\)"),
    "nothing": ("readme.txt", "holds no class folders"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_layouts_that_are_refused(tmp_path: Path, name: str) -> None:
    text, message = REFUSED[name]
    with pytest.raises(BenchError, match=message) as told:
        read_folder(lay(tmp_path, text))
    assert "\n" not in str(told.value)


def test_classes_may_be_at_either_level(tmp_path: Path) -> None:
    root = lay(tmp_path, "animal/{cat,dog}/1.jpg plant/rose/{1,deep/2}.jpg")
    assert set(seen(root, classes="top").values()) == {"animal", "plant"}
    assert seen(root, classes="leaf") == {
        "animal/cat/1.jpg": "animal/cat",
        "animal/dog/1.jpg": "animal/dog",
        "plant/rose/1.jpg": "plant/rose",
        "plant/rose/deep/2.jpg": "plant/rose/deep",
    }
    split = lay(tmp_path / "split", "{train,test}/Greek/{01,02}/1.png")
    assert set(seen(split, classes="leaf").values()) == {
        f"{part}/Greek/{one}" for part in ("train", "test") for one in ("01", "02")
    }
    images = lay(tmp_path / "named", "{images,masks}/1.png")
    assert set(seen(images, classes="top").values()) == {"images", "masks"}
    flat = lay(tmp_path / "flat", "{train,test}/1.png")
    assert set(seen(flat, classes="top").values()) == {"train", "test"}


def test_a_class_of_folders_written_with_two_kinds_of_accents_is_one(tmp_path: Path) -> None:
    names = ["caf\u00e9", "cafe\u0301"]
    frame = read_folder(lay(tmp_path, f"{{{','.join(names)}}}/1.jpg")).frame
    assert sorted(frame["path"]) == sorted(f"{name}/1.jpg" for name in names)
    assert set(frame["label"]) == {"caf\u00e9"}


@pytest.mark.parametrize("target", [".", "..", "a"])
def test_a_link_to_images_that_count_already_is_refused(tmp_path: Path, target: str) -> None:
    folder = lay(tmp_path / "photos", "{a,b,c,d}/1.jpg")
    (folder / "e").symlink_to(target)
    with pytest.raises(BenchError, match=r"photos/e is a link to .*, whose images would count twi"):
        read_folder(folder, "top")
    (folder / "e").unlink()
    (folder / "e").symlink_to(lay(tmp_path / "elsewhere", "1.jpg"))
    assert set(read_folder(folder).frame["label"]) == {"a", "b", "c", "d", "e"}


def test_what_is_skipped_is_counted_and_told(tmp_path: Path) -> None:
    root = lay(tmp_path / "x", "a/{1.jpg,2.svg,3.SVG,notes,.hidden} b/{1.PPM,2.pgm,deep/2.png}")
    (root / "a" / "link").symlink_to(root / "b", target_is_directory=True)
    _, notes, _ = read_folder(root)
    assert notes == [
        f"{root}: 1 image in folders of a class folder taken as its class; the option "
        "classes: leaf takes them as classes",
        f"{root}: skipped, since they are no images: 2 .svg, 1 without a suffix, "
        "1 links to folders",
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="the administrator may read every folder")
def test_a_folder_that_may_not_be_read_is_told(tmp_path: Path) -> None:
    root = lay(tmp_path, "{a,b}/1.jpg")
    (root / "b").chmod(0)
    try:
        with pytest.raises(BenchError, match=r"b.* cannot be read"):
            read_folder(root)
    finally:
        (root / "b").chmod(0o700)


def test_the_splits_of_folders_are_those_of_the_dataset(tmp_path, save, load: Load) -> None:
    for name in ("train/a/1", "train/b/1", "val/c/1", "val/c/2", "val/d/1", "val/d/2"):
        save(tmp_path / f"{name}.png")
    items = load("images", tmp_path)
    assert items.classes == ["a", "b"]
    assert set(items.split("test")["label"]) == {"c", "d"}
    assert items.notes == ("4 validation items taken as the test split: there are no test items",)


def test_a_test_of_one_class_is_refused(tmp_path, save, load: Load) -> None:
    for name in ("train/a/1", "train/b/1", "test/c/1", "test/c/2"):
        save(tmp_path / f"{name}.png")
    with pytest.raises(BenchError, match="all test items that can be found are of the class 'c'"):
        load("images", tmp_path)
