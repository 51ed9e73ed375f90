"""data prepare: the same layout and lists, smaller images, nothing lost on the way."""

import itertools
import json

import numpy as np
import pytest
from PIL import Image

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.config.sections import InputConfig
from stt_bench.benchmark.datasets import prepared_copy
from stt_bench.benchmark.datasets.prepared_copy import prepare_copy
from stt_bench.benchmark.datasets.transforms import prepare
from stt_bench.benchmark.store.protocol import fingerprint, protocol_of
from stt_bench.benchmark.system.errors import BenchError


@pytest.fixture
def birds(mini_cub, save):
    """Make mini_cub's images larger, but for the first of each class."""
    for number, file in enumerate(sorted((mini_cub / "CUB_200_2011").rglob("*.jpg"))):
        if number % 3:
            save(file, (48 + number, 40) if number % 2 else (40, 47 + number), seed=number)
    return mini_cub


def files_below(folder):
    return {str(p.relative_to(folder)): p for p in sorted(folder.rglob("*")) if p.is_file()}


def test_layout_lists_and_sizes(birds, load, tmp_path):
    made = prepare_copy("cub50", 20, root=str(birds), to=tmp_path / "small")
    assert (made.images, made.were_there, made.left_out) == (12, 0, 0)
    before, after = files_below(birds), files_below(tmp_path / "small")
    assert set(after) == {*before, "prepared.json"}
    for name, file in before.items():
        if not name.endswith(".jpg"):
            assert after[name].read_bytes() == file.read_bytes()
            continue
        with Image.open(file) as large, Image.open(after[name]) as small:
            if min(large.size) <= 20:
                assert after[name].read_bytes() == file.read_bytes()
            else:
                assert min(small.size) == 20
                assert max(small.size) == int(20 * max(large.size) / min(large.size))
                assert small.format == "JPEG"
    for task in ("retrieval", "classification"):
        original, copy = load("cub50", birds, task), load("cub50", tmp_path / "small", task)
        assert copy.frame.equals(original.frame)
        assert copy.data_hash == made.hashes[task] != original.data_hash


def test_the_protocol_tells_the_copy_from_the_original(birds, load, tmp_path):
    row = Experiment.model_validate({"data": {"name": "cub50"}, "loss": "softmax"})
    prepare_copy("cub50", 20, root=str(birds), to=tmp_path / "small")
    facts = {"initial_weights": "none", "embedding_dim": 2}
    prints = {
        fingerprint(protocol_of(row, **{**facts, "data_hash": load("cub50", root).data_hash}))
        for root in (birds, tmp_path / "small")
    }
    assert len(prints) == 2


def test_an_image_that_was_replaced_is_made_again(birds, load, tmp_path, save):
    prepare_copy("cub50", 20, root=str(birds), to=tmp_path / "small")
    file = sorted((birds / "CUB_200_2011").rglob("*.jpg"))[4]
    size = Image.open(file).size
    save(file, size, seed=99)
    made = prepare_copy("cub50", 20, root=str(birds), to=tmp_path / "small")
    assert made.were_there == 11
    prepare_copy("cub50", 20, root=str(birds), to=tmp_path / "new")
    assert load("cub50", tmp_path / "small").data_hash == load("cub50", tmp_path / "new").data_hash


def saved(path, mode, size=(60, 44)):
    """Save an image whose pixels follow from its name alone."""
    rng = np.random.default_rng(list(path.name.encode()))
    pixels = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), np.uint8))
    if mode == "I;16":
        image = Image.fromarray(rng.integers(0, 65536, size[::-1], np.uint16))
    else:
        image = pixels.convert(mode)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_network_sees_the_pixels_of_the_original(tmp_path, load, channels):
    """Every pixel is that of the original; colour read as grey may differ by 2 levels of 255.

    The original is made grey and then resized, the copy resized and then made grey. Both are
    weighted means of the same pixels, and PIL rounds to whole levels after each of three passes
    (grey; columns; rows). A mean of values is off by no more than they are, so each way is off by
    three roundings: by 3/2 at most, and at one end only (halves are rounded up). The two whole
    numbers differ by less than 3.
    """
    root = tmp_path / "in"
    modes = {"1": "bmp", "L": "png", "P": "png", "RGB": "tiff", "RGBA": "png", "I;16": "png"}
    for mode, suffix in modes.items():
        saved(root / "ab"[mode < "M"] / f"{mode.replace(';', '_')}.{suffix}", mode)
    saved(root / "a" / "wide.png", "RGB", (99, 30))
    prepare_copy("images", 24, root=str(root), to=tmp_path / "out")
    original, copy = (load("images", r, "classification") for r in (root, tmp_path / "out"))
    assert len(copy.frame) == 7
    config = InputConfig(size=24, channels=channels)
    for path in original.frame["path"]:
        grey = path.split("/")[1][0] in "1LI"
        expected = prepare(original.read(path), config).int()
        difference = (prepare(copy.read(path), config).int() - expected).abs().max()
        assert difference <= (0 if grey or channels == 3 else 2)
        assert min(copy.read(path).size) == 24
        assert (copy.read(path).mode == "L") == grey


