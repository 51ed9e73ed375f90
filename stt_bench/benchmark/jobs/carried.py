"""Files that travel with a task to a machine that does not see them, and back."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO

from stt_bench.benchmark.system.atomic import append_lines, write_atomically

Files = dict[str, bytes]
"""The content of files by their paths."""
Stamps = dict[Path, tuple[int, int]]
"""Size and time (ns) of files."""
LEDGER = "ledger.jsonl"
"""Name of files that several tasks add lines to."""


def pack(paths: Sequence[Path]) -> Files:
    """Return the content of files, and of all files below folders, by their paths."""
    found = [file for path in paths for file in (path, *path.rglob("*")) if file.is_file()]
    return {str(file): file.read_bytes() for file in found}


def changed(folder: Path, known: Stamps) -> Files:
    """Return the content of the files in a folder, not below it, that are not as they were known.

    They are read in the order of their names, so that ``metrics.jsonl`` holds what was measured
    before ``checkpoint.pt``.

    Args:
        folder: need not be there.
        known: is brought up to date.
    """
    found: Files = {}
    with suppress(OSError):
        for file in sorted(folder.iterdir()):
            with suppress(OSError):  # it is gone, or a folder
                stat = file.stat()
                stamp = stat.st_size, stat.st_mtime_ns
                if not file.name.startswith(".") and known.get(file) != stamp:
                    found[str(file)] = file.read_bytes()
                    known[file] = stamp
    return found


def unpack(files: Files, paths: Sequence[Path]) -> None:
    """Write files where they lay, those at `paths` or below alone; lines of a ledger are added.

    Raises:
        BenchError: a file cannot be written.
    """
    for name, content in files.items():
        file = Path(name)
        if not any(path in (file, *file.parents) for path in paths):
            continue
        if file.name == LEDGER:
            there = set(file.read_text("utf-8").splitlines()) if file.exists() else set()
            lines = content.decode().splitlines()
            append_lines(file, [line for line in lines if line not in there])
        else:
            write_atomically(file, partial(_write, content))


def _write(content: bytes, stream: IO[bytes]) -> None:
    stream.write(content)
