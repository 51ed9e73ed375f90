import shutil

import pytest

from stt_bench.benchmark.system.errors import BenchError


@pytest.fixture
def folder(tmp_path, save):
    """Classes 001 to 005 with 6, 5, ..., 2 images."""
    root = tmp_path / "mine"
    for label in range(1, 6):
        for number in range(7 - label):
            save(root / f"00{label}" / f"{number}.png", seed=10 * label + number)
    return root


def splits(items) -> dict[str, str]:
    return dict(zip(items.frame["path"], items.frame["split"], strict=True))


def test_retrieval_split_of_a_folder(load, folder):
    items = load("images", folder)
    assert sorted(set(items.split("train")["label"])) == ["001", "002", "003"]
    assert sorted(set(items.split("test")["label"])) == ["004", "005"]
    assert items.frame["path"][0] == "001/0.png"
    assert items.read("001/0.png").size == (6, 4)


def test_classification_split_of_a_folder(load, folder):
    items = load("images", folder, "classification")
    counts = items.split("test")["label"].value_counts()
    assert counts.to_dict() == {"001": 1, "002": 1, "003": 1, "004": 1, "005": 1}
    assert splits(items) == splits(load("images", folder, "classification"))
    others = [splits(load("images", folder, "classification", seed=s)) for s in range(5)]
    assert any(other != splits(items) for other in others)


def test_a_fifth_of_a_class_is_tested(load, tmp_path):
    (tmp_path / "x.png").touch()
    names = [f"{i}.png" for i in range(43)]
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / "l.csv").write_text("".join(f"a,{name}\n" for name in names))
    items = load("images", tmp_path / "l.csv", "classification")
    assert len(items.split("test")) == 9


def test_a_class_is_split_the_same_whatever_the_others(load, folder):
    before = splits(load("images", folder, "classification"))
    shutil.rmtree(folder / "002")
    after = splits(load("images", folder, "classification"))
    assert after == {path: before[path] for path in after}


def test_the_table_moves_with_its_folder(load, folder, tmp_path):
    before = load("images", folder)
    shutil.copytree(folder, tmp_path / "elsewhere" / "else")
    after = load("images", tmp_path / "elsewhere" / "else")
    assert after.data_hash == before.data_hash
    assert after.frame.equals(before.frame)


def test_items(load, folder, tmp_path):
    text = "path,label,split,role\n001/0.png,a,train,both\n001/1.png,b,test,query\n"
    text += "003/0.png,c,test,gallery\n"
    (folder / "items.csv").write_text(text + "001/2.png,b,test,gallery\n")
    items = load("images", items=str(folder / "items.csv"))
    assert items.frame["path"].tolist() == ["001/0.png", "001/1.png", "003/0.png", "001/2.png"]
    assert items.frame["role"].tolist() == ["both", "query", "gallery", "gallery"]
    assert load("images", folder / "items.csv").data_hash == items.data_hash
    assert load("images", folder, items="items.csv").data_hash == items.data_hash
    shutil.move(folder / "items.csv", tmp_path / "items.csv")
    options = {"items": str(tmp_path / "items.csv"), "images_root": str(folder)}
    assert load("images", **options).data_hash == items.data_hash
    relative = load("images", tmp_path, items="items.csv", images_root="mine")
    assert relative.data_hash == items.data_hash
    found = load("images", items=str(tmp_path / "items.csv"))  # in the one folder that has them
    assert found.data_hash == items.data_hash
    assert found.notes == (f"{tmp_path}/items.csv: its images were found in {folder}",)
    (folder / "003/0.png").unlink()
    with pytest.raises(BenchError, match=r"4 of 4 image files do not exist, the first is .*0.png"):
        load("images", items=str(tmp_path / "items.csv"))


