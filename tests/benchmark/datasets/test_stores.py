import hashlib
import multiprocessing
import os
import pickle
import re
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from stt_bench.benchmark.datasets import depth
from stt_bench.benchmark.datasets.stores import ArrayStore, FileStore, ZipStore
from stt_bench.benchmark.system.errors import BenchError


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "CMYK", "I;16"])
def test_the_mode_is_untouched(tmp_path, mode):
    file = tmp_path / "x.tif"
    Image.new(mode, (3, 2)).save(file)
    image = FileStore(tmp_path).read("x.tif")
    assert image.mode == mode
    assert image.size == (3, 2)


def broken(tmp_path, save, how: str) -> str:
    name = f"{how}.{'png' if how == 'bytes' else 'jpg'}"
    whole = save(tmp_path / name, (64, 64)).read_bytes()
    content = {
        "empty": b"",
        "text": b"not an image",
        "truncated": whole[: len(whole) // 2],
        "bytes": whole[:60] + bytes(40) + whole[100:],
    }[how]
    (tmp_path / name).write_bytes(content)
    return name


@pytest.mark.parametrize("how", ["empty", "text", "truncated", "bytes"])
def test_a_broken_file_is_named(tmp_path, save, how):
    name = broken(tmp_path, save, how)
    with pytest.raises(
        BenchError, match=re.escape(f"{tmp_path / name} cannot be read as an")
    ) as told:
        FileStore(tmp_path).read(name)
    assert ("empty, or of no format" in str(told.value)) == (how in ("empty", "text"))
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.write(tmp_path / name, name)
    with pytest.raises(BenchError, match=re.escape(f"x.zip/{name} cannot be read as an image")):
        ZipStore(tmp_path / "x.zip").read(name)


def test_missing_files_are_counted_and_the_first_named(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    store = FileStore(tmp_path)
    assert list(store.contents(["a", "a"]).identity) == [hashlib.sha256(b"12345").digest()] * 2
    with pytest.raises(BenchError, match=r"2 of 3 image files do not exist, .* is .*/b \(all: "):
        list(store.contents(["a", "b", "c\0"]).identity)
    with pytest.raises(
        BenchError, match=r"b cannot be read as an image \(No such file or directory\)"
    ):
        store.read("b")
    with pytest.raises(BenchError, match=r"d.1\.png: write / for \\ in the list"):
        store.contents([r"d\1.png"])


@pytest.fixture
def zipped(tmp_path, save) -> ZipStore:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for seed in range(40):
            archive.write(save(tmp_path / f"{seed}.png", (32, 32), seed=seed), f"f/{seed}.png")
    return ZipStore(tmp_path / "x.zip")


def test_zip_members_equal_the_files(zipped, tmp_path):
    for name in zipped.names():
        expected = np.asarray(Image.open(tmp_path / name.removeprefix("f/")))
        np.testing.assert_array_equal(np.asarray(zipped.read(name)), expected)
    asked = ["f/3.png", "f/1.png"]
    as_files = FileStore(tmp_path).contents([name.removeprefix("f/") for name in asked])
    assert list(zipped.contents(asked).identity) == list(as_files.identity)


def pixels(store: ZipStore) -> list[bytes]:
    return [store.read(name).tobytes() for name in store.names()]


def test_a_zip_goes_to_other_processes(zipped):
    expected = pixels(zipped)  # opens it before the fork
    assert pixels(pickle.loads(pickle.dumps(zipped))) == expected

    def read_often() -> None:
        assert all(pixels(zipped) == expected for _ in range(20))

    context = multiprocessing.get_context("fork")
    readers = [context.Process(target=read_often) for _ in range(2)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert [reader.exitcode for reader in readers] == [0, 0]


def test_broken_zips(tmp_path, zipped):
    (tmp_path / "y.zip").write_bytes(b"no zip")
    with pytest.raises(BenchError, match=r"y.zip cannot be read as a zip file"):
        ZipStore(tmp_path / "y.zip").names()
    with pytest.raises(BenchError, match=r"x.zip has no member g.png"):
        list(zipped.contents(["g.png"]).identity)
    content = bytearray(zipped.file.read_bytes())
    content[200:260] = bytes(60)
    zipped.file.write_bytes(content)
    with pytest.raises(BenchError, match=r"x.zip/f/0.png cannot be read .*: get the zip again"):
        zipped.read("f/0.png")


def test_arrays():
    arrays = np.arange(24, dtype=np.uint8).reshape(3, 2, 4)
    store = ArrayStore(["a", "b", "c"], arrays)
    assert store.read("b").mode == "L"
    np.testing.assert_array_equal(np.asarray(store.read("b")), arrays[1])
    whole = b"".join(store.contents(["a", "b", "c"]).identity)
    assert whole.endswith(arrays.tobytes())
    reshaped = ArrayStore(["a", "b", "c"], arrays.reshape(3, 4, 2))
    assert b"".join(reshaped.contents(["a", "b", "c"]).identity) != whole
    with pytest.raises(BenchError, match="order of its table"):
        list(store.contents(["b", "a", "c"]).identity)


def test_replaced_pixels_are_other_data(tmp_path, save, load):
    """A BMP of other pixels has the same size in bytes, and may have the same times."""
    files = [save(tmp_path / "in" / name / f"{n}.bmp", seed=n) for name in "abcd" for n in (0, 1)]
    before = load("images", tmp_path / "in").data_hash
    times = files[3].stat()
    size = times.st_size
    save(files[3], seed=7)
    os.utime(files[3], ns=(times.st_atime_ns, times.st_mtime_ns))
    assert files[3].stat().st_size == size
    assert load("images", tmp_path / "in").data_hash != before
    save(files[3], seed=1)
    assert load("images", tmp_path / "in").data_hash == before


@pytest.mark.parametrize("suffix", ["png", "gif", "bmp", "tif", "webp", "ppm", "tga"])
def test_images_of_too_many_pixels_are_named(tmp_path, suffix, monkeypatch):
    file = tmp_path / f"x.{suffix}"
    Image.new("L", (50, 41)).save(file)
    monkeypatch.setattr(depth, "LARGEST_IMAGE", 2049)
    with pytest.raises(
        BenchError, match=rf"x.{suffix} cannot .* \(it is 50 × 41 pixels, more than"
    ):
        FileStore(tmp_path).read(file.name)
    monkeypatch.setattr(depth, "LARGEST_IMAGE", 2050)
    FileStore(tmp_path).read(file.name)


@pytest.mark.filterwarnings("ignore:Image size")
def test_a_small_file_of_very_many_pixels_is_not_decoded(tmp_path):
    file = tmp_path / "x.png"
    Image.new("1", (1, 1)).save(file)
    content = bytearray(file.read_bytes())
    content[16:24] = (12_000).to_bytes(4, "big") + (12_000).to_bytes(4, "big")
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    file.write_bytes(content)
    with pytest.raises(BenchError, match="12,000 × 12,000 pixels, more than 134,217,728 in all"):
        FileStore(tmp_path).read("x.png")
