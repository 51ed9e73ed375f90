"""What the differences and marks of a leaderboard mean, and what is missing to say more."""

from __future__ import annotations

from typing import Any

from stt_bench.benchmark.leaderboards.board import Leaderboard
from stt_bench.benchmark.leaderboards.plans import plan_of, spread_text
from stt_bench.benchmark.leaderboards.rows import Row
from stt_bench.benchmark.leaderboards.wording import metric_name, protocol_value, some
from stt_bench.benchmark.statistics.verdicts import FEWEST_CLASSES, JOINT_SEEDS
from stt_bench.benchmark.system.text import escape_markdown

_NAMED = 8  # rows by name, before they are counted
_FIELDS = {
    "model.normalize": "normalisation",
    "model.head": "head",
    "model.embedding_dim": "embedding size",
    "model.freeze": "frozen layers",
    "model.freeze_batch_norm": "frozen batch norm",
    "sampler.name": "sampler",
    "optimizer.lr": "learning rate",
    "train.steps": "steps",
    "weights": "starting weights",
    "data": "data",
}


def evidence_notes(board: Leaderboard) -> list[str]:
    """Return the notes, as Markdown."""
    if not board.pairs:
        return [*_seeds(board), *_below_untrained(board)]
    return [
        _differences(board),
        _marks(board),
        *_not_said(board),
        *_best(board),
        *_plans(board),
        *_without_baseline(board),
        *_seeds(board),
        *_below_untrained(board),
    ]


def _differences(board: Leaderboard) -> str:
    named = []
    for metric in board.leads:
        ranked = [row for row in board.rows if board.is_ranked(row, metric)]
        best = board.best_softmax(ranked[0], metric) if ranked else None
        if best is not None:
            named.append(f"{best.label} by {metric_name(metric)}")
    of_main = f" (of the rows that are ranked: {', '.join(named)})" if named else ""
    agrees = "everything but the loss"
    if board.tuned:
        agrees += " and what was tuned for every row alike, so that each is at its own best"
    return escape_markdown(
        "− baseline: the mean difference, seed by seed, in percentage points, to the Softmax row "
        f"that agrees in {agrees}, named under Baseline. − best Softmax: to the "
        f"Softmax row of the row's protocol with the highest mean{of_main}."
    )


def _marks(board: Leaderboard) -> str:
    verdicts = board.verdicts.values()
    domain = [one for one in verdicts if one.domain is not None]
    by_draws = domain and all(one.seeds >= JOINT_SEEDS for one in domain)
    correction = "by step-down max-t for ▲▼ and by Holm for △▽" if by_draws else "by Holm"
    interval = "for new seeds and new classes where classes are recorded, else for new seeds"
    if not domain:
        interval = "for new seeds on these classes (Student's t on variances shrunk over the rows)"
    elif len(domain) == len(board.verdicts):
        interval = "for new seeds and new classes (crossed analysis of variance)"
    return (
        f"±: half of the 95 % interval {interval}. ▲ above, ▼ below for new seeds and new classes "
        "like these; △ above, ▽ below for new seeds on these very test classes only; ≈: not "
        f"significant. {_all(board)} are one family: about "
        f"5 % of such pages show any mark where there is no difference ({correction})."
    )


def _all(board: Leaderboard) -> str:
    shown, counted = len(board.verdicts), len(board.family)
    if counted > shown:
        return (
            f"The {shown} comparisons of the page and those with the other Softmax rows, each of "
            f"which might have come out as the best ({counted} in all),"
        )
    return f"All {shown} comparisons of the page" if shown > 1 else "The differences of the page"


def _not_said(board: Leaderboard) -> list[str]:
    """Say of which metrics nothing is known of new classes, and why."""
    told = []
    for metric in board.leads:
        name = metric_name(metric)
        pairs = [pair for pair in board.verdicts if pair.metric == metric]
        by_class = [board.measured.class_differences(pair) for pair in pairs]
        missing = sum(d is None for d in by_class)
        if metric in ("nmi", "ami"):
            told.append(
                f"{name} gets no ▲▼: it is of all clusters at once, no class has a share in it, so "
                "that nothing is known of new classes."
            )
        elif missing and (metric == "map" or _no_class_stands_apart(board)):
            told.append(
                f"{name} gets no ▲▼: the values of single classes are of Recall@1 and MAP@R, of "
                "lists by distance, items of one label and all queries; nothing is known of new "
                "classes here."
            )
        elif missing:
            some = "some of its records hold" if missing < len(pairs) else "its records hold"
            told.append(
                f"{name} gets no ▲▼: {some} no values of single classes, so nothing is "
                "known of new classes; run the rows again for them."
            )
        few = {d.shape[1] for d in by_class if d is not None and d.shape[1] < FEWEST_CLASSES}
        if few:
            told.append(
                f"{name} gets no ▲▼: {min(few)} test classes are too few to say anything of "
                "new ones."
            )
        by_query = [pair for pair in pairs if not _of_classes(board, pair.row)]
        if any(board.measured.weighting(pair.row, metric) == "class" for pair in by_query):
            told.append(
                f"{name}: the classes' sizes are so uneven that ▲▼ and ± are of the average over "
                "classes, not over queries."
            )
    if any(verdict.seeds == 1 for verdict in board.verdicts.values()):
        told.append(
            "Rows of one seed get no mark, and their ± is that over the classes alone, as if seeds "
            "did not matter: run more seeds."
        )
    return told


