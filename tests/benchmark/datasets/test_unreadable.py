"""Images that cannot be read: all are told at once, or left out where the config says so."""

import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from stt_bench.benchmark.config.sections import DataConfig, InputConfig
from stt_bench.benchmark.datasets import load_items, stores, transforms
from stt_bench.benchmark.datasets.folders import images_in
from stt_bench.benchmark.datasets.image_set import image_set
from stt_bench.benchmark.datasets.refusal import listed_in_file
from stt_bench.benchmark.datasets.training_items import training_items
from stt_bench.benchmark.datasets.unreadable import unreadable_images
from stt_bench.benchmark.datasets.verify import verify_dataset
from stt_bench.benchmark.store.facts import Training
from stt_bench.benchmark.system import contents
from stt_bench.benchmark.system.errors import BenchError

INPUT = InputConfig(size=8)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "stt-bench" / "unreadable"


@pytest.fixture
def photos(tmp_path) -> Path:
    """Return a csv list of 4 training and 4 test classes of 3 photos."""
    rng, lines = np.random.default_rng(0), ["path,label,split"]
    for label in range(8):
        for number in range(3):
            file = tmp_path / f"{label}" / f"{number}.jpg"
            file.parent.mkdir(exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)).save(file)
            lines.append(f"{label}/{number}.jpg,c{label},{'train' if label < 4 else 'test'}")
    (tmp_path / "list.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def config(photos: Path, skip: bool = False, task="retrieval", **more) -> DataConfig:
    root = str(photos / "list.csv")
    return DataConfig(name="images", root=root, task=task, skip_unreadable=skip, **more)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:700])


BREAK = {
    "empty": (lambda file: file.write_bytes(b""), "it is empty, or of no format"),
    "text": (lambda file: file.write_text("not found"), "it is empty, or of no format"),
    "truncated": (truncate, "truncated"),
    "a folder": (lambda file: (file.unlink(), file.mkdir()), "directory"),
}


@pytest.mark.parametrize("way", BREAK)
def test_each_kind_of_broken_file_is_found_and_left_out(photos, way):
    act, reason = BREAK[way]
    act(photos / "1/2.jpg")
    found = load_items(config(photos, skip=True))
    (bad,) = found.unreadable
    assert bad.endswith("1/2.jpg")
    assert reason in found.unreadable[bad]
    assert len(found.frame) == 23
    assert found.notes[-1].startswith("1 of 24 images cannot be read and are left out: ")


@pytest.mark.parametrize(
    ("of", "name"), [(ImageFile.ImageFile, "load"), (transforms, "to_channels")]
)
def test_a_moment_without_memory_leaves_no_image_out(photos, monkeypatch, of, name):
    whole = load_items(config(photos)).data_hash

    def full(*_args, **_options):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(of, name, full)
        with pytest.raises(BenchError, match=r"memory is too full to decode .*jpg"):
            load_items(config(photos, skip=True))
    found = load_items(config(photos, skip=True))
    assert (found.unreadable, found.data_hash) == ({}, whole)


def test_missing_and_broken_files_are_told_together(photos):
    for name in ("1/2.jpg", "2/0.jpg"):
        (photos / name).write_bytes(b"")
    (photos / "6/1.jpg").unlink()
    (photos / "6/1.jpg").symlink_to("1.jpg")
    with pytest.raises(BenchError) as told:
        load_items(config(photos))
    sentence = str(told.value)
    assert "1 of 24 image files cannot be read (Too many levels of symbolic links)" in sentence
    assert "; 2 more cannot be decoded, the first is " in sentence
    assert sentence.endswith("; or leave them out with data.skip_unreadable: true")
    (listed,) = re.findall(r"\(all: (.+?)\)", sentence)
    assert [line.split(" (")[0][-7:] for line in Path(listed).read_text().splitlines()] == [
        "1/2.jpg", "2/0.jpg",
    ]  # fmt: skip
    assert len(load_items(config(photos, skip=True)).unreadable) == 3


