import inspect
import shutil
from pathlib import Path

import pytest
from dataset_miniatures import lift_counts, miniature

from stt_bench.benchmark.datasets import dataset_names
from stt_bench.benchmark.datasets.catalog import find_dataset
from stt_bench.benchmark.system.locate import find_folder, search_places


def test_order_of_the_places(nowhere, monkeypatch):
    monkeypatch.setenv("STT_BENCH_DATA", "/big")
    assert search_places("data", "x") == [
        Path("/big/x"),
        Path("/big/data/x"),
        Path("data/x"),
        Path("../shared/data/x"),
    ]
    assert search_places("data", "x", "y")[:3] == [
        Path("/big/x"),
        Path("/big/y"),
        Path("/big/data/x"),
    ]
    monkeypatch.delenv("STT_BENCH_DATA")
    assert search_places("weights", "x") == [Path("weights/x"), Path("../shared/weights/x")]


def test_the_first_existing_place_is_found(nowhere, monkeypatch, tmp_path):
    assert find_folder("data", "x") is None
    (nowhere.parent / "shared/data/x").mkdir(parents=True)
    assert find_folder("data", "x") == Path("../shared/data/x")
    (nowhere / "data/x").mkdir(parents=True)
    assert find_folder("data", "x") == Path("data/x")
    monkeypatch.setenv("STT_BENCH_DATA", str(tmp_path))
    (tmp_path / "data/x").mkdir(parents=True)
    assert find_folder("data", "x") == tmp_path / "data/x"
    (tmp_path / "x").mkdir()
    assert find_folder("data", "x") == tmp_path / "x"


def test_weights_are_files(nowhere):
    (nowhere / "weights").mkdir()
    (nowhere / "weights" / "w.safetensors").touch()
    assert find_folder("weights", "w.safetensors") == Path("weights/w.safetensors")
    assert find_folder("data", "w.safetensors") is None


@pytest.mark.parametrize("kind", ["data", "weights"])
@pytest.mark.parametrize("given", ["top", "top/", "top/data", "top/data/", "rel", "rel/data", "~"])
@pytest.mark.parametrize("wanted", ["own", "kind", "cwd", "shared", "nowhere"])
def test_every_combination(nowhere, monkeypatch, tmp_path, kind, given, wanted):
    """STT_BENCH_DATA names the folder of both or that of the data: absolute, relative, at home."""
    top = tmp_path / "big"
    settings = {"top": f"{top}", "rel": "../../big", "~": "~"}
    name, _, rest = given.partition("/")
    monkeypatch.setenv("STT_BENCH_DATA", settings[name] + given[len(name) :])
    monkeypatch.setenv("HOME", str(top))
    named = top / rest.strip("/")
    places = {
        "own": named / "x",
        "kind": top / kind / "x",
        "cwd": nowhere / kind / "x",
        "shared": nowhere.parent / "shared" / kind / "x",
    }
    named.mkdir(parents=True)
    if wanted != "nowhere":
        places[wanted].mkdir(parents=True)
    found = find_folder(kind, "x")
    assert (found and found.resolve()) == places.get(wanted)


ALSO = [name for name in dataset_names() if find_dataset(name).also]


@pytest.mark.parametrize("name", ALSO)
@pytest.mark.parametrize("variable", [True, False])
def test_torchvisions_folders_and_the_archives(
    load, nowhere, monkeypatch, tmp_path, name, variable
):
    """With `data` as torchvision's root, or the archive unpacked into it, the data are found."""
    lift_counts(monkeypatch, name)
    root, dataset = miniature(name, tmp_path / "own"), find_dataset(name)
    if variable:
        monkeypatch.setenv("STT_BENCH_DATA", str(tmp_path / "set"))
    for also in dataset.also:
        place = (tmp_path / "set" if variable else nowhere / "data") / also
        place.parent.mkdir(exist_ok=True)
        inner = root / also if (root / also).is_dir() else root
        shutil.copytree(inner, place)
        for task in dataset.tasks:
            assert load(name, task=task).frame.equals(load(name, root, task).frame)
        shutil.rmtree(place)


def test_the_names_are_torchvisions():
    from torchvision import datasets as theirs

    folders = {
        "flowers102": theirs.Flowers102,
        "cars196": theirs.StanfordCars,
        "aircraft": theirs.FGVCAircraft,
    }
    for name, official in folders.items():
        assert f'"{find_dataset(name).also[0]}"' in inspect.getsource(official)
    assert find_dataset("omniglot").also == (theirs.Omniglot.folder,)
    assert find_dataset("fashion_mnist").also == (theirs.FashionMNIST.__name__,)
