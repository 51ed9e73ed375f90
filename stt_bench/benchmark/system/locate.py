"""Where data and weights lie: the few folders that are searched, in a fixed order."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

Kind = Literal["data", "weights"]


def search_places(kind: Kind, *names: str) -> list[Path]:
    """Return the places where one of `names` may lie, in the order in which they are searched.

    With STT_BENCH_DATA set to X, data and weights may lie in X itself or in `X/data` and
    `X/weights`; weights also in the folder `weights` beside X. Then come `./data` (`./weights`) and
    `../shared/data` (`../shared/weights`).
    """
    bases = [Path(kind), Path("../shared") / kind]
    given = os.environ.get("STT_BENCH_DATA")
    if given:
        folder = Path(given).expanduser()
        beside = [Path(os.path.abspath(folder)).parent / kind] if kind == "weights" else []
        bases = [folder, folder / kind, *beside, *bases]
    return [base / name for base in dict.fromkeys(bases) for name in names]


def find_folder(kind: Kind, *names: str) -> Path | None:
    """Return the first existing place of a dataset's folder (or a weights file), or None."""
    return next((place for place in search_places(kind, *names) if place.exists()), None)
