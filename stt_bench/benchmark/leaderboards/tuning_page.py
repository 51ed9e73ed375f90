"""What a tuned table shows of its searches: some sentences on its page, all else on a second."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from stt_bench.benchmark.leaderboards.board import Leaderboard
from stt_bench.benchmark.leaderboards.searches import BY_CHANCE, RowSearch
from stt_bench.benchmark.leaderboards.wording import metric_name
from stt_bench.benchmark.statistics.best_of_n import BestOf
from stt_bench.benchmark.statistics.search_spread import search_spread
from stt_bench.benchmark.store.trials import Trial
from stt_bench.benchmark.system.text import escape_markdown, table_line

BEST_OF = (1, 5, 10, 20)


def tuning_section(board: Leaderboard, searches: Sequence[RowSearch]) -> list[str]:
    """Return the section on the table's own page, as Markdown; none where no row is tuned."""
    if not searches:
        return []
    told = [*_how(searches), *_spread(board, searches), *_faults(searches)]
    told += [*_alarms(searches, least=2), *_untuned(board)]
    told.append(
        "Trials, winners, search ranges, price and best-of-n curves: "
        f"[{escape_markdown(board.table)}: tuning]({board.table}_tuning.md)."
    )
    return ["## Tuning", "", *(f"- {one}" for one in told)]


def tuning_page(board: Leaderboard, searches: Sequence[RowSearch]) -> str:
    """Return the page of the searches of a table."""
    title = escape_markdown(board.title)
    told = [*_price(searches), *_commits(searches), *_faults(searches), *_alarms(searches)]
    return "\n".join(
        [
            f"# {title}: tuning",
            "",
            f"How it was done, and what came of it on the test split, is on "
            f"[the leaderboard]({board.table}.md); what is shown here is of the training split "
            "alone. A study is one search of a row, a trial one setting that it tried.",
            "",
            *(f"- {one}" for one in told),
            "",
            "## Default beside tuned, and the best of n trials",
            "",
            *_rows(searches),
            "",
            "Objective in percent. Default: the row's own settings, which never win. Winners: mean "
            "over the studies (lowest to highest); the highest of many noisy values, so that it "
            "flatters: what counts is the test of the final runs. Best of n: the best that is "
            "expected of n trials, the mean over the studies and all orders of their trials "
            "(lowest to highest study); a failed trial counts as 0.",
            "",
            f"![{title}: best of n]({board.table}_tuning.png)",
            "",
            "## Winners",
            "",
            *_winners(searches),
            "",
            "## Search ranges",
            "",
            *_ranges(searches),
            "",
        ]
    )


def _how(searches: Sequence[RowSearch]) -> list[str]:
    told = []
    for size in dict.fromkeys(search.row.search for search in searches):
        some = [search for search in searches if search.row.search == size]
        objectives = dict.fromkeys(
            metric_name(search.row.experiment.validation_metric) for search in some
        )
        said = some[0].size
        classes = some[0].row.experiment.data.task == "retrieval"
        folds = "class-disjoint folds of the training classes" if classes else "image folds"
        told.append(
            f"{len(some)} rows, {said.studies} studies × {said.trials} trials each: quasi-random "
            f"points, the same number for every row, by {' or '.join(objectives)} on {said.folds} "
            f"{folds}. The test split is read by none of it. Seed s is trained afresh on all "
            f"training data with the winner of study s mod {said.studies}, so that the luck of "
            f"the search, here {_number(said.studies)} of them, is part of the spread over seeds."
        )
    return told


def _price(searches: Sequence[RowSearch]) -> list[str]:
    trials = sum(len(search.trials) for search in searches)
    runs = sum(len(search.records) for search in searches)
    before = sum(search.seconds for search in searches) / 60
    after = sum(search.final_seconds for search in searches) / 60
    return [
        f"Price: {before:,.1f} core-minutes for {trials:,} trials, {after:,.1f} for the "
        f"training of {runs:,} final runs."
    ]


