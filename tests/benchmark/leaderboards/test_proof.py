"""A page tells records of other code, seeds that were left out, and looks at the test split."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from test_leaderboard import record

from stt_bench.benchmark.leaderboards.board import Leaderboard, build_leaderboard
from stt_bench.benchmark.leaderboards.markdown import markdown
from stt_bench.benchmark.scoring import probe as scoring
from stt_bench.benchmark.scoring.probe import metrics_probe
from stt_bench.benchmark.store.duplicates import DuplicateScores
from stt_bench.benchmark.store.ledger import Effort, Entry, Event
from stt_bench.benchmark.store.records import Record
from stt_bench.benchmark.training import step
from stt_bench.benchmark.training.probe import training_probe
from stt_bench.losses.hard_triplet import HardTripletLoss
from stt_bench.losses.softmax import SoftmaxLoss

ROWS: dict[str, dict[str, Any]] = {
    "s": {},
    "hard": {"loss": {"name": "hard_triplet", "margin": 0.3}},
    "soft_hard": {"loss": {"name": "hard_triplet", "margin": "soft"}, "softmax_head": True},
    "lifted": {"loss": "lifted"},
    "untrained": {"train": {"steps": 0}},
}
GAIN = {"hard": 0.1, "soft_hard": 0.1, "lifted": 0.1, "untrained": -0.1}


def made(rows: list[str], seeds: int = 3, **changes: Any) -> list[Record]:
    return [
        record(
            row, seed, {"map@r": 0.5 + GAIN.get(row, 0.0) + 0.001 * seed}, **ROWS[row]
        ).model_copy(update=changes)
        for row in rows
        for seed in range(seeds)
    ]


def page_of(records: list[Record], ledger: list[Entry] | tuple[()] = ()) -> str:
    return markdown(board_of(records, ledger)).replace("\\", "")


def board_of(records: list[Record], ledger: list[Entry] | tuple[()] = ()) -> Leaderboard:
    return build_leaderboard("t", records, [], ledger)


@pytest.fixture(scope="module")
def proven() -> list[Record]:
    """Return records of all rows, with the probe of today's code."""
    probes = {}
    for one in made(list(ROWS), seeds=1):
        trained = training_probe(one.experiment)
        assert trained is not None
        probes[one.row] = trained | metrics_probe(one.experiment.evaluation)
    records = made(list(ROWS))
    return [one.model_copy(update={"probe": probes[one.row]}) for one in records]


def scaled(kind: type) -> Callable[[pytest.MonkeyPatch], None]:
    def bug(patch: pytest.MonkeyPatch) -> None:
        compute = kind.compute  # type: ignore[attr-defined]

        def wrong(self: Any, *batch: Any) -> Any:
            loss, diagnostics = compute(self, *batch)
            return 1.01 * loss, diagnostics

        patch.setattr(kind, "compute", wrong)

    return bug


def wrong_margin(patch: pytest.MonkeyPatch) -> None:
    compute = HardTripletLoss.compute

    def wrong(self: Any, *batch: Any) -> Any:
        before, self.margin = self.margin, 0.31 if self.margin == 0.3 else self.margin
        try:
            return compute(self, *batch)
        finally:
            self.margin = before

    patch.setattr(HardTripletLoss, "compute", wrong)


def wrong_rate(patch: pytest.MonkeyPatch) -> None:
    own = step.set_learning_rate
    patch.setattr(step, "set_learning_rate", lambda o, e, s: own(o, e, s + 7) or halve(o))


def halve(optimizer: torch.optim.Optimizer) -> None:
    for group in optimizer.param_groups:
        group["lr"] /= 2


def wrong_metric(patch: pytest.MonkeyPatch) -> None:
    own = scoring.retrieval_metrics

    def wrong(*given: Any, **options: Any) -> dict[str, float]:
        found = own(*given, **options)
        return found | {"map@r": found["map@r"] * 1.001}

    patch.setattr(scoring, "retrieval_metrics", wrong)


