"""Who works on a thing: a small file beside it that says so to every machine, and a heartbeat.

The lock of the operating system (see `locks`) tells processes of one machine apart, at once and
whatever becomes of them; on the shared folder of a cluster it may tell nothing. There the lease
does: its holder touches it every `BEAT` seconds, and one that was not touched for `DEAD` seconds is
nobody's. Ages are differences of two times of the file's own server, so clocks need not agree.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import signal
import threading
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from stt_bench.benchmark.system.signals import is_running, pid_namespace

BEAT, DEAD = 15.0, 90.0  # seconds
_SINCE = "%Y-%m-%d %H:%M:%S UTC"


@dataclass(frozen=True)
class Holder:
    """The process that works on a thing.

    Attributes:
        host: Name of its machine.
        pid: Its number there.
        since: When it began, in UTC.
        machine: What tells its machine, since it was started, from all others.
        token: What tells this lease from all others.
    """

    host: str = ""
    pid: int = 0
    since: str = ""
    machine: str = ""
    token: str = ""

    def told(self) -> str:
        """Return who it is in words; nothing where that is not known."""
        return f"pid {self.pid} on {self.host}, since {self.since}" if self.token else ""

    @property
    def is_here(self) -> bool:
        """Tell whether it is, or was, a process of this machine."""
        return self.machine == _machine()

    @property
    def began(self) -> float | None:
        """Return when it began, in Unix time (s) of its machine; None where that is not known."""
        with suppress(ValueError, TypeError):
            began = datetime.datetime.strptime(self.since, _SINCE)
            return began.replace(tzinfo=datetime.UTC).timestamp()
        return None


def lease_file(path: Path) -> Path:
    """Return the lease of what lies, or will lie, at a path."""
    return path.with_name(f".{path.name}.lease")


def holder(path: Path) -> Holder | None:
    """Return who works on what lies at a path; None: nobody."""
    file = lease_file(path)
    found = _read(file)
    return None if found is None or _is_dead(file, found, alone=False) else found


class Lease:
    """A lease while it is held; `lost` is who took it over from a process that slept too long."""

    def __init__(self, path: Path) -> None:
        """Hold nothing yet."""
        self.file = lease_file(path)
        self.lost: Holder | None = None
        self._own: Holder | None = None
        self._ended = threading.Event()

    def take(self, *, alone: bool) -> Holder | None:
        """Take the lease, or return who has it.

        Args:
            alone: the caller has the lock of this machine, so a lease of this machine is left over.
        """
        while True:
            own = Holder(platform.node(), os.getpid(), _now(), _machine(), uuid.uuid4().hex)
            try:
                descriptor = os.open(self.file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
            except FileExistsError:
                other = _read(self.file)
                if other is not None and not _is_dead(self.file, other, alone=alone):
                    return other
                if other is not None:
                    self._remove(other)
                elif self.file.is_symlink():  # to nothing: nobody's
                    self.file.unlink(missing_ok=True)
                continue
            try:
                with os.fdopen(descriptor, "w") as stream:
                    json.dump(asdict(own), stream)
            except BaseException:
                self.file.unlink(missing_ok=True)  # an empty one would count as somebody's
                raise
            self._own = own
            self._ended.clear()
            threading.Thread(target=self._beat, name=f"lease {self.file}", daemon=True).start()
            return None

    def holder(self) -> Holder | None:
        """Return what the lease says; None where there is none."""
        return _read(self.file)

    def release(self) -> None:
        """Give it back."""
        self._ended.set()
        if self._own is not None and self.lost is None:
            self._remove(self._own)
        self._own = None

    def _beat(self) -> None:
        own = self._own
        while own is not None and not self._ended.wait(BEAT):
            with suppress(OSError):
                if (found := _read(self.file)) in (own, None):
                    os.utime(self.file)
                else:
                    self.lost = found
                    _interrupt()  # a training stops after its step
                    return

    def _remove(self, of: Holder) -> None:
        """Remove a holder's lease, and no other's that has come since."""
        aside = self.file.with_name(f"{self.file.name}.{uuid.uuid4().hex[:8]}")
        with suppress(FileNotFoundError):
            os.rename(self.file, aside)
            if _read(aside) != of:
                with suppress(FileExistsError):
                    os.link(aside, self.file)
            aside.unlink()


def _read(file: Path) -> Holder | None:
    """Return what a lease says; an empty `Holder` of one that is just being written."""
    try:
        return Holder(**json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        return Holder()


def _is_dead(file: Path, found: Holder, *, alone: bool) -> bool:
    if found.is_here:
        return alone or not is_running(found.pid)
    try:
        age = _now_at(file) - file.stat().st_mtime
    except FileNotFoundError:
        return False  # it was given back: look again
    if age < -DEAD:  # the server's clock has been set back: count from now
        with suppress(OSError):
            os.utime(file)
    return age > DEAD


def _now_at(file: Path) -> float:
    """Return the present time of the server that holds a file."""
    probe = file.with_name(f"{file.name}.{uuid.uuid4().hex[:8]}")
    try:
        probe.touch()
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime(_SINCE)


@cache
def _machine() -> str:
    """Return what tells this machine, or container, since it was started, from all others."""
    started = ""
    with suppress(OSError):
        started = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    return f"{platform.node()} {started} {pid_namespace()}".strip()


def _interrupt() -> None:
    """Interrupt the main thread as Ctrl-C does; where that is ignored (nohup), as SIGTERM does."""
    asked = signal.SIGINT
    if signal.getsignal(asked) is signal.SIG_IGN and callable(signal.getsignal(signal.SIGTERM)):
        asked = signal.SIGTERM
    main = threading.main_thread().ident
    assert main is not None
    signal.pthread_kill(main, asked)