def _commits(searches: Sequence[RowSearch]) -> list[str]:
    """Name the commits that the trials were made at, the one with most of them first."""
    made = Counter(trial.commit for search in searches for trial in search.trials)
    named = [
        f"{commit[:12]}{commit[40:]} ({number:,})" if commit else f"not told ({number:,})"
        for commit, number in made.most_common()
    ]
    return [f"Trials by commit: {', '.join(named)}."] if named else []


def _spread(board: Leaderboard, searches: Sequence[RowSearch]) -> list[str]:
    """Say how much the searches differ in what they led to on the test split."""
    told = []
    for metric in board.leads:
        rows: list[list[list[float]]] = []
        for search in searches:
            by_study: dict[int, list[float]] = {}
            for record in search.records:
                if metric in record.metrics and record.tuning is not None:
                    by_study.setdefault(record.tuning.study, []).append(record.metrics[metric])
            rows.append(list(by_study.values()))
        found = search_spread(rows)
        if found is not None:
            short = found.shortfall(
                [len(seeds) for seeds in max(rows, key=lambda of: sum(map(len, of)))]
            )
            told.append(
                f"{metric_name(metric)} on the test split: standard deviation "
                f"{100 * found.between:.2f} points between the searches of a row, "
                f"{100 * found.within:.2f} between the seeds of one search (pooled over the rows). "
                "Seeds of one search share its winner, so marks and intervals take the searches as "
                f"what was drawn, each by the mean of its seeds{_too_short(short)}."
            )
    return told


def _too_short(factor: float) -> str:
    if factor < 1.05:
        return ""
    return (
        "; seeds taken as independent would make the seeds' part of an interval too short by a "
        f"factor of {factor:.1f}"
    )


def _faults(searches: Sequence[RowSearch]) -> list[str]:
    """Say what is missing or odd in the searches."""
    told = []
    for search in searches:
        label = escape_markdown(search.row.label)
        if not search.trials:
            told.append(f"**{label}: its trials are not there**, and nothing of it can be shown.")
            continue
        if search.missing > 0:
            told.append(f"**{label}: {search.missing} of its trials are not there.**")
        if search.strays:
            seeds = ", ".join(map(str, search.strays))
            told.append(f"**{label}: not trained with the winners of its studies: seeds {seeds}.**")
        if not search.space:
            told.append(f"{label}: its trials are of other search ranges than today's.")
    return told


def _alarms(searches: Sequence[RowSearch], least: int = 1) -> list[str]:
    """Say which fields have the winners of so many studies of a row at a bound."""
    hits: dict[tuple[str, str], int] = {}
    longest = 0
    for search in searches:
        for trial in search.winners.values():
            longest += search.at_longest(trial)
            for field, _ in search.at_bounds(trial):
                key = search.row.label, field
                hits[key] = hits.get(key, 0) + 1
    values = sum(len(s.winners) * len(s.space) for s in searches)
    winners = sum(len(s.winners) for s in searches)
    told = []
    if hits:
        often: dict[str, list[str]] = {}
        for (row, field), number in hits.items():
            if number >= least:
                times = f" ({number} studies)" if number > 1 else ""
                often.setdefault(row, []).append(field + times)
        named = "; ".join(f"{row}: {', '.join(fields)}" for row, fields in often.items())
        which = f": {escape_markdown(named)}" if named else ", of no row in more than one study"
        told.append(
            f"⚠ {sum(hits.values())} of {values:,} tuned values of the winners lie at a bound of "
            f"their range (by chance about {BY_CHANCE * values:.0f}), so that the best value may "
            f"lie beyond{which}."
        )
    elif values:
        told.append("No winner sits at a bound of its range.")
    if longest:
        told.append(
            f"⚠ {longest} of {winners} winners are best at `train.steps`, the longest length that "
            "was tried: more steps might have been better."
        )
    return told


