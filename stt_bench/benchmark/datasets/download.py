"""Fetching a public dataset: all of it or nothing, and one sentence when there is no network."""

from __future__ import annotations

import http.client
import os
from pathlib import Path

from stt_bench.benchmark.datasets.archives import DAMAGED, Download
from stt_bench.benchmark.datasets.catalog import Dataset
from stt_bench.benchmark.system.atomic import (
    NO_ROOM,
    folder_beside,
    sync_folder,
    told_in_a_sentence,
)
from stt_bench.benchmark.system.errors import NotHereError

_FAILURES = (
    *(OSError, RuntimeError, http.client.HTTPException),  # no network, or another checksum
    *DAMAGED,
)


def download_into(target: Path, dataset: Dataset) -> Path:
    """Run the dataset's download beside `target` and rename the finished folder to it."""
    assert dataset.download is not None
    try:
        with folder_beside(target) as beside:
            complete = beside / target.name
            complete.mkdir()
            if isinstance(dataset.download, Download):
                dataset.download(complete, beside=target)
            else:
                dataset.download(complete)
            os.sync()  # a power cut must leave no empty files in a folder that seems whole
            if not target.exists():  # else another process was quicker
                os.replace(complete, target)
                sync_folder(target.parent)
    except _FAILURES as error:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            with told_in_a_sentence(target):
                raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise NotHereError(
            f"dataset '{dataset.name}' was not found and could not be downloaded ({reason}): "
            f"{dataset.get}, or set data.root or STT_BENCH_DATA"
        ) from error
    return target
