"""Parquet files as tables."""

from __future__ import annotations

import warnings
from pathlib import Path

import pandas as pd

from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.kinds import instead
from stt_bench.benchmark.system.text import one_line


def read_parquet(file: Path) -> pd.DataFrame:
    """Return the table of a Parquet file.

    Raises:
        BenchError: it is missing or cannot be read, or the package that reads it is.
    """
    if not file.is_file():
        raise BenchError(f"{file}: there is no such file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pandas' advice to use another package
            return pd.read_parquet(file)
    except ImportError:
        raise BenchError(
            f"{file}: to read Parquet, install fastparquet or pyarrow (the extra [parquet])"
        ) from None
    except Exception as error:  # the packages raise what they like
        raise BenchError(
            f"{file}: cannot be read as Parquet{instead(file)} ({one_line(str(error), 200)})"
        ) from None
