"""Downloads: what is asked for, and that it is found; the network itself is replaced."""

from pathlib import Path
from urllib.error import URLError

import pytest
import torchvision
from dataset_miniatures import lift_counts, miniature

from stt_bench.benchmark.datasets.catalog import find_dataset
from stt_bench.benchmark.system.errors import BenchError

ARCHIVES = {
    "cub200": ["https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz"],
    "sop": ["http://ftp.cs.stanford.edu/cs/cvgl/Stanford_Online_Products.zip"],
    "dogs": [
        "http://vision.stanford.edu/aditya86/ImageNetDogs/images.tar",
        "http://vision.stanford.edu/aditya86/ImageNetDogs/lists.tar",
    ],
}
CLASSES = {"aircraft": "FGVCAircraft", "flowers102": "Flowers102"}


@pytest.mark.parametrize("name", sorted(ARCHIVES))
def test_archives_are_fetched_once(load, nowhere, monkeypatch, name):
    asked = []

    def fetch(url: str, root: str, md5: str | None = None, remove_finished: bool = False) -> None:
        if not asked:
            miniature(name, Path(root))
        asked.append(url)
        assert remove_finished
        assert md5 is None if name == "dogs" else len(md5) == 32

    monkeypatch.setattr(torchvision.datasets.utils, "download_and_extract_archive", fetch)
    lift_counts(monkeypatch, name)
    task = find_dataset(name).tasks[0]
    first = load(name, task=task)
    assert asked == ARCHIVES[name]
    assert [path.name for path in (nowhere / "data").iterdir()] == [name]
    assert load(name, task=task).data_hash == first.data_hash
    assert asked == ARCHIVES[name]


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_torchvision_fetches(load, nowhere, monkeypatch, name):
    class Fake:
        def __init__(self, root: str, download: bool) -> None:
            assert download
            miniature(name, Path(root))

    monkeypatch.setattr(torchvision.datasets, CLASSES[name], Fake)
    lift_counts(monkeypatch, name)
    assert len(load(name, task="classification").frame) == 128
    assert [path.name for path in (nowhere / "data").iterdir()] == [name]


@pytest.mark.parametrize("name", sorted([*ARCHIVES, *CLASSES]))
def test_no_network(load, nowhere, monkeypatch, name):
    def refuse(*args, **kwargs):
        raise URLError("Name or service not known")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    dataset = find_dataset(name)
    with pytest.raises(BenchError) as told:
        load(name, task=dataset.tasks[0])
    text = str(told.value)
    assert text.startswith(f"dataset '{name}' was not found and could not be downloaded (<urlopen")
    for part in ("http", f"data/{dataset.folder}", "data.root"):
        assert part in text
    assert list((nowhere / "data").iterdir()) == []


@pytest.mark.parametrize("content", [b"<html>moved</html>", b"", b"PK\x03\x04 half of a zip"])
@pytest.mark.parametrize("name", ["cub200", "dogs", "sop"])
def test_a_wrong_archive_leaves_nothing(load, nowhere, monkeypatch, name, content):
    from torchvision.datasets import utils

    def retrieve(url: str, filename: str) -> None:
        Path(filename).write_bytes(content)

    monkeypatch.setattr(utils, "_get_redirect_url", lambda url, **kwargs: url)
    monkeypatch.setattr(utils, "_urlretrieve", retrieve)
    for md5 in (utils.check_integrity, lambda file, md5: Path(file).is_file()):
        monkeypatch.setattr(utils, "check_integrity", md5)
        with pytest.raises(BenchError, match=r"could not be downloaded \(.+\): unpack"):
            load(name, task=find_dataset(name).tasks[0])
        assert list((nowhere / "data").iterdir()) == []
