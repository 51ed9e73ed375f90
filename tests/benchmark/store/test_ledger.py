"""The ledger counts seeds and readings; lines may come twice and in any order."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stt_bench.benchmark.store.ledger import (
    effort,
    failures,
    ledger_path,
    note,
    note_failure,
    read_ledger,
    started,
)
from stt_bench.benchmark.system.errors import BenchError

ONE, OTHER = "1" * 64, "2" * 64


def test_seeds_are_counted_by_settings_and_readings_over_all_settings(tmp_path: Path) -> None:
    assert read_ledger(tmp_path, "t") == []
    for seed in (2, 0, 1, 2):
        note(tmp_path, "t", "start", "row", seed, ONE, ONE)
        note(tmp_path, "t", "reading", "row", seed, ONE, ONE)
    note(tmp_path, "t", "reading", "row", 0, OTHER, OTHER)
    note(tmp_path, "t", "start", "other", 7, ONE, ONE)
    path = ledger_path(tmp_path, "t")
    path.write_text(path.read_text() * 2)  # two copies of one ledger, put together
    entries = read_ledger(tmp_path, "t")
    found = effort(entries, "row", ONE, trials=60)
    assert found.model_dump() == {"seeds_started": 3, "test_readings": 4, "trials": 60}
    assert started(entries, "row", ONE) == {0, 1, 2}
    assert started(entries, "row", OTHER) == set()


def test_seeds_of_a_tuned_row_share_the_settings_before_tuning(tmp_path: Path) -> None:
    for seed in range(3):
        note(tmp_path, "t", "start", "row", seed, str(seed) * 64, ONE)
    assert effort(read_ledger(tmp_path, "t"), "row", ONE).seeds_started == 3


def test_the_last_reason_of_a_failure_is_known_until_a_run_comes_to_its_end(
    tmp_path: Path,
) -> None:
    def fail(seed: int, told: str) -> None:
        note_failure(tmp_path, "t", "row", seed, ONE, ONE, told)

    fail(0, "never started")
    for seed in (0, 1, 2):
        note(tmp_path, "t", "start", "row", seed, ONE, ONE)
    fail(0, "no room")
    fail(0, "no room")
    fail(0, "the loss\nis nan" + 200 * "!")
    fail(1, "no room")
    fail(2, "no room")
    note(tmp_path, "t", "reading", "row", 2, ONE, ONE)
    entries = read_ledger(tmp_path, "t")
    assert len(entries) == 8
    nan = "the loss is nan".ljust(159, "!") + "…"
    assert failures(entries, "row", ONE) == failures(entries, "row") == {0: nan, 1: "no room"}
    assert failures(entries, "row", OTHER) == failures(entries, "other") == {}
    assert effort(entries, "row", ONE).seeds_started == 3
    later = entries[3].model_copy(update={"date": "9999-01-01", "told": "last"})
    assert failures([later, *entries], "row")[0] == "last"  # lines may come in any order


def test_many_write_at_once_and_no_line_is_lost(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        done = [pool.submit(note, tmp_path, "t", "start", "row", n, ONE, ONE) for n in range(100)]
    assert [one.result() for one in done] == [None] * 100
    assert started(read_ledger(tmp_path, "t"), "row", ONE) == set(range(100))


@pytest.mark.parametrize("line", ['{"event":"start","row":', '{"event":"look"}', "[]", "<<<< HEAD"])
def test_a_line_that_is_none_is_named(tmp_path: Path, line: str) -> None:
    note(tmp_path, "t", "start", "row", 0, ONE, ONE)
    with ledger_path(tmp_path, "t").open("a") as stream:
        stream.write(line + "\n")
    with pytest.raises(BenchError, match=r"ledger\.jsonl, line 2: is no line of a ledger"):
        read_ledger(tmp_path, "t")


def test_a_line_cut_short_takes_no_other_with_it(tmp_path: Path) -> None:
    path = ledger_path(tmp_path, "t")
    note(tmp_path, "t", "start", "row", 0, ONE, ONE)
    path.write_text(path.read_text() + "\n" + path.read_text().strip())  # no end of the last line
    note(tmp_path, "t", "start", "row", 1, ONE, ONE)
    assert started(read_ledger(tmp_path, "t"), "row", ONE) == {0, 1}
