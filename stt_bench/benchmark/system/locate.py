"""Where data and weights lie: the few folders that are searched, in a fixed order."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

Kind = Literal["data", "weights"]


def search_places(kind: Kind, name: str) -> list[Path]:
    """Return the places where `name` may lie, in the order in which they are searched."""
    given = os.environ.get("STT_BENCH_DATA")
    bases = [Path(given).expanduser(), Path(given).expanduser() / kind] if given else []
    return [base / name for base in [*bases, Path(kind), Path("../shared") / kind]]


def find_folder(kind: Kind, name: str) -> Path | None:
    """Return the first existing place of a dataset's folder (or a weights file), or None."""
    return next((place for place in search_places(kind, name) if place.exists()), None)
