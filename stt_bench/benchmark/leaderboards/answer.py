"""A leaderboard in words: which row leads, by how much, how sure that is, what would be surer."""

from __future__ import annotations

from typing import NamedTuple

from stt_bench.benchmark.leaderboards.board import Leaderboard
from stt_bench.benchmark.leaderboards.comparisons import Pair
from stt_bench.benchmark.leaderboards.outcome import Comparison, Outcome, outcome
from stt_bench.benchmark.leaderboards.plans import plan_of
from stt_bench.benchmark.leaderboards.rows import Row
from stt_bench.benchmark.leaderboards.scores import CONFIDENCE
from stt_bench.benchmark.leaderboards.wording import listed, metric_name
from stt_bench.benchmark.statistics.verdicts import FEWEST_CLASSES

_NAMED = 4  # rows by name, before they are counted
_SURE = {
    "▲▼": "significant for new seeds and new classes",
    "△▽": "significant for new seeds on these test classes, not for new classes",
    "≈": "not significant",
}


def answer(board: Leaderboard) -> list[str]:
    """Return a table's answer on its main metric: three or four sentences of plain text.

    What leads and by how much; how sure that is; how training stands against the untrained network,
    where there is one; what would make it surer. Where nothing can be told apart the first says so
    before all else. No sentence claims more than the page's marks do. Empty where no row has been
    trained.
    """
    found = outcome(board)
    if found is None:
        return []
    told = [_what(found), _how_sure(found), _against_untrained(found), _surer(found)]
    return [sentence for sentence in told if sentence]


class Headline(NamedTuple):
    """A table's outcome in one sentence, and the mark of what it says of the leading row.

    The mark is empty where the sentence itself says that something is not shown, or not known.
    """

    mark: str
    sentence: str


def headline(board: Leaderboard) -> Headline | None:
    """Return what leads and how far that is known; None where no row has been trained."""
    found = outcome(board)
    if found is None:
        return None
    against = found.over_softmax or found.over_next
    known = against is not None and against.interval is not None and not _opening(found)
    mark = against.interval.mark if known and against and against.interval else ""
    return Headline(mark.replace("≈", ""), _what(found))


def _what(found: Outcome) -> str:
    name, labels = metric_name(found.metric), listed([row.label for row in found.leaders])
    value, one = _percent(found.mean(found.best)), len(found.leaders) == 1
    if len(found.ranked) == 1:
        told = f"{labels} is the only trained row that is ranked: {value} {name}"
        return f"{told}{_of_other_protocol(found)}."
    opening = _opening(found)
    if opening:
        told = f"{opening} by {name}: {labels} {'has' if one else 'have'} the highest mean, {value}"
    else:
        told = f"{labels} {'leads' if one else 'lead'} by {name} with {value}"
    against = found.over_softmax or found.over_next
    if against is not None:
        place = "" if found.over_softmax else "the next row, "
        told += f", {_points(against)} {place}{_named(found, against.other)}"
    return f"{told}{_of_other_protocol(found)}."


def _opening(found: Outcome) -> str:
    """Return what comes first where the leader is not known to be better; else nothing."""
    untrained = found.over_untrained
    if untrained is not None and untrained.difference <= 0:
        what = _untrained(found, untrained.other)
        return f"No trained row is above {what} ({_percent(found.mean(untrained.other))})"
    if not found.is_judged:
        return "Nothing can be told apart yet"
    if found.over_softmax is not None and not found.better:
        return "No loss is shown to be better than Softmax"
    return "" if found.tells_apart else "Nothing can be told apart"


def _of_other_protocol(found: Outcome) -> str:
    """Name a trained row of another protocol that stands higher."""
    above = [
        row
        for row in found.board.rows
        if row.is_trained
        and row not in found.ranked
        and not row.inactive
        and found.metric in row.scores
        and found.mean(row) > found.mean(found.best)
    ]
    if not above:
        return ""
    top = max(above, key=found.mean)
    return f"; {top.label}, of another protocol and not ranked, has {_percent(found.mean(top))}"


def _named(found: Outcome, row: Row) -> str:
    several = sum(other.experiment.is_softmax for other in found.ranked) > 1
    is_best = several and row is found.board.best_softmax(found.best, found.metric)
    best = "the best Softmax row, " if is_best else ""
    return f"{best}{row.label} ({_percent(found.mean(row))})"


def _points(one: Comparison) -> str:
    size = f"{abs(100 * one.difference):.1f} points"
    return f"{size} {'below' if one.difference < 0 else 'above'}"


def _how_sure(found: Outcome) -> str:
    rivals = [one for one in (found.over_softmax, found.over_next) if one is not None]
    if len(rivals) == 2 and rivals[0].other is rivals[1].other:
        rivals = rivals[:1]
    if not rivals:
        if len(found.ranked) > 1:
            return "All ranked rows have the same mean, so there is no difference to be sure of."
        return "There is no other row to compare it with."
    told = [
        f"{_range(one)} over {one.other.label}{_rank(found, one)} ({_sure(one)})"
        for one in rivals
        if one.interval is not None
    ]
    if not told:
        return _why_unknown(found, rivals)
    corrected = ", corrected for all comparisons of the table," if found.pairs > 1 else ""
    return (
        f"The {100 * CONFIDENCE:.0f} % interval of the difference{corrected} is "
        f"{listed(told)}{_may_be_best(found, rivals)}."
    )