@pytest.mark.parametrize("kind", ["pipe", "loop"])
def test_what_is_no_file_is_told_and_not_waited_for(photos, kind):
    (photos / "1/2.jpg").unlink()
    if kind == "pipe":
        os.mkfifo(photos / "1/2.jpg")
    else:
        (photos / "1/2.jpg").symlink_to("2.jpg")
    why = "it is no file but a pipe or a device" if kind == "pipe" else "Too many levels"
    with pytest.raises(BenchError, match=f"1 of 24 image files cannot be read .{why}"):
        load_items(config(photos))
    (found,) = load_items(config(photos, skip=True)).unreadable.values()
    assert found.startswith(why)
    for name in photos.iterdir():
        if name.is_dir():
            assert set(images_in(name)) == {one.name for one in name.iterdir()}


def test_a_missing_file_is_left_out_too(photos):
    (photos / "1/2.jpg").unlink()
    with pytest.raises(BenchError, match=r"1 of 24 image files do not exist"):
        load_items(config(photos))
    assert list(load_items(config(photos, skip=True)).unreadable.values()) == [
        "No such file or directory"
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="the administrator may read every file")
def test_a_file_without_permission(photos):
    (photos / "1/2.jpg").chmod(0)
    with pytest.raises(BenchError, match=r"1 of 24 image files cannot be read"):
        load_items(config(photos))
    assert len(load_items(config(photos, skip=True)).frame) == 23


def test_without_a_broken_file_skipping_changes_nothing(photos):
    plain, skipping = (load_items(config(photos, skip)) for skip in (False, True))
    assert plain.data_hash == skipping.data_hash
    assert not skipping.unreadable
    assert not plain.unreadable


def test_what_is_left_is_the_data_without_the_broken_ones(photos):
    whole = load_items(config(photos))
    for name in ("1/2.jpg", "6/0.jpg"):
        (photos / name).write_bytes(b"")
    skipped = load_items(config(photos, skip=True))
    lines = (photos / "list.csv").read_text().splitlines()
    kept = [line for line in lines if not line.startswith(("1/2.jpg", "6/0.jpg"))]
    (photos / "list.csv").write_text("\n".join(kept))
    assert skipped.data_hash == load_items(config(photos)).data_hash
    assert skipped.data_hash != whole.data_hash


def test_a_file_that_was_mended_is_taken_again(photos):
    file = photos / "1/2.jpg"
    good = file.read_bytes()
    file.write_bytes(b"")
    os.utime(file, (1, 1))
    assert len(load_items(config(photos, skip=True)).frame) == 23
    file.write_bytes(good)
    assert len(load_items(config(photos, skip=True)).frame) == 24


@pytest.mark.parametrize("in_memory", [True, False])
def test_all_are_told_of_all_splits_and_listed_in_a_file(photos, cache, monkeypatch, in_memory):
    bad = [f"{label}/{number}.jpg" for label in (0, 3, 5) for number in (0, 1)]
    for name in bad:
        (photos / name).write_bytes(b"gone")
    items = load_items(config(photos))
    images = image_set(items, "train", INPUT, training=True)
    if not in_memory:
        monkeypatch.setattr("stt_bench.benchmark.datasets.prepared_images.memory_limit", lambda: 0)
    with pytest.raises(BenchError) as told:
        images.load() or images.check()
    said = str(told.value)
    assert said.startswith("6 of 24 images cannot be used: ")
    named = re.findall(r"(\d/\d\.jpg) cannot be read as an image", said)
    assert named == bad[:3]
    (listed,) = cache.glob("images-*.txt")
    assert said.endswith(
        f"; all are listed in {listed}: replace or remove them, or leave them out "
        "with data.skip_unreadable: true"
    )
    assert "\n" not in said
    lines = listed.read_text().splitlines()
    assert [line.partition(" cannot")[0][-7:] for line in lines] == bad


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
    """Return the files that are decoded from now on; those of a moment ago count as unchanged."""
    monkeypatch.setattr(contents, "_SETTLED", -1)
    seen: list[str] = []
    decode = stores._decode
    monkeypatch.setattr(
        stores, "_decode", lambda stream, where: seen.append(where) or decode(stream, where)
    )
    return seen


