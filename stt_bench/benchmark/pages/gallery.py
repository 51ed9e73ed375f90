"""Galleries: queries that a table's rows answer best, as usual and worst, with their neighbours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stt_bench.benchmark.datasets.image_set import ImageSet
from stt_bench.benchmark.inspection.answers import KINDS, worth_a_look
from stt_bench.benchmark.pages.looked_at import SEED, LookedAt
from stt_bench.benchmark.pages.section import Section, rendered
from stt_bench.benchmark.pages.thumbs import address, small_pictures

SIDE = 96  # pixels of a picture
OF_A_KIND = 2
_TITLES = {
    "best": "Answered best",
    "typical": "Answered as usual",
    "worst": "Answered worst",
    "gained": "Gained most",
    "lost": "Lost most",
}


@dataclass(frozen=True)
class Neighbour:
    """One answer: its class, whether it is right, and its picture's address or nothing."""

    id: str
    label: str
    right: bool
    picture: str


@dataclass(frozen=True)
class Answer:
    """What one row answers to a query."""

    row: str
    precision: str
    neighbours: list[Neighbour]


@dataclass(frozen=True)
class Asked:
    """A query, and the answers of the rows."""

    id: str
    label: str
    picture: str
    answers: list[Answer]


def gallery_section(
    looked: Sequence[LookedAt],
    images: ImageSet | None,
    told: Sequence[str],
    budget: int,
    of_a_kind: int = OF_A_KIND,
) -> tuple[Section, int]:
    """Return the section, and how many bytes its pictures take of a budget.

    Of each kind there are as many queries as the budget allows, `of_a_kind` at most.
    """
    chosen = chosen_queries(looked, of_a_kind) if looked else {}
    addresses: dict[str, str] = {}
    for number in range(of_a_kind, 0, -1):
        shown = {kind: some[:number] for kind, some in chosen.items()}
        if images is None:
            break
        ids = _ids(looked, shown)
        new = [one for one in dict.fromkeys(ids) if one not in addresses]
        pictures = small_pictures(images, new, SIDE) if new else []
        addresses |= dict(zip(new, map(address, pictures), strict=True))
        spent = sum(len(addresses[one]) for one in ids)
        if spent <= budget:
            break
    else:
        addresses, shown = {}, chosen
    spent = sum(len(addresses.get(one, "")) for one in _ids(looked, shown)) if looked else 0
    kinds = [
        (_title(kind, looked), [_asked(looked, place, addresses) for place in some])
        for kind, some in (shown if looked else {}).items()
        if len(some)
    ]
    html = rendered(
        "gallery.html",
        kinds=kinds,
        told=list(told),
        lead=looked[0].row.label if looked else "",
        queries=len(looked[0].queries) if looked else 0,
        drawn=bool(looked) and _is_drawn(looked[0]),
        pixelated=bool(addresses) and images is not None and images.config.size <= SIDE // 2,
        left_out=images is not None and bool(looked) and not addresses,
    )
    return Section("gallery", "Queries and their nearest items", html), spent


def chosen_queries(looked: Sequence[LookedAt], number: int) -> dict[str, np.ndarray]:
    """Return which queries to show, by kind; those of the first row's best, usual and worst.

    Where a second row is Softmax, also those whose MAP@R differs most between the two.
    """
    first = looked[0]
    labels = first.embedded.labels[first.queries]
    chosen = worth_a_look(first.precision, labels, number, SEED)
    softmax = next((one for one in looked[1:] if one.row.experiment.is_softmax), None)
    if softmax is not None:
        gain = first.precision - softmax.precision
        taken = np.concatenate([chosen[kind] for kind in KINDS]).astype(int)
        free = np.ones(len(gain), dtype=bool)
        free[taken] = False
        for kind, sign in (("gained", 1), ("lost", -1)):
            some = np.where(free & (sign * gain > 0), sign * gain, np.nan)
            found = worth_a_look(some, labels, number, SEED)["best"]
            chosen[kind] = found
            free[found] = False
    return chosen


def _is_drawn(first: LookedAt) -> bool:
    asked = np.isin(first.embedded.roles, ("query", "both")).sum()
    return bool(asked > len(first.queries))


def _title(kind: str, looked: Sequence[LookedAt]) -> str:
    lead = looked[0].row.label
    beside = {"gained": " over Softmax", "lost": " to Softmax"}.get(kind, "")
    return f"{_TITLES[kind]}{beside} by {lead}"


def _ids(looked: Sequence[LookedAt], chosen: Mapping[str, np.ndarray]) -> list[str]:
    """Return the ids of all pictures, once for each time one is shown."""
    found: list[str] = []
    for place in (place for some in chosen.values() for place in some):
        found.append(str(looked[0].embedded.ids[looked[0].queries[place]]))
        for one in looked:
            found += [str(one.embedded.ids[at]) for at in one.answers.places[place] if at >= 0]
    return found


def _asked(looked: Sequence[LookedAt], place: int, addresses: Mapping[str, str]) -> Asked:
    first = looked[0]
    query = first.queries[place]
    label, own = str(first.embedded.labels[query]), str(first.embedded.ids[query])
    answers = []
    for one in looked:
        neighbours = [
            Neighbour(
                str(one.embedded.ids[at]),
                str(one.embedded.labels[at]),
                bool(right),
                addresses.get(str(one.embedded.ids[at]), ""),
            )
            for at, right in zip(one.answers.places[place], one.answers.right[place], strict=True)
            if at >= 0
        ]
        value = one.precision[place]
        told = "no item of its class to find" if np.isnan(value) else f"{100 * value:.1f}"
        answers.append(Answer(one.row.label, told, neighbours))
    return Asked(own, label, addresses.get(own, ""), answers)
