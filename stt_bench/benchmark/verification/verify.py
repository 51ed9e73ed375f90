"""A record measured again from its embeddings: all that they do not give is named."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from stt_bench.benchmark.datasets.items import ItemTable
from stt_bench.benchmark.datasets.near_duplicates import METHOD
from stt_bench.benchmark.embedding.embed import duplicates_of
from stt_bench.benchmark.models import weights_id
from stt_bench.benchmark.scoring.evaluate import score
from stt_bench.benchmark.store.embedding_set import read_embedding_set
from stt_bench.benchmark.store.records import Record, read_record
from stt_bench.benchmark.suite import Data
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.system.tensor_files import whole_sha256
from stt_bench.benchmark.verification.fields import differences
from stt_bench.benchmark.verification.places import name_of, run_from
from stt_bench.evaluation import chosen_backend

ROUNDING = 1e-6
"""Numbers that differ by more are told; one query of a million moves Recall@1 by as much."""

_OF_THE_MAKING = ("display", "evaluated_with", "commit", "probe", "effort", "checksum")
"""Tells who measured, when and with what: not what embeddings give."""

_GIVEN = ("near_duplicates",)
"""Come to a record from elsewhere, not from its embeddings."""

Verdict = Literal["same", "differs", "unusable", "gone"]


@dataclass
class Finding:
    """What became of one record."""

    name: str
    wrong: list[str] = field(default_factory=list)
    unusable: str = ""  # why its embeddings are here and give nothing
    gone: str = ""  # why the metrics could not be measured again
    checked: list[str] = field(default_factory=list)
    unrecorded: list[str] = field(default_factory=list)  # what embeddings give and it does not hold

    @property
    def verdict(self) -> Verdict:
        """Return ``differs`` where anything is wrong, else what the embeddings are.

        They are ``unusable`` where they are damaged, or of another training.
        """
        if self.wrong:
            return "differs"
        return "unusable" if self.unusable else "gone" if self.gone else "same"

    @property
    def passed(self) -> bool:
        """Tell whether nothing that is here speaks against the record."""
        return self.verdict in ("same", "gone")

    def lines(self) -> Iterator[str]:
        """Yield what to tell of the record."""
        where = f"{self.name}:"
        if self.verdict == "differs":
            yield f"{where} differs in {len(self.wrong)} field(s)"
            yield from (f"  {told}" for told in self.wrong)
        if missing := self.unusable or self.gone:
            yield f"{where} {missing}; `stt-bench reproduce {self.name}` trains again"
        elif self.verdict == "same":
            yield f"{where} the same"
        if self.checked:
            yield f"  checked: {', '.join(self.checked)}"
        if self.unrecorded:
            yield f"  not in the record: {', '.join(self.unrecorded)}"


@dataclass
class Verifier:
    """What the records that are verified share: where their runs and data lie."""

    runs: Path
    reporter: Reporter
    data_root: str | None = None

    def __post_init__(self) -> None:
        """Start with no data read."""
        self._data = Data(Reporter(quiet=True), download=False)

    def verify(self, path: Path) -> Finding:
        """Measure a record again from its embeddings, and hash its data and weights, if here.

        Nothing is written. A record that cannot be read, or whose parts do not fit each other,
        differs.
        """
        found = Finding(name_of(path))
        try:
            record = read_record(path)
        except BenchError as error:
            found.wrong.append(str(error))
            return found
        self._measure(record, found)
        self._compare_data(record, found)
        return found

    def _measure(self, record: Record, found: Finding) -> None:
        own = run_from(record, self.runs)
        if not (own.embeddings() / "meta.json").exists():
            found.gone = f"its embeddings are gone (there are none in {own.embeddings()})"
            return
        if not own.training.exists():
            found.gone = f"the facts of its training are gone (there is no {own.training})"
            return
        try:
            chosen_backend(own.experiment.evaluation.backend)
        except ValueError as error:
            found.gone = f"its search cannot be done here ({error})"
            return
        try:
            facts = own.facts(with_weights=False)
            again, _ = score(own, facts, read_embedding_set(own.embeddings()), self.reporter)
        except BenchError as error:
            found.unusable = f"its embeddings cannot be used ({error})"
            return
        found.checked.append("all that its embeddings give")
        if own.weights.exists():
            found.checked.append("trained weights")
            try:
                sha256 = whole_sha256(own.weights)
            except BenchError as error:
                found.wrong.append(str(error))
                return
            if sha256 != record.checkpoint_sha256:
                found.wrong.append(
                    f"{own.weights} is not the network of the record (sha256 {sha256[:12]}…, "
                    f"recorded {record.checkpoint_sha256[:12]}…)"
                )
        now, recorded = again.model_dump(mode="json"), record.model_dump(mode="json")
        found.unrecorded += [
            name
            for name, value in now.items()
            if value is not None and recorded[name] is None and name not in _OF_THE_MAKING
        ]
        unknown = [name for name in _GIVEN if now[name] is None]
        apart = (*_OF_THE_MAKING, *unknown, *found.unrecorded)
        for one in differences(recorded, now, rounding=ROUNDING, without=apart):
            found.wrong.append(f"{one.text()} when measured again")

    def _compare_data(self, record: Record, found: Finding) -> None:
        own = run_from(record, self.runs, self.data_root)
        try:
            items = self._data.of(own.experiment)
        except BenchError:  # not here, or not whole: the record may be right all the same
            items = None
        if items is not None:
            found.checked.append("images")
            if items.data_hash != record.data_hash:
                found.wrong.append(
                    f"data_hash: {record.data_hash[:12]}… → {items.data_hash[:12]}…: the images "
                    "here, or their split, are not those of the record"
                )
            else:
                self._compare_duplicates(record, items, found)
        if own.experiment.model.weights is None:
            return
        try:
            weights = weights_id(own.experiment.model)
        except BenchError:
            return
        found.checked.append("starting weights")
        if weights != record.protocol["weights"]:
            found.wrong.append(
                f"protocol.weights: {record.protocol['weights']} → {weights}: the starting "
                "weights here are not those of the record"
            )

    def _compare_duplicates(self, record: Record, items: ItemTable, found: Finding) -> None:
        """Search the images again for those that test and training share."""
        recorded = record.near_duplicates
        if recorded is None or recorded.method != METHOD:
            return
        try:
            again = duplicates_of(items, self.reporter)
        except BenchError:
            return
        if again is None:
            return
        found.checked.append("near-duplicates")
        now = again.model_dump(exclude={"test_ids"}) | {"test_items": len(again.test_ids)}
        told = recorded.model_dump(exclude={"metrics_without"})
        for one in differences({"near_duplicates": told}, {"near_duplicates": now}):
            found.wrong.append(f"{one.text()} when the images are compared again")