def _no_class_stands_apart(board: Leaderboard) -> bool:
    settings = [row.experiment.evaluation for row in board.rows]
    return any(
        one.reorders or one.label_separator is not None or one.queries is not None
        for one in settings
    )


def _of_classes(board: Leaderboard, row: str) -> bool:
    """Tell whether a row's metrics are means over classes anyway."""
    return any(r.name == row and r.experiment.evaluation.class_average for r in board.rows)


def _best(board: Leaderboard) -> list[str]:
    told = []
    for metric in board.leads:
        rows = board.may_be_best(metric)
        if rows:
            ranked = len(board.judged(metric))
            labels = ", ".join(row.label for row in rows)
            if len(rows) > _NAMED:
                labels = f"{len(rows)} of {ranked} ranked rows, ✓ in the table of all metrics"
            told.append(
                f"Cannot be told from the best in {metric_name(metric)} for new seeds and classes "
                f"(95 %, Gupta and Hsu): {labels}."
            )
    return list(map(escape_markdown, told))


def _plans(board: Leaderboard) -> list[str]:
    plans = {metric: plan_of(board, metric) for metric in board.leads}
    return [
        " ".join(filter(None, [f"{metric_name(metric)}: {plan}", spread_text(board, metric)]))
        for metric, plan in plans.items()
        if plan is not None
    ]


def _without_baseline(board: Leaderboard) -> list[str]:
    """Say what a Softmax row would have to be like, for the rows that none agrees with."""
    rows: dict[str, list[str]] = {}
    for metric in board.leads:
        for row in board.rows:
            if row.inactive or metric not in row.scores:
                continue
            baseline = board.baseline(row, metric)
            if baseline.row is None and baseline.nearest is not None:
                differs = "; ".join(_setting(*one) for one in baseline.differs)
                nearest = baseline.nearest.label
                why = f"no Softmax row agrees in all but the loss: {nearest} has {differs}"
                labels = rows.setdefault(why, [])
                if row.label not in labels:
                    labels.append(row.label)
    return [escape_markdown(f"No baseline for {some(of)}: {why}.") for why, of in rows.items()]


def _setting(field: str, ours: Any, theirs: Any) -> str:
    name = _FIELDS.get(field, field)
    return f"{name} {protocol_value(theirs)} (not {protocol_value(ours)})"


def _seeds(board: Leaderboard) -> list[str]:
    """Say which rows lack seeds, or have fewer than others."""
    most = max(len(row.seeds) for row in board.rows)
    told = []
    for row in board.rows:
        seeds = ", ".join(map(str, sorted(row.seeds)))
        if not row.has_all_seeds:
            told.append(
                f"No difference of {row.label}: its seeds are {seeds}, not 0 to "
                f"{len(row.seeds) - 1}; seeds are run from 0 on, and all of them are shown."
            )
        elif len(row.seeds) < most:
            told.append(f"{row.label} has seeds {seeds} only, others up to {most - 1}.")
    return list(map(escape_markdown, told))


def _below_untrained(board: Leaderboard) -> list[str]:
    rows: dict[str, list[Row]] = {}
    for row in board.rows:
        untrained = board.below_untrained(row)
        if untrained is not None:
            told = f"{untrained.label} ({100 * untrained.scores['map@r'].mean:.1f})"
            rows.setdefault(f"{told}: training made the embedding worse{_advice(row)}", []).append(
                row
            )
    return [
        escape_markdown(
            f"↓ {some([row.label for row in below])}: below the untrained network in MAP@R, {told}."
        )
        for told, below in rows.items()
    ]


def _advice(row: Row) -> str:
    """Say what usually helps, of what the row does not do already."""
    experiment, helps = row.experiment, list[str]()
    model = experiment.model
    pretrained = row.protocol.get("weights", "random") != "random"
    backbone_trains = model.backbone != "identity" and model.freeze != "all"
    if backbone_trains and pretrained and not model.freeze_batch_norm:
        helps.append("freeze batch norm")
    if not row.search:
        rate = "a lower learning rate"
        helps += [f"{rate} of the backbone" if backbone_trains else rate, "fewer steps"]
    if not backbone_trains and model.head == "linear" and model.head_start == "orthogonal":
        helps.append("a head that starts as the PCA of the features")
    if not model.normalize:
        helps.append("unit length")
    return f". What usually helps: {', '.join(helps)}" if helps else ""