@pytest.mark.parametrize(
    ("bug", "rows"),
    [
        (lambda _: None, set()),
        (lambda _: torch.set_num_threads(3), set()),
        (scaled(HardTripletLoss), {"hard", "soft_hard"}),
        (scaled(SoftmaxLoss), {"s", "soft_hard"}),
        (wrong_margin, {"hard"}),
        (wrong_rate, {"s", "hard", "soft_hard", "lifted"}),
        (wrong_metric, set(ROWS)),
    ],
)
def test_exactly_the_rows_that_changed_code_concerns_are_marked(
    proven: list[Record],
    monkeypatch: pytest.MonkeyPatch,
    bug: Callable[[pytest.MonkeyPatch], None],
    rows: set[str],
) -> None:
    bug(monkeypatch)
    board = board_of(proven)
    assert {row.name for row in board.rows if "¶" in board.marks(row)} == rows
    page = markdown(board).replace("\\", "")
    assert ("made by earlier code" in page) == bool(rows)
    for row in board.rows:
        verdict = board.difference(row, "map@r")
        if verdict is not None:
            assert bool(verdict.mark) == (not {row.name, "s"} & rows)
    if rows == {"hard"}:
        assert "- ¶ hard: made by earlier code, which computes otherwise than today's" in page
        assert "`stt-bench run t --rows hard --force`" in page


def test_records_without_a_probe_are_told_in_one_footnote(proven: list[Record]) -> None:
    assert "no probe" not in page_of(proven)
    older = made(["lifted"])
    some = page_of([*(one for one in proven if one.row != "lifted"), *older])
    assert some.count("left no probe") == 1
    assert "- lifted: made by earlier code that left no probe" in some
    assert "- All rows: made by earlier code that left no probe" in page_of(made(["s", "hard"]))


def named(records: list[Record], seeds: int) -> list[Record]:
    display = {"seeds": list(range(seeds))}
    return [
        one.model_copy(update={"display": one.display.model_copy(update=display)})
        for one in records
    ]


def mark_of(board: Leaderboard, row: str) -> str:
    verdict = board.difference(next(one for one in board.rows if one.name == row), "map@r")
    assert verdict is not None
    return verdict.mark


def test_a_row_with_fewer_seeds_than_the_table_names_has_no_mark() -> None:
    records = named([*made(["s", "lifted"], 5), *made(["hard"], 3)], 5)
    board = board_of(records)
    assert (mark_of(board, "lifted"), mark_of(board, "hard")) == ("△", "")
    assert "- hard: 3 of 5 seeds (not 3, 4); no mark until they are run." in page_of(records)


def test_a_row_with_more_seeds_than_the_table_names_has_no_mark() -> None:
    records = named([*made(["s", "lifted"], 3), *made(["hard"], 5)], 3)
    board = board_of(records)
    assert (mark_of(board, "lifted"), mark_of(board, "hard")) == ("△", "")
    assert "- hard: seeds 3, 4 beyond the 3 of the table; no mark" in page_of(records)


def test_a_training_that_stands_under_two_seeds_is_told() -> None:
    records = made(["s", "hard", "lifted"])
    again = {"checkpoint_sha256": records[3].checkpoint_sha256}
    records[5] = records[5].model_copy(update=again)  # hard, seed 2
    board = board_of(records)
    assert (mark_of(board, "lifted"), mark_of(board, "hard")) == ("△", "")
    assert "- hard: seeds 0, 2 have the same trained weights" in page_of(records)
    untrained = made(["untrained"], checkpoint_sha256="c")
    assert "same trained weights" not in page_of(untrained)


def entry(event: Event, row: str, seed: int, digest: str) -> Entry:
    short = digest[:12]
    return Entry(
        event=event, row=row, seed=seed, digest=short, base=short, commit=None, date="2026-01-01"
    )


def test_the_best_three_of_ten_seeds_are_told_by_the_ledger_and_without_it() -> None:
    records = made(["s", "hard"])
    digest = records[-1].config_digest
    ledger = [entry("start", "hard", seed, digest) for seed in range(10)]
    assert "- hard: seeds 3, 4, 5, 6, 7, 8, 9 were started and have no record." in (
        page_of(records, ledger)
    )
    # The ledger is gone, and the three best have the names of the first three.
    effort = Effort(seeds_started=10, test_readings=10, trials=0)
    kept = [*records[:-1], records[-1].model_copy(update={"effort": effort})]
    page = page_of(kept)
    assert "- hard: 10 seeds were started, 3 are shown." in page
    assert "- hard: results on the test split were read 10 times, of which 3 are shown" in page


