"""The plan of a comparison: what was found, what is run, and how long it takes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict

from stt_bench.benchmark.compare.look import Found, Layout
from stt_bench.benchmark.compare.measure import measure
from stt_bench.benchmark.compare.rows import UNTRAINED, catalogue, chosen_rows
from stt_bench.benchmark.compare.setting import Wish, search_of
from stt_bench.benchmark.compare.shares import Shape, Shares, shares
from stt_bench.benchmark.compare.split import Whose, divide
from stt_bench.benchmark.compare.thin import thin
from stt_bench.benchmark.datasets.folders import Level
from stt_bench.benchmark.datasets.list_columns import ByOption
from stt_bench.benchmark.system.progress import duration

_FEWEST_ITEMS = 500  # that are left where there is no time for all


class Request(BaseModel):
    """What the user asked for: the same request continues, another is another comparison."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: str
    labels: str | None = None
    array: str | None = None
    columns: dict[str, str] = {}
    images_root: str | None = None
    classes: Level | None = None
    boxes: str | None = None
    minutes: float = 30.0
    rows: tuple[str, ...] | None = None
    backbone: str | None = None
    weights: str | None = None
    size: int | None = None
    trains: str = "auto"
    split: Whose = "auto"
    seed: int = 0

    @property
    def layout(self) -> Layout:
        """Return what of it tells how the data lie."""
        root = None if self.images_root is None else Path(self.images_root)
        return Layout(ByOption(self.columns), root, self.classes, self.boxes)

    @property
    def wish(self) -> Wish:
        """Return what of it is of the network."""
        given = self.model_dump(include={"backbone", "weights", "size", "trains"})
        return Wish(**given)


class Plan(BaseModel):
    """All that a comparison is made of, but its items; kept in its folder.

    Attributes:
        request: What the user asked for.
        found: What was found in the data, as lines.
        told: How the items are divided, and what trains, as lines.
        sections: The sections of the table that all rows share, but the data.
        rows: The rows by name.
        folds: Of the search.
        every: Steps between two validations.
        patience: Validations without a better mean that end a trial.
        shares: How the time is spent.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    request: Request
    found: list[str]
    told: list[str]
    sections: dict[str, Any]
    rows: list[str]
    folds: int
    every: int
    patience: int
    shares: Shares

    @property
    def untrained(self) -> list[str]:
        """Return the rows that are measured as they start."""
        return [row for row in self.rows if row in UNTRAINED]

    @property
    def trained(self) -> list[str]:
        """Return the rows that train, each tuned alike."""
        return [row for row in self.rows if row not in UNTRAINED]

    def lines(self) -> Iterator[str]:
        """Yield the plan as it is printed."""
        yield from self.found
        yield from self.told
        known = catalogue()
        yield f"rows: {', '.join(known[row].get('label', row) for row in self.rows)}"
        yield f"time: {', '.join(self.times())}; in all about {duration(self.shares.seconds)}"

    def times(self) -> list[str]:
        """Return what the minutes are spent on."""
        spent = self.shares
        search = (
            f"{duration(spent.tune)} to tune {len(self.trained)} rows alike ({spent.studies} "
            f"studies × {spent.trials} trials × {self.folds} folds)"
        )
        run = (
            f"{duration(spent.run)} to train and measure {len(self.rows)} rows × {spent.seeds} "
            "seeds"
        )
        first = [f"{duration(spent.prepare)} to read the images"] if spent.prepare >= 1 else []
        return [*first, search, run]


def make_plan(found: Found, request: Request, seconds: float) -> tuple[Plan, pd.DataFrame]:
    """Return the plan, and the items with their split.

    Args:
        found: the data.
        request: what was asked for.
        seconds: that are left.

    Raises:
        BenchError: the data, or the time, do not do; or there are no weights.
    """
    frame, how = divide(found.frame, request.split, request.seed)
    measured = measure(found, frame, request.wish, seconds)
    rows = chosen_rows(request.rows, measured.sections["model"].get("head_start", "orthogonal"))
    untrained = sum(name in UNTRAINED for name in rows)
    search = search_of(measured.sections)
    shape = Shape(
        trained=len(rows) - untrained,
        untrained=untrained,
        folds=measured.folds,
        steps=measured.sections["train"]["steps"],
        every=search["every"],
    )
    fewest = min(1.0, _FEWEST_ITEMS / len(frame))
    spent = shares(seconds, measured.prices, shape, fewest=fewest, chosen=request.rows is not None)
    told = [f"split: {how}"]
    if spent.items < 1:
        whole = len(frame)
        frame = thin(frame, int(spent.items * whole), request.seed)
        told.append(
            f"there is no time for all {whole:,} items: {len(frame):,} are taken by lot, fewer of "
            "large classes; with more --minutes more"
        )
        measured = measure(found, frame, request.wish, seconds)
    plan = Plan(
        request=request,
        found=found.lines,
        told=[*told, _parts(frame), measured.told],
        sections=measured.sections,
        rows=list(rows),
        folds=measured.folds,
        **search,
        shares=spent,
    )
    return plan, frame


def _parts(frame: pd.DataFrame) -> str:
    train, test = (frame[frame["split"] == part] for part in ("train", "test"))
    return (
        f"{train['label'].nunique():,} classes ({len(train):,} items) to learn from, "
        f"{test['label'].nunique():,} others ({len(test):,}) to retrieve among"
    )
