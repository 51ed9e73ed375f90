"""What is kept on disk: damaged, of another network, written by several, listed and removed."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from command_line import Command, disk_with

from stt_bench.benchmark.features import store as module
from stt_bench.benchmark.features.store import FeatureStore, features_folder, open_store
from stt_bench.benchmark.system.progress import Reporter

KEY = {"network": "own/net", "layer": "all", "input": {"size": 32}}


class Told(Reporter):
    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.told: list[str] = []

    def warn(self, text: str) -> None:
        self.told.append(text)


@pytest.fixture(autouse=True)
def afresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], FeatureStore]:
    """Return what another process would open."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def again() -> FeatureStore:
        monkeypatch.setattr(module, "_open", {})
        return open_store(KEY)

    return again


def ids(*numbers: int) -> list[bytes]:
    return [bytes([number]) * 32 for number in numbers]


def rows(*numbers: int) -> np.ndarray:
    """A map of 2 × 3 values for each number."""
    return np.array(numbers, dtype=np.float32)[:, None, None] + np.ones((2, 3), np.float32)


def found(store: FeatureStore, *numbers: int) -> list[float]:
    array, places = store.find(ids(*numbers))
    assert array.shape[1:] == (2, 3)
    return [float(row.mean()) - 1 for row in array[places]]


def test_rows_come_back_by_content(afresh: Callable[[], FeatureStore]) -> None:
    first = afresh()
    assert first.missing(ids(1, 2), Told()) == set(ids(1, 2))
    first.add(ids(1, 2), rows(1, 2))
    first.add(ids(3), rows(3))
    assert found(first, 3, 1) == [3, 1]
    second = afresh()
    assert second.missing(ids(1, 2, 3, 4), Told()) == set(ids(4))
    assert found(second, 2, 3, 1, 2) == [2, 3, 1, 2]
    assert isinstance(second.find(ids(1))[0].base, np.memmap | np.ndarray)
    assert second.in_memory == 0  # memory-mapped
    assert len(list((features_folder() or Path()).glob("*/*.npy"))) == 1  # settled into one file


