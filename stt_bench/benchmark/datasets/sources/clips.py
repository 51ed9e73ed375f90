"""A user's own video clips: a folder of frames for each, and a csv of their labels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from stt_bench.benchmark.config.sections import Task
from stt_bench.benchmark.datasets.catalog import Source, register_dataset
from stt_bench.benchmark.datasets.csv_lists import read_image_list
from stt_bench.benchmark.datasets.item_rules import COLUMNS, GROUP, WEIGHT, metadata_of
from stt_bench.benchmark.datasets.sources.images import made_split
from stt_bench.benchmark.datasets.splits import taking_part
from stt_bench.benchmark.datasets.stores import FileStore
from stt_bench.benchmark.datasets.suffixes import is_image
from stt_bench.benchmark.system.errors import BenchError

CSV_LIST = "clips.csv"


@register_dataset("clips")
def clips(
    root: Path | None,
    task: Task,
    *,
    items: str | None = None,
    frames: int = 8,
    seed: int = 0,
) -> Source:
    """Your own video clips, from folders of frames and a csv `clip,label[,split][,role]`.

    The csv is `data.root` itself, the option `items`, or `clips.csv` in `data.root`; a clip is a
    folder below the csv's own, its frames are the image files in it, sorted by name. Without a
    split column the clips are split as the dataset `images` splits images.

    Training draws from all frames of the training clips, each with its clip's label. The embedding
    of a test clip is the mean over `frames` of its frames (all, if it has fewer): the middle ones
    of as many equal parts. The table has one row a frame; its column group holds the clip.
    """
    if items is not None and not isinstance(items, str):
        raise BenchError(f"dataset 'clips': option items is a path, not {items!r}: quote it")
    for name, value, least in (("frames", frames, 1), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise BenchError(
                f"dataset 'clips': option {name} is {value!r}: give an integer from {least}"
            )
    csv_list = _csv_list(root, items)
    table, notes, _ = read_image_list(csv_list)
    if "split" not in table:
        table["split"] = made_split(table["label"], task, seed)
    table, told = taking_part(table)
    if "role" not in table:
        table["role"] = "both"
    rows = []
    columns = [*(name for name in (*COLUMNS, WEIGHT) if name in table), *metadata_of(table)]
    for clip, label, split, role, *further in table[columns].itertuples(index=False, name=None):
        names = _frames(csv_list, clip)
        chosen = names if split == "train" else evenly_spaced(names, frames)
        folder = Path(clip).as_posix()
        rows += [(f"{folder}/{name}", label, split, role, *further, folder) for name in chosen]
    frame = pd.DataFrame(rows, columns=[*columns, GROUP])
    return Source(frame, FileStore(csv_list.parent), (*notes, *told))


def evenly_spaced(names: Sequence[str], count: int) -> list[str]:
    """Return the middle one of each of `count` equal parts; all where there are no more."""
    if len(names) <= count:
        return list(names)
    return [names[(2 * part + 1) * len(names) // (2 * count)] for part in range(count)]


def _csv_list(root: Path | None, items: str | None) -> Path:
    if root is None and items is None:
        raise BenchError(
            f"dataset 'clips' has no clips: give data.root (a folder with {CSV_LIST}, or a csv), "
            "or the option items (a csv)"
        )
    start = root or Path()
    csv_list = start / Path(items or CSV_LIST).expanduser() if items or start.is_dir() else start
    if not csv_list.is_file():
        raise BenchError(
            f"dataset 'clips': {csv_list} does not exist: it is a csv clip,label[,split][,role]"
        )
    return csv_list


def _frames(csv_list: Path, clip: str) -> list[str]:
    folder = csv_list.parent / clip
    try:
        names = sorted(name for name in os.listdir(folder) if is_image(name))
    except OSError as error:
        raise BenchError(
            f"{csv_list}: clip '{clip}' cannot be read ({error.strerror}): it is a folder of "
            f"frames below {csv_list.parent}"
        ) from None
    if not names:
        raise BenchError(f"{csv_list}: clip '{clip}' has no frames: remove it or add images to it")
    return names