def checked(photos: Path, **more) -> None:
    """Check all images in a process that has seen none."""
    items = load_items(config(photos))
    for split in ("train", "test"):
        image_set(items, split, INPUT.model_copy(update=more), training=split == "train").check()


def test_a_file_that_was_readable_once_is_not_decoded_to_be_checked(photos, decoded):
    checked(photos)
    assert len(decoded) == 24
    decoded.clear()
    checked(photos, crop="random", size=9)
    assert decoded == []
    assert not load_items(config(photos, skip=True)).unreadable  # which asks the same
    assert decoded == []


def test_a_replaced_file_is_decoded_and_told_of_all_splits(photos, decoded):
    checked(photos)
    bad = [str(photos / name) for name in ("1/2.jpg", "6/0.jpg")]
    for name in bad:
        truncate(Path(name))
    decoded.clear()
    with pytest.raises(BenchError, match=r"2 of 24 images cannot be used") as told:
        checked(photos)
    assert set(decoded) == set(bad)
    assert all(name in str(told.value) for name in bad)


def test_what_depends_on_the_settings_is_told_of_readable_files_too(photos, decoded):
    Image.new("L", (8000, 2)).save(photos / "1/2.jpg")
    checked(photos, aspect="squash")
    with pytest.raises(BenchError, match=r"1/2.jpg cannot be converted \(it is 8000 × 2 pixels"):
        checked(photos, size=224)


def test_grey_values_beyond_those_of_the_run_are_told_of_readable_files_too(photos, decoded):
    for number in range(3):
        deep = np.full((9, 9), 4000, np.uint16)
        Image.fromarray(deep).save(photos / "1" / f"{number}.png")
    listed = photos / "list.csv"
    listed.write_text(listed.read_text().replace("1/2.jpg", "1/2.png"))
    items = load_items(config(photos))
    assert items.bits == 12
    checked(photos)
    fewer = replace(items, bits=10)
    decoded.clear()
    with pytest.raises(BenchError, match=r"beyond the 0 to 1023"):
        image_set(fewer, "train", INPUT, training=True).check()
    assert {Path(name).name for name in decoded} == {"2.png"}


def test_sizes_are_known_of_files_that_are_not_decoded(photos, decoded):
    checked(photos)
    decoded.clear()
    larger = INPUT.model_copy(update={"resize": 11, "crop": "random"})
    images = image_set(load_items(config(photos)), "train", larger, training=True)
    images.check()
    images.batch(np.arange(6), np.random.default_rng(0), slice(1, 3))
    assert len(decoded) == 2
    assert images._sizes_of(np.arange(12)).tolist() == [[11, 13]] * 12


def test_each_list_has_a_file_of_its_own(cache):
    one, other = (listed_in_file("images", [f"{x}/1.jpg", f"{x}/2\udcff.jpg"]) for x in "ab")
    assert one.read_bytes() == b"a/1.jpg\na/2\xff.jpg\n"
    assert other.read_bytes() == b"b/1.jpg\nb/2\xff.jpg\n"
    assert listed_in_file("images", ["a/1.jpg", "a/2\udcff.jpg"]) == one


def test_one_broken_file_needs_no_list(photos, cache):
    (photos / "5/1.jpg").write_bytes(b"gone")
    images = image_set(load_items(config(photos)), "train", INPUT, training=True)
    assert images.load()  # it is a test image
    with pytest.raises(BenchError, match=r"5/1.jpg cannot be read .*: replace or remove it, or "):
        image_set(load_items(config(photos)), "test", INPUT, training=False).load()
    assert not cache.exists()


def test_an_image_that_does_not_suit_the_input_is_no_unreadable_one(photos):
    Image.new("RGB", (40_000, 1)).save(photos / "0/0.jpg")
    items = load_items(config(photos, skip=True))
    assert not items.unreadable
    with pytest.raises(BenchError, match=r"crop or remove it, or set input.aspect") as told:
        image_set(items, "train", InputConfig(size=300), training=True).load()
    assert "skip_unreadable" not in str(told.value)


