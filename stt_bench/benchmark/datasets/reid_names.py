"""Re-identification data whose file names hold the identity and the camera.

Market-1501, and data laid out as it is, have `bounding_box_train`, `query` and `bounding_box_test`
(the gallery) with names such as `0002_c1s1_000451_03.jpg`: identity, camera, sequence. Identity -1
marks junk, boxes that count in no list; 0000 distractors, which stay in the gallery. VeRi-776 has
`image_train`, `image_query` and `image_test`, and names such as `0002_c002_00030600_0.jpg`.
MSMT17 has lists of paths such as `0000/0000_000_01_0303morning_0015_0.jpg` and identities, which
are counted from 0 both in training and in test; the third number is the camera.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from stt_bench.benchmark.datasets.folders import folders_in, images_in, some_word
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.text import counted

JUNK = "-1"
_MARKET = re.compile(r"(?P<label>-1|\d{2,})_c(?P<camera>\d+)(?:s(?P<sequence>\d+))?_")
_MSMT = re.compile(r"\d{4}_\d{3}_(?P<camera>\d{2})_\d{4}(?:morning|noon|afternoon)_\d+_\d+\.")
_NOT_READ = ("gt_", "naive", "gt-")  # boxes drawn by hand, of which the queries' lists are made
_TEST = {"test", "query", "gallery"}


def read_reid_folders(folder: Path) -> tuple[pd.DataFrame, list[str], str] | None:
    """Return path, label, camera, sequence, split and role; None where the data are no such ones.

    Paths are relative to the folder. Also told: sentences on what was left out, and the layout in
    words. Images of identity -1 are left out: they count in no list.

    Raises:
        BenchError: some names are of another kind.
    """
    parts = _parts(folder)
    names = {part: images_in(folder / part if part else folder) for part in parts}
    if not names or not all(_some_match(some) for some in names.values()):
        return None
    words = set(parts.values())
    if "query" in words and "test" in words:
        parts = {part: "gallery" if word == "test" else word for part, word in parts.items()}
    frames = []
    for part, word in parts.items():
        frame = _by_name(folder / part, names[part])
        frame["path"] = f"{part}/" + frame["path"] if part else frame["path"]
        if word:
            frame["split"] = "test" if word in _TEST else word
            frame["role"] = word if word in ("query", "gallery") else "both"
        frames.append(frame)
    whole = pd.concat(frames, ignore_index=True)
    notes = []
    junk = whole["label"] == JUNK
    if junk.any():
        left = counted(int(junk.sum()), "image")
        notes.append(f"{folder}: {left} of identity -1 left out: junk counts in no list")
        whole = whole[~junk].reset_index(drop=True)
    if "role" in whole:
        notes += _queries_in_gallery(folder, whole)
    where = f" in the folders {', '.join(parts)}" if any(parts) else ""
    return whole, notes, f"images named IDENTITY_cCAMERA{where}"


def camera_of(paths: Sequence[str]) -> list[str] | None:
    """Return the camera that each file name of MSMT17 holds; None where one is of another kind."""
    found = [_MSMT.match(os.path.basename(path)) for path in paths]
    return [one["camera"] for one in found if one] if all(found) and found else None


def _parts(folder: Path) -> dict[str, str]:
    """Return the folders that may be those of splits, with what they are; or the folder itself."""
    if images_in(folder):
        return {"": ""}
    found: dict[str, str] = {}
    for entry in folders_in(folder):
        if entry.name.lower().startswith(_NOT_READ) or not images_in(entry):
            continue
        word = some_word(entry.name)
        if word is None or word in found.values():
            return {}
        found[entry.name] = word
    whole = set(found.values()) in (
        {"train", "test"},
        {"train", "query", "test"},
        {"train", "query", "gallery"},
        {"query", "test"},
        {"query", "gallery"},
    )
    return found if whole else {}


def _some_match(names: Sequence[str]) -> bool:
    return bool(names) and sum(_MARKET.match(name) is not None for name in names) * 2 > len(names)


def _by_name(folder: Path, names: Sequence[str]) -> pd.DataFrame:
    rows = []
    for name in names:
        found = _MARKET.match(name)
        if found is None:
            raise BenchError(
                f"{folder}/{name} is not named as the images beside it, IDENTITY_cCAMERA_…: rename "
                "or remove it, or give a csv path,label"
            )
        rows.append((name, found["label"], found["camera"], found["sequence"] or ""))
    frame = pd.DataFrame(rows, columns=["path", "label", "camera", "sequence"])
    return frame if (frame["sequence"] != "").any() else frame.drop(columns="sequence")


def _queries_in_gallery(folder: Path, frame: pd.DataFrame) -> list[str]:
    base = frame["path"].map(os.path.basename)
    queries, gallery = (set(base[frame["role"] == role]) for role in ("query", "gallery"))
    if not queries & gallery:
        return []
    return [
        f"{folder}: {counted(len(queries & gallery), 'query image')} in the gallery under the same "
        "name: without evaluation.query_groups: camera each finds itself"
    ]