def test_lists_in_the_seed_formats(load, folder):
    (folder / "train.csv").write_text("001,001/0.png\n002,002/0.png\n")
    (folder / "test.csv").write_text(
        ",label,file_name\n0,003,003/0.png\n1,003,003/1.png\n2,004,004/0.png\n"
    )
    items = load("images", train=str(folder / "train.csv"), test=str(folder / "test.csv"))
    assert items.frame[["label", "split"]].to_numpy().tolist() == [
        ["001", "train"],
        ["002", "train"],
        ["003", "test"],
        ["003", "test"],
        ["004", "test"],
    ]
    assert items.frame["path"][0] == "001/0.png"


def test_roles_in_one_of_two_lists(load, folder):
    (folder / "train.csv").write_text("001,001/0.png\n")
    (folder / "test.csv").write_text(
        "path,label,role\n003/0.png,3,query\n003/1.png,3,gallery\n004/1.png,4,gallery\n"
    )
    items = load("images", folder, train="train.csv", test="test.csv")
    assert items.frame["role"].tolist() == ["both", "query", "gallery", "gallery"]


def test_train_and_test_folders(load, folder, tmp_path, save):
    for label in ("008", "009"):
        save(tmp_path / "other" / label / "1.png")
        save(tmp_path / "other" / label / "2.png")
    items = load("images", train=str(folder), test=str(tmp_path / "other"))
    assert len(items.split("train")) == 20
    assert items.split("test")["path"].tolist()[0] == "other/008/1.png"
    with pytest.raises(BenchError, match=r"001/0.png is in train and in test \(20 such\)"):
        load("images", train=str(folder), test=str(folder / "." / ".." / "mine"))


def test_a_root_with_train_and_test_folders(load, tmp_path, save):
    for name in ("train/a/1.png", "train/b/1.png", "test/c/1.png", "test/c/2.png", "test/d/1.png"):
        save(tmp_path / name)
    items = load("images", tmp_path)
    assert items.classes == ["a", "b"]
    assert items.split("test")["path"].tolist() == ["test/c/1.png", "test/c/2.png", "test/d/1.png"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "has no images: give data.root"),
        ({"train": "a"}, "options do not go together: give"),
        ({"items": "a", "train": "b", "test": "c"}, "options do not go together"),
        ({"items": 3}, "option items is a path, not 3: quote it"),
        ({"items": "a", "seed": "x"}, "option seed is 'x': give an integer from 0"),
        ({"items": "nothere.csv"}, "nothere.csv does not exist"),
    ],
)
def test_option_errors(load, nowhere, options, message):
    with pytest.raises(BenchError, match=message):
        load("images", **options)


def test_a_split_of_one_part_says_what_to_write(load, folder):
    lines = [f"00{c}/{n}.png,{c},PART" for c in (1, 2, 3, 4, 5) for n in (0, 1)]
    for part, lacks in {"train": "test", "test": "train", "val": "train"}.items():
        text = "\n".join(["path,label,split", *lines]).replace("PART", part)
        (folder / "list.csv").write_text(text)
        told = f"list.csv: there are no {lacks} items by its own split: write {lacks} in the column"
        with pytest.raises(BenchError, match=f"{told} split for whole classes, or remove that"):
            load("images", folder / "list.csv")
        with pytest.raises(BenchError, match=f"{told} split for some items of each class, or"):
            load("images", folder / "list.csv", "classification")
        with pytest.raises(BenchError, match=f"{told}.*, and give the list as data.root, to have"):
            load("images", folder, items="list.csv")


def test_split_errors(load, folder, save, tmp_path):
    (folder / "plain.csv").write_text("001,001/0.png\n")
    (folder / "split.csv").write_text("path,label,split\n001/0.png,1,train\n")
    with pytest.raises(BenchError, match=r"plain.csv has no split column: add it, or give it as"):
        load("images", folder, items="plain.csv")
    with pytest.raises(BenchError, match=r"split.csv has a split column: give it as the option"):
        load("images", folder, train="plain.csv", test="split.csv")
    with pytest.raises(
        BenchError, match="there are only '001': retrieval needs two classes to train on"
    ):
        load("images", folder / "plain.csv")
    with pytest.raises(BenchError, match="class '001' has one item"):
        load("images", folder / "plain.csv", "classification")