@pytest.mark.parametrize(
    ("gone", "task", "told"),
    [
        (("1/0", "1/1", "1/2"), "retrieval", r"no train image of class 'c1' is left"),
        (("6/0", "6/1", "6/2"), "retrieval", r"no test image of class 'c6' is left"),
        (("6/0", "6/1"), "retrieval", r"the query .*6/2.jpg has no positive left"),
        (("6/0", "6/1", "7/0", "7/2"), "retrieval", r"and 1 more have no positive left"),
    ],
)
def test_no_class_and_no_positive_may_vanish(photos, gone, task, told):
    for name in gone:
        (photos / f"{name}.jpg").write_bytes(b"")
    with pytest.raises(BenchError, match=told) as error:
        load_items(config(photos, skip=True, task=task))
    assert "\n" not in str(error.value)
    assert ": replace those images, or remove the " in str(error.value)


def test_a_query_keeps_its_gallery(photos):
    """A query whose only positive in the gallery is broken is refused, one that had none is not."""
    lines = [line + "," + role(line) for line in (photos / "list.csv").read_text().splitlines()]
    (photos / "list.csv").write_text("\n".join(lines))
    (photos / "5/0.jpg").write_bytes(b"")  # a query
    assert len(load_items(config(photos, skip=True)).unreadable) == 1
    (photos / "6/2.jpg").write_bytes(b"")  # the only one of its class in the gallery
    with pytest.raises(BenchError, match=r"the query .*6/0.jpg and 1 more have no positive left"):
        load_items(config(photos, skip=True))


def role(line: str) -> str:
    if line.startswith("path"):
        return "role"
    return "both" if "train" in line else "gallery" if "/2" in line else "query"


def test_a_search_looks_at_training_images_alone(photos):
    (photos / "5/0.jpg").write_bytes(b"")
    assert not training_items(config(photos, skip=True)).unreadable
    (photos / "1/0.jpg").write_bytes(b"")
    items = training_items(config(photos, skip=True))
    assert [path[-7:] for path in items.unreadable] == ["1/0.jpg"]
    assert len(items.frame) == 11


def test_held_out_classes_are_those_of_the_readable_images(photos):
    (photos / "1/0.jpg").write_bytes(b"")
    both = [
        read(config(photos, skip=True, validation=0.5)) for read in (load_items, training_items)
    ]
    assert both[0].split("train")["path"].tolist() == both[1].split("train")["path"].tolist()


def test_verify_lists_all_in_a_file(photos, cache):
    for number in range(8):
        for name in ("0.jpg", "1.jpg", "2.jpg"):
            (photos / f"{number}" / name).write_bytes(b"")
    found = verify_dataset("images", root=str(photos / "list.csv"))
    lines = list(found.lines())
    (listed,) = cache.glob("images-*.txt")
    assert f"and 4 more; all are listed in {listed}" in lines
    assert len(listed.read_text().splitlines()) == 24


def test_a_store_of_somebodys_own_and_an_array(photos):
    class Own:
        arrays = None

        def read(self, path: str) -> Image.Image:
            if path == "b":
                raise ValueError("no such row")
            return Image.new("F" if path == "c" else "L", (4, 4))

    found = unreadable_images(Own(), ["a", "b", "c"])
    assert list(found) == ["b", "c"]
    assert found["b"] == "no such row"
    assert "no known range" in found["c"]
    assert not load_items(DataConfig(name="digits", skip_unreadable=True)).unreadable


def test_facts_of_whole_data_are_what_they_were():
    facts = {"seconds": 1.0, "images_per_second": None, "peak_memory_mib": 1.0}
    facts |= {"trained_parameters": 1, "collapsed_at": None, "device": "cpu", "threads": 1}
    written = Training.model_validate(facts).model_dump(mode="json")
    assert "unreadable" not in written
    told = {"a.jpg": "truncated"}
    assert Training.model_validate(facts | {"unreadable": told}).model_dump()["unreadable"] == told
