"""Which files of a folder are read: those of every format that Pillow decodes by itself."""

import os

import numpy as np
import pytest
from PIL import Image

from stt_bench.benchmark.datasets.loose import loose_images
from stt_bench.benchmark.datasets.suffixes import image_suffixes, is_image, suffixes_in_words
from stt_bench.benchmark.system.errors import BenchError

LOSSLESS = (
    "bmp",
    "dib",
    "gif",
    "pcx",
    "pgm",
    "png",
    "pnm",
    "ppm",
    "rgb",
    "sgi",
    "tga",
    "tif",
    "apng",
)


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_what_pillow_writes_is_read(tmp_path, suffix):
    pixels = np.random.default_rng(0).integers(0, 256, (7, 9), np.uint8)
    for name in (f"x.{suffix}", f"y.{suffix.upper()}"):
        Image.fromarray(pixels).save(tmp_path / name)
    items = loose_images(tmp_path)
    assert items.frame["path"].tolist() == [f"x.{suffix}", f"y.{suffix.upper()}"]
    for path in items.frame["path"]:
        np.testing.assert_array_equal(np.asarray(items.read(path).convert("L")), pixels)


def test_other_programs_and_other_things_than_pictures_are_left_alone():
    for name in ("x.eps", "x.ps", "x.pdf", "x.h5", "x.mpg", "x.txt", "x", ".x.png", "png"):
        assert not is_image(name), name
    assert {".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".jp2", ".mpo"} <= image_suffixes()
    named = suffixes_in_words().partition(" and ")[0].split(", ")
    assert set(named) < image_suffixes()


@pytest.mark.parametrize("name", [b"caf\xe9.png", b"a\rb.png", b"a\nb.png", b"a\tb.png"])
@pytest.mark.parametrize("where", ["path", "label"])
def test_names_that_no_list_can_hold_are_found_before_training(load, save, tmp_path, name, where):
    for label in "abcd":
        for n in range(2):
            save(tmp_path / label / f"{n}.png", seed=n)
    if where == "path":
        old, new = b"a/1.png", b"a/" + name
    else:
        old, new = b"a", name
    try:
        os.rename(os.fsencode(tmp_path) + b"/" + old, os.fsencode(tmp_path) + b"/" + new)
    except OSError:
        pytest.skip("this file system refuses the name itself")
    for task in ("retrieval", "classification"):
        with pytest.raises(BenchError, match=r"the (path|label) .*(UTF-8|control).* rename it"):
            load("images", tmp_path, task)
    with pytest.raises(BenchError, match=r"the path .*(UTF-8|control).* rename it"):
        loose_images(tmp_path)
