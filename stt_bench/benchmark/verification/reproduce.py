"""A record made again: trained from the settings that stand in it, embedded, measured, compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stt_bench.benchmark.datasets import ItemTable, load_items
from stt_bench.benchmark.embedding.embed import embed_split
from stt_bench.benchmark.scoring.evaluate import score
from stt_bench.benchmark.store.locks import held
from stt_bench.benchmark.store.records import Record, read_record
from stt_bench.benchmark.store.runs import Run
from stt_bench.benchmark.suite.before import check_begins
from stt_bench.benchmark.system.devices import resolve_device
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.files import write_text
from stt_bench.benchmark.system.machine import same_code
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.training.checks import check_experiment
from stt_bench.benchmark.training.train import train
from stt_bench.benchmark.verification.diff import GROUPS
from stt_bench.benchmark.verification.fields import Difference, differences
from stt_bench.benchmark.verification.places import run_from
from stt_bench.benchmark.verification.spread import Reach, reaches
from stt_bench.benchmark.verification.verify import ROUNDING

_MEASURED = GROUPS["metrics"]
_BYTES = ("checkpoint_sha256", "embeddings_sha256")


@dataclass(frozen=True)
class Reproduction:
    """What became of a record that was made again."""

    name: str
    folder: Path
    same_bytes: bool
    metrics: list[Difference]  # beyond rounding; of the same bytes there must be none
    circumstances: list[Difference]  # code, versions, machine
    data: list[Difference]  # of the images and the starting weights
    reach: list[Reach] | None  # None: too few other seeds to have an interval

    @property
    def passed(self) -> bool:
        """Tell whether the record stands: the same bytes and metrics, or inside elsewhere."""
        if self.data:
            return False
        if self.same_bytes or (self.circumstances and not self.metrics):
            return not self.metrics
        inside = self.reach is not None and all(one.is_inside for one in self.reach)
        return bool(self.circumstances) and inside

    def lines(self) -> Iterator[str]:
        """Yield the sentence, and what differs."""
        yield f"{self.name}: {self._sentence()}"
        shown = self.data + (self.metrics if self.same_bytes else [])
        yield from (f"  {one.text()} when made again" for one in shown)
        if self.same_bytes:
            return
        if self.circumstances:
            yield "made in other circumstances (recorded → now):"
            yield from (f"  {one.text()}" for one in self.circumstances)
        for one in self.reach or ():
            yield f"  {'inside ' if one.is_inside else 'OUTSIDE'} {one.text()}"
        yield f"the run made again lies in {self.folder}"

    def _sentence(self) -> str:
        if self.data:
            return "cannot be reproduced: the images or starting weights are others"
        if self.same_bytes and not self.metrics:
            return "same bytes (network and embeddings), and the same metrics"
        if self.same_bytes:
            return (
                "same bytes (network and embeddings), but the record's numbers are not what they "
                "give: it was edited, or measured by other code"
            )
        told = "not the same bytes"
        if not self.circumstances:
            told += ", though code, versions and machine are the record's"
        if not self.metrics:
            return f"{told}; all metrics are the same to rounding"
        if self.reach is None:
            return f"{told}; its row has fewer than two other seeds, so there is no interval"
        outside = [one.metric for one in self.reach if not one.is_inside]
        if outside:
            return f"{told}, and outside the interval of the row's other seeds: {_listed(outside)}"
        return f"{told}; all metrics are inside the interval of the row's other seeds"


def reproduce(
    path: Path,
    reporter: Reporter,
    *,
    runs: Path,
    data_root: str | None = None,
    force: bool = False,
) -> Reproduction:
    """Train a record's experiment again and compare; no record is written.

    The settings are those that stand in the record, so no table is needed. The run lies in
    ``RUNS/TABLE/ROW/seed-N``; it is removed where all is the same.

    Args:
        path: the record's file.
        reporter: where the progress is shown.
        runs: where the new run lies; not where that of the record lies.
        data_root: the folder of the data; searched for if None.
        force: train again where a finished run lies there.

    Raises:
        BenchError: the record is broken, its data are not here, or the folder holds a finished run.
        TrainingStopped: the user stopped it; the same command continues.
    """
    record = read_record(path)
    run = run_from(record, runs, data_root)
    folder = run.folder
    marker = folder / "reproduces.txt"  # until it is compared: one that was stopped goes on
    check_experiment(run.experiment, lambda *field: f"{path}: experiment.{'.'.join(field)}")
    with held(run):
        if not force and run.is_trained and not marker.exists():
            raise BenchError(
                f"{folder} holds a finished run, and reproducing means to train afresh: name "
                "another folder with --runs, or discard that run with --force"
            )
        items = _items(run, reporter)
        if force:
            resolve_device(run.experiment.train.device)
            check_begins(run.experiment, items)
            run.discard()
        write_text(marker, f"{run.name}\n")
        facts = train(run, reporter, items=items)
        embedded = embed_split(run, facts, items, reporter)
        again, _ = score(run, facts, embedded, reporter)
        found = compared(record, again, *rows_beside(path, record), folder)
        marker.unlink()
        if found.passed and found.same_bytes:
            run.discard()
    return found


def _items(run: Run, reporter: Reporter) -> ItemTable:
    try:
        return load_items(run.experiment.data, reporter)
    except BenchError as error:
        if run.experiment.data.root is not None:
            raise
        raise BenchError(f"{error}; reproduce takes their place by --data-root") from None


def compared(
    record: Record,
    again: Record,
    others: Sequence[Record],
    rows: Sequence[Sequence[Record]],
    folder: Path,
) -> Reproduction:
    """Compare a record with what was made again, beside the row's other seeds and other rows."""
    first, second = record.model_dump(mode="json"), again.model_dump(mode="json")
    found = list(differences(first, second, rounding=ROUNDING))

    def of(*heads: str) -> list[Difference]:
        return [d for d in found if d.field.partition(".")[0] in heads or d.field in heads]

    return Reproduction(
        name=f"{record.table}/{record.row}/seed-{record.seed}",
        folder=folder,
        same_bytes=not of(*_BYTES),
        metrics=[d for d in of(*_MEASURED) if first.get(d.field.partition(".")[0])],
        circumstances=[
            *(d for d in of("commit") if not same_code(d.first, d.second)),
            *of("probe", "versions", "training.device", "training.threads"),
            *_changed_code(first, second),
        ],
        data=of("data_hash", "protocol.weights"),
        reach=reaches(record, again, others, rows),
    )


