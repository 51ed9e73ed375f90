"""Leases: who works on a thing, on this machine and on others that share its folder."""

from __future__ import annotations

import errno
import json
import os
import signal
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from filelock import FileLock

from stt_bench.benchmark.store import leases
from stt_bench.benchmark.store.leases import Holder, Lease, holder, lease_file
from stt_bench.benchmark.store.locks import InUseError, locked
from stt_bench.benchmark.system.errors import BenchError

ELSEWHERE = Holder("node-7", 4711, "2026-01-02 03:04:05 UTC", "node-7 started then", "abc")


def write(path: Path, of: Holder, age: float = 0.0) -> Path:
    """Write the lease of a process, last touched some seconds ago."""
    file = lease_file(path)
    beside = path.with_name("beside")
    beside.write_text(json.dumps(asdict(of)))
    os.utime(beside, (time.time() - age, time.time() - age))
    return beside.rename(file)


def test_who_holds_it_is_told_and_nothing_stays(tmp_path: Path) -> None:
    path = tmp_path / "thing"
    assert holder(path) is None
    with locked(path):
        here = holder(path)
        assert here is not None
        assert here.pid == os.getpid()
        with pytest.raises(InUseError, match=rf"another stt-bench \(pid {here.pid} on .*, since "):
            locked(path).__enter__()
    assert holder(path) is None
    assert not lease_file(path).exists()


def test_a_lease_of_another_machine_counts_while_it_is_touched(tmp_path: Path) -> None:
    path = tmp_path / "thing"
    file = write(path, ELSEWHERE, age=leases.DEAD - 30)
    told = r"pid 4711 on node-7, since 2026-01-02 03:04:05 UTC"
    with pytest.raises(InUseError, match=told), locked(path):
        pass
    assert holder(path) == ELSEWHERE
    write(path, ELSEWHERE, age=leases.DEAD + 30)
    assert holder(path) is None
    with locked(path):
        assert json.loads(file.read_text())["pid"] == os.getpid()
    assert [one.name for one in tmp_path.iterdir() if "lease" in one.name] == []


def test_a_lease_of_the_future_ends_as_soon_as_one_of_now(tmp_path: Path) -> None:
    """The server's clock was ahead when it was touched last, and its holder is no more."""
    path = tmp_path / "thing"
    file = write(path, ELSEWHERE, age=-864_000)
    assert holder(path) == ELSEWHERE
    assert abs(file.stat().st_mtime - time.time()) < leases.DEAD / 2


def test_a_link_to_nothing_is_nobodys_lease(tmp_path: Path) -> None:
    path = tmp_path / "thing"
    lease_file(path).symlink_to(tmp_path / "nothing")
    assert holder(path) is None
    with locked(path):
        assert holder(path) is not None
    assert not (tmp_path / "nothing").exists()


def test_a_crash_on_this_machine_leaves_nothing_to_wait_for(tmp_path: Path) -> None:
    path = tmp_path / "thing"
    child = os.fork()
    if not child:
        with locked(path):
            os._exit(0)  # as if it were killed: nothing is given back
    os.waitpid(child, 0)
    assert lease_file(path).exists()
    assert holder(path) is None
    with locked(path):
        pass


def test_a_process_in_another_container_of_the_same_host_name_is_not_looked_for_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its number is nobody's here: only its signs of life count."""
    with monkeypatch.context() as patch:
        patch.setattr(leases, "pid_namespace", lambda: "pid:[1]")
        leases._machine.cache_clear()
        machine = leases._machine()
    leases._machine.cache_clear()
    path, there = tmp_path / "thing", replace(ELSEWHERE, pid=2**22 + 1, machine=machine)
    write(path, there)
    assert holder(path) == there
    write(path, replace(there, machine=leases._machine()))
    assert holder(path) is None


def test_without_locks_of_the_folder_the_lease_alone_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    path = tmp_path / "thing"
    with locked(path), pytest.raises(InUseError, match=f"pid {os.getpid()}"), locked(path):
        pass
    with locked(path):
        pass


def test_a_full_disk_leaves_no_lease_of_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "thing"
    with monkeypatch.context() as patch:
        patch.setattr(leases.json, "dump", refuse)
        with pytest.raises(BenchError, match="make room there, then the same command"):
            locked(path).__enter__()
    with locked(path):
        pass


def test_the_holder_gives_signs_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "BEAT", 0.01)
    path = tmp_path / "thing"
    with locked(path):
        os.utime(lease_file(path), (1000, 1000))
        limit = time.monotonic() + 30
        while lease_file(path).stat().st_mtime == 1000 and time.monotonic() < limit:
            time.sleep(0.01)
        assert lease_file(path).stat().st_mtime > 1000


def oversleep(path: Path) -> None:
    """Hold a lease until another process has it, and longer."""
    with locked(path):
        write(path, ELSEWHERE)
        time.sleep(30)


def test_whoever_slept_too_long_stops_and_leaves_it_to_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "BEAT", 0.01)
    path = tmp_path / "thing"
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # is ignored under nohup
    try:
        with pytest.raises(InUseError, match=r"was taken over by another .*node-7"):
            oversleep(path)
    finally:
        signal.signal(signal.SIGINT, before)
    assert holder(path) == ELSEWHERE


def test_where_ctrl_c_is_ignored_it_is_stopped_as_by_sigterm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "BEAT", 0.01)
    path = tmp_path / "thing"

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, signal.SIG_IGN), signal.signal(signal.SIGTERM, stop)
    try:
        with pytest.raises(InUseError, match="node-7"):
            oversleep(path)
    finally:
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGTERM, before[1])


def test_a_lease_that_came_since_is_put_back(tmp_path: Path) -> None:
    path = tmp_path / "thing"
    file = write(path, ELSEWHERE)
    Lease(path)._remove(Holder(token="another"))
    assert json.loads(file.read_text()) == asdict(ELSEWHERE)
    assert list(tmp_path.iterdir()) == [file]


def test_a_lease_that_is_being_written_counts(tmp_path: Path) -> None:
    path = tmp_path / "thing"
    lease_file(path).write_text("")
    with pytest.raises(InUseError, match="another stt-bench: wait"), locked(path):
        pass
