"""Fetching a public dataset: all of it or nothing, and one sentence when there is no network."""

from __future__ import annotations

import http.client
import os
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from pathlib import Path

from stt_bench.benchmark.datasets.catalog import Dataset
from stt_bench.benchmark.system.errors import NotHereError

_FAILURES = (
    *(OSError, RuntimeError, http.client.HTTPException),  # no network, or another checksum
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError),  # no archive, or half of one
)


def download_into(target: Path, dataset: Dataset) -> Path:
    """Run the dataset's download beside `target` and rename the finished folder to it."""
    assert dataset.download is not None
    workshop = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        workshop = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        complete = workshop / target.name
        complete.mkdir()
        dataset.download(complete)
        if not target.exists():  # else another process was quicker
            os.replace(complete, target)
    except _FAILURES as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise NotHereError(
            f"dataset '{dataset.name}' was not found and could not be downloaded ({reason}): "
            f"{dataset.get}, or set data.root or STT_BENCH_DATA"
        ) from error
    finally:
        if workshop is not None:
            shutil.rmtree(workshop, ignore_errors=True)
    return target