def test_rows_are_put_together_in_pieces_and_the_file_is_that_of_numpy(
    afresh: Callable[[], FeatureStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CHUNK", 150)  # two rows
    store = afresh()
    for some in ((5, 1, 2), (3,), (9, 8, 7)):
        store.add(ids(*some), rows(*some))
    copied: list[int] = []
    gathered = store._gathered

    def counted(places: np.ndarray) -> np.ndarray:
        copied.append(len(places))
        return gathered(places)

    monkeypatch.setattr(store, "_gathered", counted)
    assert found(store, 7, 5, 3) == [7, 5, 3]
    assert copied == [2, 2, 2, 1]
    (file,) = (features_folder() or Path()).glob("*/*.npy")
    whole = np.load(file)
    assert [bytes(one) for one in whole["id"]] == ids(5, 1, 2, 3, 9, 8, 7)
    saved = io.BytesIO()
    np.save(saved, whole)
    assert file.read_bytes() == saved.getvalue()


def test_other_keys_are_other_rows(afresh: Callable[[], FeatureStore]) -> None:
    afresh().add(ids(1), rows(1))
    assert open_store({**KEY, "layer": "blocks.4"}).missing(ids(1), Told()) == set(ids(1))


def the_file() -> Path:
    (file,) = (features_folder() or Path()).glob("*/*.npy")
    return file


def cut_short(content: bytes) -> bytes:
    return content[: len(content) // 2]


def one_bit(content: bytes) -> bytes:
    return content[:-3] + bytes([content[-3] ^ 16]) + content[-2:]


def an_archive(_: bytes) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, np.zeros(3))
    return stream.getvalue()


DAMAGES = [
    cut_short,
    one_bit,
    an_archive,
    lambda _: b"",
    lambda _: b"{}",
    lambda content: b"x" + content[1:],
    lambda content: content.replace(b"[('id'", b"\xd7('id'"),
    lambda content: content.replace(b"'crc'", b"'crc\x17"),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_told_and_computed_again(
    afresh: Callable[[], FeatureStore], damage: Callable[[bytes], bytes]
) -> None:
    afresh().add(ids(1, 2), rows(1, 2))
    file = the_file()
    file.write_bytes(damage(file.read_bytes()))
    store, reporter = afresh(), Told()
    assert store.missing(ids(1, 2), reporter) == set(ids(1, 2))
    assert len(reporter.told) == 1
    assert "damaged" in reporter.told[0]
    store.add(ids(1, 2), rows(1, 2))
    assert found(store, 1, 2) == [1, 2]
    assert afresh().missing(ids(1, 2), reporter) == set()
    assert len(reporter.told) == 1


def test_what_cannot_be_read_is_told_and_left(
    afresh: Callable[[], FeatureStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    afresh().add(ids(1, 2), rows(1, 2))
    file, reporter = the_file(), Told()
    file.with_name("dead.npy").symlink_to("nowhere")
    with monkeypatch.context() as patch:
        refused = Mock(side_effect=PermissionError(13, "Permission denied"))
        patch.setattr(module.np, "load", refused)
        assert afresh().missing(ids(1), reporter) == set(ids(1))
    assert all("cannot be read (Permission denied)" in text for text in reporter.told)
    assert afresh().missing(ids(1, 2), reporter) == set()


def test_kept_rows_of_another_shape_do_not_mix_with_those_of_now(
    afresh: Callable[[], FeatureStore],
) -> None:
    afresh().add(ids(9), np.ones((1, 5), np.float32))
    store = afresh()
    assert store.missing(ids(1), Told()) == set(ids(1))
    store.add(ids(1), rows(1))
    assert found(store, 1) == [1]


def test_several_write_at_once(afresh: Callable[[], FeatureStore]) -> None:
    """Each computes some rows that the others compute too; none is lost, none is another."""
    folder = afresh().folder

    def work(start: int) -> None:
        for number in range(start, start + 12):
            own = FeatureStore(KEY, folder)
            for one in sorted(own.missing(ids(number, number + 1), Told())):
                own.add([one], rows(one[0]))
            assert found(own, number, number + 1) == [number, number + 1]

    failed: list[BaseException] = []

    def told(start: int) -> None:
        try:
            work(start)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=told, args=(start,)) for start in (0, 4, 8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    last = afresh()
    assert last.missing(ids(*range(21)), Told()) == set()
    assert found(last, *range(21)) == list(range(21))


def test_a_disk_that_cannot_be_written(afresh: Callable[[], FeatureStore], tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder would be")
    store = afresh()
    store.add(ids(1), rows(1))
    store.add(ids(2), rows(2))
    assert found(store, 2, 1) == [2, 1]
    assert store.in_memory > 0
    assert store.no_room is not None


def test_a_full_disk_keeps_rows_in_memory_and_says_so(afresh: Callable[[], FeatureStore]) -> None:
    store = afresh()
    with disk_with(100):
        store.add(ids(1, 2), rows(1, 2))
    assert found(store, 2, 1) == [2, 1]
    assert store.no_room is not None
    assert "cannot be written" in store.no_room
    assert str(store.folder) in store.no_room


def test_list_and_clear(stt_bench: Command, afresh: Callable[[], FeatureStore]) -> None:
    assert stt_bench("cache", "list").stdout == f"nothing is kept in {features_folder()}\n"
    store = afresh()
    store.add(ids(1, 2), rows(1, 2))
    network, layer, size, count, mib, folder = stt_bench("cache", "list").stdout.split("\t")
    assert (network, layer, size, count, mib) == ("own/net", "all", "32 px", "2", "0.0 MiB")
    assert Path(folder.strip()) == store.folder
    kept = features_folder()
    assert kept is not None
    (kept / "note.txt").write_text("strays are no features")
    kept.rename(kept.with_name("large disk"))
    kept.symlink_to("large disk")  # it stays where it was put
    (kept / "odd").mkdir()
    (kept / "odd" / "key.json").write_text('{"input": 3}')
    assert "\n?\t?\t? px\t0" in stt_bench("cache", "list").stdout
    assert stt_bench("cache", "clear").stdout == "0.0 MiB of frozen features removed\n"
    assert not list(kept.iterdir())
    assert found(store, 1) == [1]  # whoever has it open keeps it
    assert stt_bench("cache", "list").stdout.startswith("nothing is kept")
    assert stt_bench("cache", "clear").returncode == 0
