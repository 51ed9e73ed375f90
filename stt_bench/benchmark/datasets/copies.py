"""Images that stand in one class of a split under two names, byte for byte the same."""

from __future__ import annotations

from collections.abc import Iterator

from stt_bench.benchmark.datasets.groups import GROUP
from stt_bench.benchmark.datasets.items import ItemTable

_SHOWN = 3  # pairs that are named
_MEANING = {"train": "are trained on more than once", "test": "find one another at no distance"}


def notes_on_copies(items: ItemTable) -> Iterator[str]:
    """Yield a sentence for each split with images that have the content of another of their class.

    Copies in another class or split are `near_duplicates`. Frames of clips may well be the same.
    """
    frame = items.frame
    contents = items.contents(frame["path"].tolist())
    if contents is None or GROUP in frame:
        return
    frame = frame.assign(content=[one.hex() for one in contents])
    for split, meaning in _MEANING.items():
        some = frame[frame["split"] == split]
        copies = some[some.duplicated(["label", "content"], keep=False)]
        if copies.empty:
            continue
        groups = [paths for _, paths in copies.groupby(["label", "content"], sort=False)["path"]]
        told = ", ".join(" and ".join(paths.iloc[:2]) for paths in groups[:_SHOWN])
        more = f", and {len(groups) - _SHOWN:,} more" if len(groups) > _SHOWN else ""
        yield (
            f"{len(copies):,} of {len(some):,} {split} images have the content of another of their "
            f"class under another name, and {meaning}: {told}{more}"
        )