def test_rotated_photographs_and_lossy_formats(tmp_path, load):
    root = tmp_path / "in"
    ramp = np.linspace(0, 255, 64)[None, :, None] * np.linspace(0.5, 1, 48)[:, None, None]
    photo = Image.fromarray(np.broadcast_to(ramp, (48, 64, 3)).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    for label, name in itertools.product("ab", ("x.jpg", "y.webp", "z.gif")):
        (root / label).mkdir(parents=True, exist_ok=True)
        options = {"exif": exif} if name != "z.gif" else {}
        photo.save(root / label / name, **options)
    prepare_copy("images", 24, root=str(root), to=tmp_path / "out")
    original, copy = (load("images", r, "classification") for r in (root, tmp_path / "out"))
    config = InputConfig(size=24)
    for path in original.frame["path"]:
        expected, small = (prepare(items.read(path), config) for items in (original, copy))
        assert small.shape == expected.shape == ((3, 32, 24) if "z" not in path else (3, 24, 32))
        assert (small.float() - expected.float()).abs().mean() < 4


def test_it_goes_on_where_it_was(birds, tmp_path):
    to = tmp_path / "small"
    prepare_copy("cub50", 20, root=str(birds), to=to)
    whole = {name: file.read_bytes() for name, file in files_below(to).items()}
    images = sorted(to.rglob("*.jpg"))
    images[3].unlink()
    images[8].unlink()
    times = {file: file.stat().st_mtime_ns for file in files_below(to).values()}
    made = prepare_copy("cub50", 20, root=str(birds), to=to)
    assert made.were_there == 10
    assert {name: file.read_bytes() for name, file in files_below(to).items()} == whole
    assert {file: file.stat().st_mtime_ns for file in times} == times
    with pytest.raises(BenchError, match="of other data or of another size"):
        prepare_copy("cub50", 24, root=str(birds), to=to)


def test_broken_images_do_not_cost_the_others(birds, tmp_path):
    file = sorted((birds / "CUB_200_2011").rglob("*.jpg"))[4]
    good = file.read_bytes()
    file.write_bytes(b"x" * len(good))
    with pytest.raises(BenchError, match=rf"1 of 12 images could not be prepared.*{file.name}"):
        prepare_copy("cub50", 20, root=str(birds), to=tmp_path / "small")
    assert len(list((tmp_path / "small").rglob("*.jpg"))) == 11
    file.write_bytes(good)
    assert prepare_copy("cub50", 20, root=str(birds), to=tmp_path / "small").were_there == 11


def test_what_is_copied_beside_the_images(birds, tmp_path, save, monkeypatch):
    folder = birds / "CUB_200_2011"
    save(folder / "images" / "unlisted.jpg")
    (folder / "parts").mkdir()
    (folder / "parts" / "parts.txt").write_text("x")
    (folder / "attributes.mat").write_bytes(bytes(100))
    (birds / "big.tgz").write_bytes(bytes(101 + max(p.stat().st_size for p in folder.glob("*"))))
    (birds / ".hidden").write_text("x")
    monkeypatch.setattr(prepared_copy, "_LARGEST_OTHER", (birds / "big.tgz").stat().st_size - 1)
    made = prepare_copy("cub50", 20, root=str(birds), to=tmp_path / "small")
    assert made.left_out == 2
    others = {name for name in files_below(tmp_path / "small") if not name.endswith(".jpg")}
    assert {"CUB_200_2011/parts/parts.txt", "CUB_200_2011/attributes.mat"} < others
    assert not any("big" in name or "hidden" in name for name in others)


def test_a_copy_that_lacks_its_lists_is_told(birds, tmp_path, monkeypatch):
    monkeypatch.setattr(prepared_copy, "_LARGEST_OTHER", 0)
    refused(
        "lists other images than .*classes.txt cannot be read",
        "cub50",
        20,
        root=str(birds),
        to=tmp_path / "small",
    )


def test_clips_and_lists(tmp_path, save, load):
    for clip, frame in itertools.product("abcdefgh", range(5)):
        save(tmp_path / "in" / clip / f"{frame}.jpg", (30, 40), seed=frame)
    lines = [f"{clip},{label}" for clip, label in zip("abcdefgh", "wwxxyyzz", strict=True)]
    (tmp_path / "in" / "my.csv").write_text("clip,label\n" + "\n".join(lines))
    options = {"items": "my.csv", "frames": 2}
    prepare_copy("clips", 20, root=str(tmp_path / "in"), to=tmp_path / "out", options=options)
    original, copy = (load("clips", tmp_path / name, **options) for name in ("in", "out"))
    assert copy.frame.equals(original.frame)
    assert copy.read("a/0.jpg").size == (20, 26)
    marker = json.loads((tmp_path / "out" / "prepared.json").read_text())
    assert marker["options"] == options


@pytest.mark.parametrize("inside", [True, False])
def test_a_csv_list_as_the_root(tmp_path, monkeypatch, save, load, inside):
    """Of the folder, which may be anybody's home, only what is listed is copied."""
    monkeypatch.chdir(tmp_path)
    lines = ["path,label"]
    for label, number in itertools.product("abcd", range(2)):
        save(tmp_path / "in" / label / f"{number}.jpg", (30, 40))
        lines.append(f"{label}/{number}.jpg,{label}")
    save(tmp_path / "in" / "other" / "unlisted.jpg")
    (tmp_path / "in" / "diary.txt").touch()
    (tmp_path / "in" / "list.csv").write_text("\n".join(lines))
    to = tmp_path / ("in/small" if inside else "small")
    made = prepare_copy("images", 20, root="in/list.csv", to=to)
    assert (made.root, made.images, made.left_out) == (to / "list.csv", 8, 0)
    original, copy = load("images", tmp_path / "in" / "list.csv"), load("images", made.root)
    assert copy.frame.equals(original.frame)
    assert copy.read("a/0.jpg").size == (20, 26)
    assert {file.name for file in to.iterdir()} == {*"abcd", "list.csv", "prepared.json"}
    assert prepare_copy("images", 20, root="in/list.csv", to=to).were_there == 8
    refused("cannot be made in", "images", 20, root="in/list.csv", to=tmp_path / "in")


def refused(match, *arguments, **options):
    with pytest.raises(BenchError, match=match):
        prepare_copy(*arguments, **options)


def test_stupid_input_is_refused(nowhere, birds, mini_fashion, tmp_path, save):
    root = str(birds)
    refused(r"unknown dataset 'cub5': did you mean 'cub50'\?", "cub5", 20, root=root)
    refused("--size 15: give the shorter side in pixels, 16 or more", "cub50", 15, root=root)
    refused("dataset 'cub50' not found", "cub50", 20)
    refused("'digits' is not made of image files: it needs no preparation", "digits", 20)
    refused("'fashion_mnist' is not made of", "fashion_mnist", 20, root=str(mini_fashion))
    for inside in (birds, birds / "CUB_200_2011" / "small", birds.parent):
        refused("cannot be made in .*: name a folder outside", "cub50", 20, root=root, to=inside)
    refused("has no images: give data.root", "images", 20)
    save(tmp_path / "mine" / "x.png")
    refused("mine exists and is no prepared copy", "cub50", 20, root=root, to=tmp_path / "mine")
    assert list(nowhere.iterdir()) == []
    sorted(birds.rglob("*.jpg"))[0].unlink()
    refused("1 of 12 image files do not exist", "cub50", 20, root=root)
    index = birds / "CUB_200_2011" / "images.txt"
    index.write_text("\n".join(index.read_text().splitlines()[:-1]))
    refused("expected 6 train images", "cub50", 20, root=root)


def test_lists_must_not_point_elsewhere(nowhere, tmp_path, save):
    listed = tmp_path / "in" / "list.csv"
    rows = ["path,label,split"]
    for label, split in (
        ("a", "train"),
        ("b", "train"),
        ("c", "test"),
        ("c", "test"),
        ("d", "test"),
    ):
        file = save(tmp_path / "in" / label / f"{len(rows)}.png", (30, 30))
        rows.append(f"{file},{label},{split}")
    listed.write_text("\n".join(rows))
    refused("lists with relative paths", "images", 20, root=str(listed), to=tmp_path / "x")
    here = {"root": str(tmp_path / "in"), "options": {"items": "list.csv"}}
    refused("lists with relative paths", "images", 20, **here)
    rows.append(f"{save(tmp_path / 'elsewhere.png')},c,test")
    listed.write_text("\n".join(rows))
    refused("elsewhere.png is not below", "images", 20, **here)
