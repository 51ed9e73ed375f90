"""What a page says of the code behind its records, and of tries that it does not show."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from stt_bench.benchmark.leaderboards.board import Leaderboard
from stt_bench.benchmark.leaderboards.rows import Row
from stt_bench.benchmark.store.ledger import LONGEST, effort, failures, shortened, started
from stt_bench.benchmark.system.text import escape_markdown, one_line


def proof_notes(board: Leaderboard) -> list[str]:
    """Return the notes, as Markdown."""
    told = [*_other_code(board), *_unknown_code(board), *_tables_seeds(board)]
    told += [*_copies(board), *_unnoted(board), *_tries(board)]
    return list(map(escape_markdown, told))


def _other_code(board: Leaderboard) -> list[str]:
    rows = [row for row in board.rows if row.name in board.other_code]
    if not rows:
        return []
    names = ",".join(row.name for row in rows)
    return [
        f"¶ {_labels(rows)}: made by earlier code, which computes otherwise than today's: no mark "
        f"until they are run again (`stt-bench run {board.table} --rows {names} --force`)."
    ]


def _unknown_code(board: Leaderboard) -> list[str]:
    without = {record.row for record in board.records if record.probe is None}
    rows = [row for row in board.rows if row.name in without]
    if not rows:
        return []
    which = "All rows" if len(rows) == len(board.rows) else _labels(rows)
    return [
        f"{which}: made by earlier code that left no probe of itself, so that nobody can tell "
        "whether today's computes the same."
    ]


def _tables_seeds(board: Leaderboard) -> list[str]:
    """Say which rows lack seeds of the table, or have more: then a look may have ended them."""
    few: dict[str, list[Row]] = {}
    many: dict[str, list[Row]] = {}
    for row in board.rows:
        named = set(row.named_seeds or row.seeds)
        lacking, more = named - set(row.seeds), set(row.seeds) - named
        if lacking:
            told = f"{len(row.seeds)} of {len(named)} seeds (not {_listed(lacking)})"
            few.setdefault(told, []).append(row)
        elif more:
            told = f"seeds {_listed(more)} beyond the {len(named)} of the table"
            many.setdefault(told, []).append(row)
    return [
        *(f"{_labels(rows)}: {told}; no mark until they are run." for told, rows in few.items()),
        *(
            f"{_labels(rows)}: {told}; no mark, since one may stop at a lucky one: name them in "
            "the table, for all rows."
            for told, rows in many.items()
        ),
    ]


def _copies(board: Leaderboard) -> list[str]:
    return [
        f"{row.label}: seeds {_listed(row.copies)} have the same trained weights, so that one is a "
        "copy of another; no mark until they are run again."
        for row in board.rows
        if row.copies
    ]


def _unnoted(board: Leaderboard) -> list[str]:
    """Say which records no reading in the ledger has made: it has a line for each."""
    read = {(one.row, one.seed, one.digest) for one in board.ledger if one.event == "reading"}
    if not read:
        return []
    told = []
    for row in board.rows:
        own = (record for record in board.records if record.row == row.name)
        seeds = [r.seed for r in own if (r.row, r.seed, shortened(r.config_digest)) not in read]
        if seeds:
            told.append(
                f"{row.label}: the ledger holds no reading of the test split that made the "
                f"record{'s' * (len(seeds) > 1)} of seed{'s' * (len(seeds) > 1)} {_listed(seeds)}: "
                "moved from another row or seed, edited, or lines of the ledger are missing."
            )
    return told


_SEVERAL = ("seeds", "were started and have")


def _tries(board: Leaderboard) -> list[str]:
    """Say what was started or looked at beyond what is shown."""
    told = []
    read: dict[tuple[int, int], list[Row]] = {}
    for row in board.rows:
        base = board.base_digest(row)
        gone = started(board.ledger, row.name, base) - set(row.seeds)
        seeds = max(row.effort.seeds_started if row.effort else 0, len(row.seeds) + len(gone))
        if gone:
            seed, have = ("seed", "was started and has") if len(gone) == 1 else _SEVERAL
            why = failures(board.ledger, row.name, base)
            told.append(
                f"{row.label}: {seed} {_listed(gone)} {have} no record"
                f"{_why({one: why[one] for one in gone if one in why})}."
            )
        elif seeds > len(row.seeds):
            told.append(f"{row.label}: {seeds} seeds were started, {len(row.seeds)} are shown.")
        readings = max(
            row.effort.test_readings if row.effort else 0,
            effort(board.ledger, row.name, base).test_readings,
        )
        if readings > len(row.seeds):
            read.setdefault((readings, len(row.seeds)), []).append(row)
    told += [
        f"{_labels(rows)}: results on the test split were read {readings} times"
        f"{' each' if len(rows) > 1 else ''}, of which {seeds} are shown; the others had other "
        "settings or seeds."
        for (readings, seeds), rows in read.items()
    ]
    shown = {row.name for row in board.rows}
    hidden = dict.fromkeys(one.row for one in board.ledger if one.row not in shown)
    if hidden:
        names = [f"{name}{_why(failures(board.ledger, name))}" for name in hidden]
        told.append(f"Started, and without any record: {', '.join(names)}.")
    return told


def _why(failed: Mapping[int, str]) -> str:
    """Return why seeds failed, in brackets; nothing where none did."""
    reasons: dict[str, list[int]] = {}
    for seed, told in failed.items():
        reasons.setdefault(one_line(told, LONGEST), []).append(seed)
    parts = [
        f"seed{'s' * (len(seeds) > 1)} {_listed(seeds)} failed: {told}"
        for told, seeds in reasons.items()
    ]
    return f" ({'; '.join(parts)})" if parts else ""


def _labels(rows: Collection[Row]) -> str:
    return ", ".join(row.label for row in rows)


def _listed(seeds: Collection[int]) -> str:
    return ", ".join(map(str, sorted(seeds)))
