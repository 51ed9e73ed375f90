"""A leaderboard in three sentences: what leads, by how much, and how sure that is."""

from __future__ import annotations

from stt_bench.benchmark.leaderboards.board import Leaderboard
from stt_bench.benchmark.leaderboards.rows import Row
from stt_bench.benchmark.leaderboards.scores import CONFIDENCE
from stt_bench.benchmark.leaderboards.wording import metric_name


def answer(board: Leaderboard) -> list[str]:
    """Return three sentences on a table's main metric; none where no row has been trained.

    The metric is accuracy where most trained rows have it, else MAP@R. The rows of the protocol
    that most rows share are ranked by their means over the seeds. A difference is taken seed by
    seed; it is significant where Student's 95 % interval of its mean over the seeds leaves out 0.
    """
    trained = [row for row in board.rows if row.experiment.train.steps > 0]
    classifies = sum("accuracy" in row.scores for row in trained) > len(trained) / 2
    metric = "accuracy" if classifies else (board.leads or [""])[0]
    ranked = sorted(
        (row for row in trained if board.is_ranked(row, metric)),
        key=lambda row: -row.scores[metric].mean,
    )
    if not ranked:
        return []
    best = ranked[0]
    untrained = [  # an untrained classifier has nothing to say
        row for row in board.rows if row not in trained and metric in row.scores and not classifies
    ]
    value = best.scores[metric].mean
    leaders = [row for row in ranked if row.scores[metric].mean == value]
    rivals = _rivals(board, leaders, ranked, metric)
    return [
        _what(
            leaders,
            [row for row in trained if row not in ranked and not row.inactive],
            untrained,
            metric,
        ),
        _by_how_much(best, [*rivals, *untrained], metric),
        _how_sure(board, best, [*rivals, *untrained], metric, len(ranked)),
    ]


def _rivals(board: Leaderboard, leaders: list[Row], ranked: list[Row], metric: str) -> list[Row]:
    """Return Softmax and the next row, without those that lead and without repetition."""
    following = ranked[len(leaders) : len(leaders) + 1]
    if any(row.experiment.is_softmax for row in leaders):
        return following
    softmax = board.best_softmax(leaders[0], metric)
    return following if softmax is None or softmax in following else [softmax, *following]


def _what(leaders: list[Row], others: list[Row], untrained: list[Row], metric: str) -> str:
    value, name = leaders[0].scores[metric].mean, metric_name(metric)
    labels = _listed([row.label for row in leaders])
    told = f"{labels} {'leads' if len(leaders) == 1 else 'lead'} by {name} with {_percent(value)}"
    for row in untrained:
        if row.scores[metric].mean >= value:
            score = _percent(row.scores[metric].mean)
            told = (
                f"The untrained network leads by {name} with {score}: of the trained rows, {told}"
            )
            break
    above = [row for row in others if metric in row.scores and row.scores[metric].mean > value]
    if above:
        top = max(above, key=lambda row: row.scores[metric].mean)
        told += (
            f" among the rows of one protocol ({top.label}, of another, has "
            f"{_percent(top.scores[metric].mean)})"
        )
    return told + "."


def _by_how_much(best: Row, rivals: list[Row], metric: str) -> str:
    if not rivals:
        return "There is no row below to compare with."
    told = []
    for row in rivals:
        points = 100 * (best.scores[metric].mean - row.scores[metric].mean)
        where = f"{abs(points):.1f} points {'above' if points > 0 else 'below'}"
        told.append(
            f"{where if points else 'level with'} {row.label} ({_percent(row.scores[metric].mean)})"
        )
    return f"That is {_listed(told)}."


def _how_sure(
    board: Leaderboard, best: Row, rivals: list[Row], metric: str, candidates: int
) -> str:
    if not rivals:
        return "So there is no difference to be sure of."
    known = [(row, _interval(board, best, row, metric)) for row in rivals]
    told = [
        f"{100 * found[0]:+.1f} to {100 * found[1]:+.1f} over {row.label} ({found[2]})"
        for row, found in known
        if found is not None
    ]
    if not told:
        return "One seed cannot say how sure that is: run more of them, such as --seeds 0,1,2."
    uncounted = "other test data"
    if candidates > 2:
        uncounted += f" and the choice of the best of {candidates} rows"
    return (
        f"The {100 * CONFIDENCE:.0f} % interval of the difference in points is {_listed(told)}; "
        f"{uncounted} would widen it."
    )


_MARKS = {"▲▼": "also on new classes", "△▽": "on these classes", "≈": "not significant"}


def _interval(
    board: Leaderboard, best: Row, other: Row, metric: str
) -> tuple[float, float, str] | None:
    """Return an interval and what it says: that of the page where it has one, else by seeds."""
    verdict = board.verdict(best, other, metric)
    if verdict is not None:
        answer = verdict.domain or verdict.classes
        if answer is None:
            return None
        if not verdict.mark:  # one seed
            return None
        words = next(text for marks, text in _MARKS.items() if verdict.mark in marks)
        words = words if verdict.mark == "≈" else f"significant {words}"
        return answer.mean - answer.half_width, answer.mean + answer.half_width, words
    difference = board.between(best, other, metric)
    if difference is None or difference.interval is None:
        return None
    significant = difference.verdict != "≈"
    return *difference.interval, "significant by the seeds" if significant else "not significant"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _listed(parts: list[str]) -> str:
    return ", ".join(parts[:-1]) + " and " + parts[-1] if len(parts) > 1 else parts[0]
