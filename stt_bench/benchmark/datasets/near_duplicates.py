"""Images of the test split that stand in the training part too, as they are or nearly so.

Exact copies have the same content. A photo that was saved again, resized, brightened, mirrored or
cropped by a few percent is found in two steps, see `duplicate_search`: near hashes, then alike
pixels. Photos match at 12 bits of 64 or fewer and a correlation of 0.9 at 16 × 16 pixels, the best
over crops of up to 2/32 of each end of each side. Small images (below 64 pixels), drawings, and
things before an even background look alike without being copies: they match at 6 bits and 0.99 at
32 × 32, without crops.

`tests/perf/near_duplicates.py` measured these bounds. Of 400 CUB-50 photos the search finds all
copies at JPEG 30, at half and double size, 0.8 × as bright, and mirrored; 98 % at 1.25 × (clipped);
88 % with 3 % off each side and 72 % with 5 % off two; and pairs none with another photo. In the
data themselves it finds 2 pairs in CUB-50 and 15 in Flowers-102, all of them to the eye one photo
or one scene, and in Fashion-MNIST one cloth each; at 0.98 plain trousers would be paired, and two
vertical strokes of Omniglot.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from PIL import Image

from stt_bench.benchmark.datasets.duplicate_search import SIDE, Thumbnails, similar_pairs
from stt_bench.benchmark.datasets.items import ItemTable
from stt_bench.benchmark.datasets.threads import Progress, thread_count
from stt_bench.benchmark.datasets.transforms import to_channels
from stt_bench.benchmark.system.blocks import by_blocks
from stt_bench.benchmark.system.contents import once

METHOD = "phash64-1"
"""Names the rules above; another one where any of them changes."""

_SMALL = 64  # pixels of the shorter side


@dataclass(frozen=True)
class Match:
    """An image and the most alike of the other set: paths, and their correlation (exact: 1)."""

    image: str
    other: str
    similarity: float
    exact: bool


@dataclass(frozen=True)
class NearDuplicates:
    """The near-duplicates of a dataset: of test images in training, and among test images."""

    pairs_exact: int
    pairs_similar: int
    matches: list[Match]
    """Of each test image that has one in the training part (validation included)."""
    pairs_across_classes: int
    across_classes: list[Match]
    """Of each test image that has one of another class in the test split."""


def near_duplicates(items: ItemTable, progress: Progress | None = None) -> NearDuplicates | None:
    """Return the near-duplicates of an item table; None where its items are no images.

    They follow from the table and the images' contents: found once, then kept in the user's cache
    folder under the data hash.

    Raises:
        BenchError: an image cannot be read.
    """
    if items.vectors is not None or (items.arrays is not None and items.arrays.dtype != np.uint8):
        return None
    if METHOD not in items.prepared:
        sha256 = items.contents(items.frame["path"].tolist())
        if sha256 is None:
            return None
        told = once(METHOD, items.data_hash, lambda: asdict(_find(items, sha256, progress)))
        lists = {name: [Match(**one) for one in told[name]] for name in _LISTS}
        items.prepared[METHOD] = NearDuplicates(**{**told, **lists})
    found: NearDuplicates = items.prepared[METHOD]
    return found


_LISTS = ("matches", "across_classes")


def _find(items: ItemTable, sha256: list[bytes], progress: Progress | None) -> NearDuplicates:
    paths, labels = items.frame["path"].to_numpy(), items.frame["label"].to_numpy()
    contents = pd.factorize(np.array(sha256, dtype=object))[0]
    first = np.unique(contents, return_index=True)[1]
    thumbnails = thumbnails_of(items, paths[first].tolist(), progress)
    is_test = (items.frame["split"] == "test").to_numpy()
    tests, trains = (_rows_by_content(contents, mask) for mask in (is_test, ~is_test))
    both = [(one, one, 1.0) for one in tests if one in trains]

    counts = {True: 0, False: 0}
    matches: dict[int, Match] = {}
    for a, b, similarity in both + similar_pairs(thumbnails, [*tests], [*trains], progress):
        counts[a == b] += len(tests[a]) * len(trains[b])
        for row in tests[a]:
            _keep(matches, row, Match(paths[row], paths[trains[b][0]], similarity, a == b))
    doubled = 0
    across: dict[int, Match] = {}
    selves = [(one, one, 1.0) for one in tests if len(tests[one]) > 1]
    for a, b, similarity in selves + similar_pairs(thumbnails, [*tests], None, progress):
        for own, other_content in {(a, b), (b, a)}:
            for row in tests[own]:
                others = tests[other_content]
                unlike = others[labels[others] != labels[row]]
                doubled += len(unlike)
                for other in unlike[:1]:
                    _keep(across, row, Match(paths[row], paths[other], similarity, a == b))
    return NearDuplicates(
        pairs_exact=counts[True],
        pairs_similar=counts[False],
        matches=[matches[row] for row in sorted(matches)],
        pairs_across_classes=doubled // 2,
        across_classes=[across[row] for row in sorted(across)],
    )


def _rows_by_content(contents: np.ndarray, mask: np.ndarray) -> dict[int, np.ndarray]:
    """Return for each content that some row under a mask has, those rows."""
    rows = np.flatnonzero(mask)
    rows = rows[np.argsort(contents[rows], kind="stable")]
    found, starts = np.unique(contents[rows], return_index=True)
    return dict(zip(found.tolist(), np.split(rows, starts[1:]), strict=True))


def _keep(best: dict[int, Match], row: int, match: Match) -> None:
    if row not in best or match.similarity > best[row].similarity:
        best[row] = match


def thumbnails_of(items: ItemTable, paths: list[str], progress: Progress | None) -> Thumbnails:
    """Return the thumbnails of some images, in their order."""

    def small(path: str) -> tuple[np.ndarray, bool]:
        return thumbnail(items.read(path), items.bits)

    made: list[tuple[np.ndarray, bool]] = []
    with by_blocks(small, paths, thread_count()) as blocks:
        for some in blocks:
            made += some
            if progress is not None:
                progress(len(made), len(paths))
    return Thumbnails(np.stack([one for one, _ in made]), np.array([small for _, small in made]))


def thumbnail(image: Image.Image, bits: int | None = None) -> tuple[np.ndarray, bool]:
    """Return an image as grey uint8 (32, 32), and whether it is small."""
    grey = to_channels(image, 1, bits)
    made = grey.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return np.asarray(made), min(image.size) < _SMALL
