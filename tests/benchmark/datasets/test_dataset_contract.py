"""What every registered dataset keeps to, whichever it is: a new one needs a miniature alone.

A dataset of known counts that is searched for in a folder is written in small by a function in
`dataset_miniatures.py`; everything here, and the downloads and places in `test_downloads.py` and
`test_locate.py`, runs over it then.
"""

import re

import pytest
from dataset_miniatures import MINIATURES, miniature

from stt_bench.benchmark.datasets import FileStore, dataset_names, dataset_summary
from stt_bench.benchmark.datasets.catalog import counts_of, find_dataset
from stt_bench.benchmark.system.errors import BenchError

OFFICIAL = {n for n in dataset_names() if find_dataset(n).counts and find_dataset(n).folder}
CASES = [(name, task) for name in sorted(OFFICIAL) for task in find_dataset(name).tasks]


def test_every_dataset_has_a_miniature():
    assert set(MINIATURES) == OFFICIAL


@pytest.mark.parametrize(("name", "task"), CASES)
def test_every_miniature_can_be_trained_and_tested_on(load, mini, name, task):
    items = load(name, mini(name), task)
    train, test = (items.split(split)["label"].value_counts() for split in ("train", "test"))
    assert min(len(train), len(test)) >= 4
    assert min(train.min(), test.min()) >= 4
    if task == "retrieval":
        assert not set(train.index) & set(test.index)
    for path in items.frame["path"]:
        assert min(items.read(path).size) >= 16


@pytest.mark.parametrize("name", dataset_names())
def test_the_summary_is_one_line_and_has_the_number_of_images(name):
    """A task may take a part of them, such as the train images of half of the classes."""
    summary, counts = dataset_summary(name), find_dataset(name).counts.values()
    assert summary.endswith(".")
    total = re.match(r"[\d,]+(?= )", summary)
    if total:
        assert max(one.train + one.test for one in counts) == int(total[0].replace(",", ""))


@pytest.mark.parametrize("name", sorted(OFFICIAL))
def test_wrong_counts_are_told(load, tmp_path, name):
    task = find_dataset(name).tasks[0]
    with pytest.raises(BenchError, match=r"expected \d+ train images of .* found \d+ train"):
        load(name, miniature(name, tmp_path / name), task)


@pytest.mark.parametrize("name", sorted(OFFICIAL - {"fashion_mnist"}))  # which has no image files
def test_a_missing_image_is_told(load, mini, expect, name):
    root, task = mini(name), find_dataset(name).tasks[0]
    items = load(name, root, task)
    store = items.read.__self__
    assert isinstance(store, FileStore)
    (store.root / items.frame["path"][0]).unlink()
    # A layout without lists does not know which image is missing, but its counts tell.
    expect(name, task, *counts_of(items.frame))
    told = r"1 of \d+ image files do not exist, the first is [^\n]+$|expected \d+ train images"
    with pytest.raises(BenchError, match=told):
        load(name, root, task)


@pytest.mark.parametrize("name", sorted(OFFICIAL))
def test_missing_data_say_how_to_get_them(load, nowhere, monkeypatch, name):
    dataset = find_dataset(name)
    monkeypatch.setattr("urllib.request.OpenerDirector.open", _no_network)
    with pytest.raises(BenchError) as told:
        load(name, task=dataset.tasks[0])
    assert "https://" in dataset.get
    for part in (f"dataset '{name}'", dataset.get, f"data/{dataset.folder}", "data.root"):
        assert part in str(told.value)


def _no_network(*args, **kwargs):
    raise OSError("no network")