def _untuned(board: Leaderboard) -> list[str]:
    labels = [row.label for row in board.rows if not row.search and row.is_trained]
    if not labels:
        return []
    return [escape_markdown(f"Not tuned, and so not compared: {', '.join(labels)}.")]


def _rows(searches: Sequence[RowSearch]) -> list[str]:
    header = ["Row", "Trials", "Failed", "Default", "Winners", "Gain"]
    most = max(search.size.trials for search in searches)
    numbers = sorted({n for n in BEST_OF if n < most} | {most})
    header += [f"Best of {n}" for n in numbers]
    header += ["Search, core-min", "Final runs, core-min"]
    lines = [table_line(header), table_line(["---"] + ["---:"] * (len(header) - 1))]
    for search in searches:
        best, default = search.objective, search.default
        gain = None if best is None or default is None else best.mean - default.objective
        lines.append(
            table_line(
                [
                    escape_markdown(search.row.label),
                    f"{len(search.tried)} in {search.size.studies}",
                    str(search.failed),
                    _default(default),
                    _band(best),
                    "–" if gain is None else f"{100 * gain:+z.1f}",
                    *(_band(search.best_of(n)) for n in numbers),
                    f"{search.seconds / 60:.1f}",
                    f"{search.final_seconds / 60:.1f}",
                ]
            )
        )
    return lines


def _default(trial: Trial | None) -> str:
    if trial is None:
        return "not run"
    return "failed" if trial.error is not None else f"{100 * trial.objective:.1f}"


def _band(found: BestOf | None) -> str:
    if found is None:
        return "–"
    return f"{100 * found.mean:.1f} ({100 * found.low:.1f} to {100 * found.high:.1f})"


def _winners(searches: Sequence[RowSearch]) -> list[str]:
    lines = [
        table_line(["Row", "Study", "Trial", "Objective", "Steps", "Point", "At a bound"]),
        table_line(["---", "---:", "---:", "---:", "---:", "---", "---"]),
    ]
    for search in searches:
        for study in range(search.size.studies):
            trial = search.winners.get(study)
            label = escape_markdown(search.row.label)
            if trial is None:
                lines.append(table_line([label, str(study), *["–"] * 5]))
                continue
            point = ", ".join(f"{field} {value:.3g}" for field, value in trial.point.items())
            near = [f"⚠ {field} {at:g}" for field, at in search.at_bounds(trial)]
            bounds = ", ".join([*near, *(["⚠ longest"] if search.at_longest(trial) else [])])
            cells = [label, str(study), str(trial.index), f"{100 * trial.objective:.1f}"]
            cells += [str(trial.steps), escape_markdown(point), escape_markdown(bounds) or "–"]
            lines.append(table_line(cells))
    return lines


def _ranges(searches: Sequence[RowSearch]) -> list[str]:
    rows: dict[tuple[str, str, str, str], list[str]] = {}
    for search in searches:
        for dimension in search.space:
            bounds, of = dimension.bounds, dimension.factor_of
            field = f"{of} × {dimension.field}" if of else dimension.field
            key = (field, f"{bounds.low:g}", f"{bounds.high:g}", str(bounds.scale))
            rows.setdefault(key, []).append(search.row.label)
        longest = str(search.row.experiment.train.steps)
        key = ("train.steps", "the first validation", longest, "early stopping")
        rows.setdefault(key, []).append(search.row.label)
    lines = [
        table_line(["Field", "From", "To", "Scale", "Rows"]),
        table_line(["---", "---:", "---:", "---", "---"]),
    ]
    for (field, low, high, scale), labels in sorted(rows.items()):
        named = "all" if len(labels) == len(searches) else escape_markdown("; ".join(labels))
        lines.append(table_line([escape_markdown(field), low, high, scale, named]))
    return lines


def _number(count: int) -> str:
    words = ("no", "one", "two", "three", "four", "five", "six")
    return words[count] if count < len(words) else str(count)
