import numpy as np
import pytest
from dataset_miniatures import write_omniglot, zip_folder

from stt_bench.benchmark.system.errors import BenchError


def test_folders(load, mini_omniglot):
    items = load("omniglot", mini_omniglot)
    assert items.split("train")["label"].tolist() == [
        *["Greek/character01"] * 2,
        *["Greek/character02"] * 2,
        *["Latin/character01"] * 2,
    ]
    assert items.split("test")["path"].tolist()[:2] == [
        "images_evaluation/Ulog/character01/0000_01.png",
        "images_evaluation/Ulog/character01/0000_02.png",
    ]
    image = items.read("images_background/Greek/character02/0001_02.png")
    assert np.unique(np.asarray(image)).tolist() == [201]


def test_all_layouts_give_the_same_table(load, mini_omniglot, tmp_path):
    direct = load("omniglot", mini_omniglot)
    write_omniglot(tmp_path / "tv" / "omniglot-py")
    (tmp_path / "packed").mkdir()
    file = zip_folder(mini_omniglot, tmp_path / "packed" / "omniglot.zip")
    for root in (tmp_path / "tv", tmp_path / "packed", file):
        items = load("omniglot", root)
        assert items.frame.equals(direct.frame)
        path = items.frame["path"][3]
        assert items.read(path).tobytes() == direct.read(path).tobytes()
    assert load("omniglot", tmp_path / "tv").data_hash == direct.data_hash
    assert load("omniglot", file).data_hash == load("omniglot", tmp_path / "packed").data_hash


def test_the_hash_covers_the_sizes(load, mini_omniglot):
    before = load("omniglot", mini_omniglot).data_hash
    with (mini_omniglot / "images_background/Greek/character01/0000_01.png").open("ab") as file:
        file.write(b"0")
    assert load("omniglot", mini_omniglot).data_hash != before


def test_an_incomplete_copy(load, mini_omniglot):
    (mini_omniglot / "images_evaluation/Ulog/character01/0000_01.png").unlink()
    with pytest.raises(
        BenchError, match=r"expected 6 train .* and 4 test .* found .* and 3 test images of 2"
    ):
        load("omniglot", mini_omniglot)


def test_not_there(load, tmp_path):
    write_omniglot(tmp_path, ["images_background"])
    with pytest.raises(BenchError, match=r"no Omniglot in .*images_background and images_eval"):
        load("omniglot", tmp_path)


def test_no_classification(load, mini_omniglot):
    with pytest.raises(BenchError, match="no classification split: use task: retrieval"):
        load("omniglot", mini_omniglot, "classification")


@pytest.mark.data
def test_the_real_copy(real):
    items = real("omniglot")
    assert items.frame["label"].value_counts().unique().tolist() == [20]
    assert items.read(items.frame["path"][0]).size == (105, 105)
