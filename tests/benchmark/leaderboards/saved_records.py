"""Made-up records on disk, with protocols that fit: every check of a reader passes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from stt_bench.benchmark.store.protocol import fingerprint, protocol_of
from stt_bench.benchmark.store.records import Record, record_path


def save(results: Path, records: Iterable[Record]) -> None:
    """Write records to their places below a folder of results."""
    for made in records:
        protocol = protocol_of(
            made.experiment,
            data_hash=made.data_hash,
            initial_weights="random",
            embedding_dim=made.experiment.model.embedding_dim,
        )
        path = record_path(results, made.table, made.row, made.seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        changed = {"protocol": protocol, "protocol_fingerprint": fingerprint(protocol)}
        made.model_copy(update=changed).save(path)