def test_seeds_under_other_settings_are_readings_only() -> None:
    records = made(["s", "hard"])
    ledger = [entry("start", "hard", seed, "f" * 64) for seed in range(10)]
    assert "started" not in page_of(records, ledger)


def test_readings_are_counted_in_the_ledger_whatever_the_records_say() -> None:
    few = Effort(seeds_started=3, test_readings=3, trials=0)
    records = made(["hard"], effort=few)
    digest = records[0].config_digest
    ledger = [entry("reading", "hard", seed, digest) for seed in range(3)]
    assert "were read" not in page_of(records, ledger)
    ledger += [entry("reading", "hard", seed, "f" * 64) for seed in range(4)]
    assert "- hard: results on the test split were read 7 times, of which 3" in (
        page_of(records, ledger)
    )


def test_a_record_in_the_place_of_another_is_told_by_the_ledger() -> None:
    records = made(["s", "hard"])
    ledger = [
        entry("reading", one.row, one.seed, one.config_digest)
        for one in records
        if one.row == "s" or one.seed
    ]
    unnoted = "the ledger holds no reading of the test split that made the record"
    assert f"- hard: {unnoted} of seed 0: moved" in page_of(records, ledger)
    # The results of the other row, its settings among them, under the name of this one.
    moved = [
        *records[:3],
        *(
            source.model_copy(update={"row": own.row, "display": own.display})
            for source, own in zip(made(["lifted"]), records[3:], strict=True)
        ),
    ]
    assert f"- hard: {unnoted}s of seeds 0, 1, 2: moved" in page_of(moved, ledger)
    assert unnoted not in page_of(records, [entry("start", "s", 0, records[0].config_digest)])


def test_records_that_disagree_on_near_duplicates_are_named() -> None:
    counts = {"method": "m", "items": 9, "pairs_across_classes": 0, "metrics_without": None}
    found = DuplicateScores(**counts, pairs_exact=1, pairs_similar=0, test_items=1)
    none = DuplicateScores(**counts, pairs_exact=0, pairs_similar=0, test_items=0)
    records = made(["s", "hard"], near_duplicates=found)
    said = "other numbers of near-duplicates than the other records of the same data"
    assert said not in page_of(records)
    records[-1] = records[-1].model_copy(update={"near_duplicates": none})
    assert f"- hard: {said}" in page_of(records)
    by_other_rules = none.model_copy(update={"method": "n"})
    records[-1] = records[-1].model_copy(update={"near_duplicates": by_other_rules})
    assert said not in page_of(records)


def test_what_is_as_expected_is_not_told() -> None:
    effort = Effort(seeds_started=3, test_readings=3, trials=60)
    records = made(["s", "hard"], effort=effort)
    page = page_of(records)
    assert "started" not in page
    assert "were read" not in page


def test_a_row_that_was_started_and_never_recorded_is_told() -> None:
    ledger = [entry("start", "lost", 0, "f" * 64)]
    assert "- Started, and without any record: lost." in page_of(made(["s", "hard"]), ledger)


def test_why_a_seed_has_no_record_is_told_by_the_ledger() -> None:
    records = made(["s", "hard"])
    digest = records[-1].config_digest

    def failed(row: str, seed: int, told: str) -> Entry:
        return entry("failed", row, seed, digest).model_copy(update={"told": told})

    ledger = [
        *(entry("start", "hard", seed, digest) for seed in range(7)),
        *(failed("hard", seed, "the loss is *nan*") for seed in (3, 2, 4)),  # 2 came to its end
        failed("hard", 5, "no\nroom"),
        failed("lost", 0, "no room"),
    ]
    page = page_of(records, ledger).replace("\\", "")
    assert (
        "- hard: seeds 3, 4, 5, 6 were started and have no record (seeds 3, 4 failed: the loss is "
        "*nan*; seed 5 failed: no room)."
    ) in page
    assert "Started, and without any record: lost (seed 0 failed: no room)." in page
