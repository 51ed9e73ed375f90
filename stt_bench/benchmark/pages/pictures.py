"""What a table's page shows beside its numbers: curves, galleries, confusions, maps, cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stt_bench.benchmark.datasets import load_items
from stt_bench.benchmark.datasets.image_set import ImageSet, image_set
from stt_bench.benchmark.inspection.projection import Method
from stt_bench.benchmark.leaderboards.board import Leaderboard
from stt_bench.benchmark.leaderboards.wording import listed
from stt_bench.benchmark.models.names import IDENTITY
from stt_bench.benchmark.pages.class_scores import class_section
from stt_bench.benchmark.pages.confusions import confusion_section
from stt_bench.benchmark.pages.cost import cost_section
from stt_bench.benchmark.pages.curves import curves_section
from stt_bench.benchmark.pages.gallery import gallery_section
from stt_bench.benchmark.pages.looked_at import LookedAt, look_at, rows_to_show
from stt_bench.benchmark.pages.point_map import map_section
from stt_bench.benchmark.pages.section import Section
from stt_bench.benchmark.system.errors import BenchError

BUDGET = 10_000_000
"""Bytes that the pictures of a page may take, so that it stays below 15 MB with all the rest."""


def picture_sections(
    board: Leaderboard, runs: Path, *, budget: int = BUDGET, method: Method = "tsne"
) -> list[Section]:
    """Return the picture sections of a table's page, in their order.

    The same records, runs and data give the same sections. What is not there is told in a sentence.

    Args:
        board: the table's leaderboard.
        runs: the folder that holds ``TABLE/ROW/seed-N``, or nothing where the runs are elsewhere.
        budget: bytes that all pictures may take.
        method: how maps are made.
    """
    rows = rows_to_show(board)
    looked, told = look_at(board, rows, runs)
    if rows and not looked:
        told = ["The runs that the records were made of are not in the folder of the runs."]
    missing, told = told, [*told, *note_of_order(looked)]
    images, why = _images(looked)
    pictured = told if why is None else [*told, why]
    gallery, spent = gallery_section(looked, images, pictured, budget // 2)
    return [
        curves_section(board, rows, runs),
        gallery,
        class_section(board, rows),
        confusion_section(board, rows, looked, told),
        map_section(looked, images, missing, budget - spent, method=method),
        cost_section(board),
    ]


def note_of_order(looked: Sequence[LookedAt]) -> list[str]:
    """Return the sentence on rows whose scores were not measured on the order that is shown."""
    ways = {
        "re-ranking": any(one.row.experiment.evaluation.rerank for one in looked),
        "query expansion": any(one.row.experiment.evaluation.query_expansion for one in looked),
    }
    used = [way for way, is_used in ways.items() if is_used]
    if not used:
        return []
    return [
        f"The leaderboard's scores are measured with {listed(used)}; the nearest items here, their "
        "MAP@R and whatever is counted of them are by plain distance, without it."
    ]


def _images(looked: list[LookedAt]) -> tuple[ImageSet | None, str | None]:
    """Return the test images that the rows' runs saw, or why there are none to show."""
    if not looked:
        return None, None
    run, embedded = looked[0].run, looked[0].embedded
    if run.experiment.model.backbone == IDENTITY:
        return None, "The items are vectors: there are no pictures to show."
    try:
        items = load_items(run.experiment.data)
    except BenchError as error:
        return None, f"Without pictures, since the data cannot be read: {error}."
    if items.data_hash != embedded.meta["data_hash"]:
        return None, "Without pictures, since the data have changed since they were embedded."
    return image_set(items, "test", run.experiment.input, training=False), None