def _may_be_best(found: Outcome, rivals: list[Comparison]) -> str:
    tied, ranked = found.board.may_be_best(found.metric), len(found.board.judged(found.metric))
    if tied is None or ranked < 3:
        return ""
    marks = {one.interval.mark for one in rivals if one.interval is not None}
    if len(tied) == 1 and marks - {"▲", "▼"}:  # two tests of unequal strength
        return (
            "; the test for the best, which looks to one side alone, leaves no other ranked row "
            "for new seeds and new classes"
        )
    if len(tied) == 1:
        return "; for new seeds and new classes no other ranked row may be the best"
    which = "any" if len(tied) == ranked else f"{len(tied)}"
    judged = "ranked rows" + " that may be judged" * (ranked < len(found.ranked))
    return f"; for new seeds and new classes {which} of the {ranked} {judged} may be the best"


def _rank(found: Outcome, one: Comparison) -> str:
    both = found.over_softmax is not None and one is found.over_next
    return ", the next row" if both else ""


def _range(one: Comparison) -> str:
    assert one.interval is not None
    return f"{100 * one.interval.low:+z.1f} to {100 * one.interval.high:+z.1f} points"


def _sure(one: Comparison) -> str:
    mark = one.interval.mark if one.interval else ""
    return next(words for marks, words in _SURE.items() if mark in marks)


def _why_unknown(found: Outcome, rivals: list[Comparison]) -> str:
    rows = [found.best, *(one.other for one in rivals)]
    unsound = [row.label for row in rows if not found.is_sound(row)]
    if unsound and max(len(found.shared_seeds(one.other)) for one in rivals) > 1:
        one = len(unsound) == 1
        lacks, has, was = ("lacks", "has", "was") if one else ("lack", "have", "were")
        return (
            f"How sure that is cannot be said: {listed(unsound)} {lacks} some of the table's "
            f"seeds, or {has} others, or {was} made by other code; the page says which."
        )
    return "One seed cannot say how sure that is."


def _against_untrained(found: Outcome) -> str:
    """Return how the leader stands against the untrained network, and which rows lost to it."""
    parts = []
    one = found.over_untrained
    if one is not None:
        known = f"; {_range(one)}, {_sure(one)}" if one.interval else ""
        what = f"{_untrained(found, one.other)} ({_percent(found.mean(one.other))}{known})"
        parts.append(f"{found.best.label} is {_points(one)} {what}")
    trained = [row for row in found.board.rows if row.is_trained]
    below = [row for row in trained if found.board.below_untrained(row)]
    many = len(below) > _NAMED
    told = not many and found.metric == "map@r" and one is not None and one.difference < 0
    if told:
        below = [row for row in below if row is not found.best]
    if below:
        names, verb = listed([row.label for row in below]), "is" if len(below) == 1 else "are"
        if many:
            names = f"{len(below)} of the {len(trained)} trained rows"
        by = "" if found.metric == "map@r" else " by MAP@R"
        too = ", too" if told else ""
        parts.append(f"{names} {verb} below {'it' if parts else 'the untrained network'}{by}{too}")
    return "; ".join(parts) + "." if parts else ""


def _untrained(found: Outcome, row: Row) -> str:
    several = len(found.untrained) > 1
    return f"the best untrained network, {row.label}" if several else "the untrained network"


def _surer(found: Outcome) -> str:
    """Return what would make the outcome surer."""
    board, metric = found.board, found.metric
    if len(found.ranked) == 1:
        return "Run other rows of its protocol, Softmax first."
    if max(len(row.seeds) for row in found.ranked) == 1:
        return "To know how sure that is, run more seeds, such as --seeds 0,1,2."
    told = plan_of(board, metric) or _missing(found)
    if not any(row.search for row in found.ranked):
        told = told.removesuffix(".")
        told += "; no row was tuned, so that each may stand elsewhere at its own best."
    return told


def _missing(found: Outcome) -> str:
    """Return what is missing to say anything of new classes."""
    measured = found.board.measured
    one = found.over_softmax or found.over_next
    if one is None:
        return "More seeds and more test classes would make it surer."
    if found.metric in ("nmi", "ami"):
        return "Nothing is known of new classes: no class has a share of its own in clusters."
    values = measured.class_differences(Pair(found.best.name, one.other.name, found.metric))
    if values is None:
        return (
            "Nothing is known of new classes: run the rows again, whose records hold no values of "
            "single classes."
        )
    if values.shape[1] < FEWEST_CLASSES:
        return (
            f"Nothing is known of new classes: {values.shape[1]} test classes are too few, it "
            f"takes {FEWEST_CLASSES}."
        )
    return "More seeds, the same for all rows, and more test classes would make it surer."


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"
