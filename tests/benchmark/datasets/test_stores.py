import hashlib
import multiprocessing
import pickle
import re
import zipfile

import numpy as np
import pytest
from PIL import Image

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
    with pytest.raises(BenchError, match=re.escape(f"{tmp_path / name} cannot be read as an")):
        FileStore(tmp_path).read(name)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.write(tmp_path / name, name)
    with pytest.raises(BenchError, match=re.escape(f"x.zip/{name} cannot be read as an image")):
        ZipStore(tmp_path / "x.zip").read(name)


def test_missing_files_are_counted_and_the_first_named(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    store = FileStore(tmp_path)
    assert list(store.identity(["a", "a"])) == [hashlib.sha256(b"12345").digest()] * 2
    with pytest.raises(BenchError, match=r"2 of 3 image files do not exist, the first is .*/b:"):
        list(store.identity(["a", "b", "c\0"]))
    with pytest.raises(BenchError, match="b cannot be read"):
        store.read("b")


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
    as_files = FileStore(tmp_path).identity([name.removeprefix("f/") for name in asked])
    assert list(zipped.identity(asked)) == list(as_files)


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
        list(zipped.identity(["g.png"]))
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
    whole = b"".join(store.identity(["a", "b", "c"]))
    assert whole.endswith(arrays.tobytes())
    reshaped = ArrayStore(["a", "b", "c"], arrays.reshape(3, 4, 2))
    assert b"".join(reshaped.identity(["a", "b", "c"])) != whole
    with pytest.raises(BenchError, match="order of its table"):
        list(store.identity(["b", "a", "c"]))
