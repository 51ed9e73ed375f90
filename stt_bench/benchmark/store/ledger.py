"""The ledger of a table: trainings that were started or failed, and readings of the test split.

``results/records/TABLE/ledger.jsonl`` has one JSON object a line and is only ever added to; it is
committed with the records. Lines of several machines may be put together in any order, and twice.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stt_bench.benchmark.store.names import RowName, Seed
from stt_bench.benchmark.system.atomic import append_lines, check_way
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.files import newer
from stt_bench.benchmark.system.machine import commit
from stt_bench.benchmark.system.text import one_line

Event = Literal["start", "reading", "failed"]
LONGEST = 160  # characters of why a run failed


class Effort(BaseModel):
    """What a result cost in tries, when its record was written.

    `seeds_started` counts the seeds that training was started with under the row's settings before
    tuning; `test_readings` the readings of the test split for the row under any settings, one and
    the same training read twice being one; `trials` those of its tuning, all studies together.
    """

    model_config = ConfigDict(extra="forbid")

    seeds_started: int = Field(ge=0)
    test_readings: int = Field(ge=0)
    trials: int = Field(ge=0)


class Entry(BaseModel):
    """A line: a training that was started, a reading of the test split, or why a run failed.

    `digest` is of the settings, `base` of those before tuning (the same without tuning), each
    shortened to 12 hexadecimal digits; `date` is the day in UTC; `told` is why it failed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    event: Event
    row: RowName
    seed: Seed
    digest: str
    base: str
    commit: str | None
    date: str
    told: str | None = None


def ledger_path(results: Path, table: str) -> Path:
    """Return where the ledger of a table lies."""
    return results / "records" / table / "ledger.jsonl"


def note(
    results: Path,
    table: str,
    event: Event,
    row: str,
    seed: int,
    digest: str,
    base: str,
    told: str | None = None,
) -> None:
    """Add a line to the ledger; several processes may do so at once.

    Raises:
        BenchError: it cannot be written.
    """
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    entry = Entry(
        event=event,
        row=row,
        seed=seed,
        digest=shortened(digest),
        base=shortened(base),
        commit=None if (found := commit()) is None else found[:12] + found[40:],
        date=today,
        told=told,
    )
    without = {"told"} if told is None else None
    line = json.dumps(entry.model_dump(mode="json", exclude=without), separators=(",", ":"))
    append_lines(ledger_path(results, table), [line], _is_entry)


def note_failure(
    results: Path, table: str, row: str, seed: int, digest: str, base: str, told: str
) -> None:
    """Add why a run failed whose training was started, unless that was the last time's reason.

    Raises:
        BenchError: the ledger cannot be read or written.
    """
    told, entries = one_line(told, LONGEST), read_ledger(results, table)
    if seed in started(entries, row, base) and failures(entries, row, base).get(seed) != told:
        note(results, table, "failed", row, seed, digest, base, told)


def _is_entry(line: bytes) -> bool:
    try:
        return bool(Entry.model_validate_json(line))
    except ValidationError:
        return False


def read_ledger(results: Path, table: str) -> list[Entry]:
    """Return the lines of a ledger; none where there is no ledger.

    Raises:
        BenchError: a line is none of a ledger, or a file is in the way of its folder.
    """
    path = ledger_path(results, table)
    check_way(path.parent)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise BenchError(
            f"{path}: cannot be read ({error}); restore the file as it was committed"
        ) from None
    entries = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            entries.append(Entry.model_validate_json(line))
        except ValidationError as error:
            told = newer(error) or (
                "is no line of a ledger; restore the file as it was committed, or delete the line "
                "if it was cut short"
            )
            raise BenchError(f"{path}, line {number}: {told}") from None
    return entries


def effort(entries: Sequence[Entry], row: str, base: str, trials: int = 0) -> Effort:
    """Return what a row has cost so far; `base` is the digest of its settings before tuning."""
    own = [entry for entry in entries if entry.row == row]
    return Effort(
        seeds_started=len(started(own, row, base)),
        test_readings=len({(one.digest, one.seed) for one in own if one.event == "reading"}),
        trials=trials,
    )


def started(entries: Sequence[Entry], row: str, base: str) -> set[int]:
    """Return the seeds that a row was started with under some settings (before tuning)."""
    wanted = ("start", row, shortened(base))
    return {one.seed for one in entries if (one.event, one.row, one.base) == wanted}


def failures(entries: Sequence[Entry], row: str, base: str | None = None) -> dict[int, str]:
    """Return by seed why runs of a row failed the last time; base None: under any settings.

    A run whose test split was read once has come to its end, whatever became of its record.
    """
    own = [one for one in entries if one.row == row]
    if base is not None:
        own = [one for one in own if one.base == shortened(base)]
    read = {one.seed for one in own if one.event == "reading"}
    return {
        one.seed: one.told
        for one in sorted(own, key=lambda one: one.date)
        if one.event == "failed" and one.told and one.seed not in read
    }


def shortened(digest: str) -> str:
    """Return a digest as a ledger holds it."""
    return digest[:12]