def _changed_code(first: dict[str, Any], second: dict[str, Any]) -> list[Difference]:
    """Return the commit where both are of one with changes: which changes, nobody knows."""
    commits = [tree.get("commit") or tree["versions"].get("commit") for tree in (first, second)]
    same = commits[0] == commits[1] and str(commits[0]).endswith(("+changes", "-dirty"))
    return [Difference("commit", *commits)] if same else []


def rows_beside(path: Path, record: Record) -> tuple[list[Record], list[list[Record]]]:
    """Return the records of the row's other seeds, and those of the table's other rows.

    Of the row those that were made with the same settings and data. A record that cannot be read
    says nothing of the spread.
    """
    own: list[Record] = []
    rows: dict[str, list[Record]] = {}
    for file in sorted(path.resolve().parents[1].glob("*/seed-*.json")):
        try:
            other = read_record(file)
        except BenchError:
            continue
        if other.row != record.row:
            rows.setdefault(other.row, []).append(other)
        elif other.seed != record.seed and (
            (_settings(other), other.data_hash) == (_settings(record), record.data_hash)
        ):
            own.append(other)
    return own, list(rows.values())


def _settings(record: Record) -> str:
    """Return the digest of a row's settings, before tuning: seeds of a tuned row differ after."""
    return record.config_digest if record.tuning is None else record.tuning.base_digest


def _listed(names: list[str]) -> str:
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else names[0]
