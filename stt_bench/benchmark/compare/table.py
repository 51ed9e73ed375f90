"""The comparison as a table's YAML and a csv of its items, which `stt-bench run` takes."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.files import write_text

ITEMS = "items.csv"
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_/]*")
_WORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}  # mean more in YAML


def table_text(content: Mapping[str, Any], comment: str) -> str:
    """Return a table as YAML: a line for each field and each row.

    Texts that may be anything are quoted as in JSON, which YAML reads alike.
    """
    lines = [f"# {comment}"]
    for key, value in content.items():
        if key != "rows":
            lines.append(f"{key}: {_flow(value)}")
            continue
        lines.append("rows:")
        lines += [f"  {row}: {_flow(fields)}" for row, fields in value.items()]
    return "\n".join(lines) + "\n"


def _flow(value: Any) -> str:
    """Return a value as YAML in one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_flow(key)}: {_flow(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return json.dumps(value, ensure_ascii=False)


def write_items(frame: pd.DataFrame, path: Path) -> None:
    """Write the items that are compared, with their split, for the datasets images and features."""
    write_text(path, frame.to_csv(index=False, lineterminator="\n"))


def link_vectors(file: Path, folder: Path) -> Path:
    """Return a link in a folder to a file of vectors, so that the csv beside it is found.

    Raises:
        BenchError: the file system has no links.
    """
    link = folder / f"vectors{file.suffix.lower()}"
    try:
        if link.is_symlink() or link.exists():
            link.unlink()
        os.symlink(file.resolve(), link)
    except OSError as error:
        raise BenchError(
            f"{link}: cannot be linked to {file} ({error.strerror or error}): name an --out where "
            "it can"
        ) from None
    return link
