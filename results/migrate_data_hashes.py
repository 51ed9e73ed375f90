"""Write the content hashes of the data into records that tell files apart by their sizes.

    python results/migrate_data_hashes.py [RESULTS]

Until version 0.2 the data hash covered the sizes of image files and the checksums of a zip's
members; since then it covers their contents. For each record below RESULTS/records (`results` when
not given) whose data lie here, the hash is first computed by the old rule and must be the record's
own. Only then are `data_hash`, `protocol.data` and `protocol_fingerprint` written; all else stays,
to the byte. Records that have been migrated, and arrays (digits, Fashion-MNIST), whose hash always
covered the pixels, are left as they are.
"""

from __future__ import annotations

import json
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from stt_bench.benchmark.config.sections import DataConfig
from stt_bench.benchmark.datasets import FileStore, ZipStore, check_dataset, load_items
from stt_bench.benchmark.datasets.held_out import hold_out
from stt_bench.benchmark.datasets.items import find_root, hash_items, read_source
from stt_bench.benchmark.datasets.long_tail import long_tail
from stt_bench.benchmark.datasets.stores import Store
from stt_bench.benchmark.store.protocol import fingerprint
from stt_bench.benchmark.store.records import checksum
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.files import write_json


def old_hash(config: DataConfig) -> str:
    """Return the data hash by the old rule: sizes of files, checksums of members, arrays."""
    dataset = check_dataset(config)
    frame, store, _ = read_source(config, find_root(dataset, config.root))
    identity = list(old_identity(store, frame["path"].tolist()))
    if config.long_tail is not None:
        frame = frame[long_tail(frame, config.long_tail)].reset_index(drop=True)
    if config.validation is not None:
        frame = hold_out(frame, config.task, config.validation)
    return hash_items(frame, identity)


def old_identity(store: Store, paths: Sequence[str]) -> Iterator[bytes]:
    """Yield what identified the images until then."""
    if isinstance(store, FileStore):
        yield from (b"%d," % (store.root / path).stat().st_size for path in paths)
    elif isinstance(store, ZipStore):
        with zipfile.ZipFile(store.file) as archive:
            yield from (b"%d," % archive.getinfo(path).CRC for path in paths)
    else:
        yield from store.contents(paths).identity


class Data:
    """The old and the new hash of each data section that is asked for; None: not here."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._known: dict[str, tuple[str, str] | None] = {}

    def hashes(self, section: dict[str, Any]) -> tuple[str, str] | None:
        """Return the old and the new hash of a record's data."""
        key = json.dumps(section)
        if key not in self._known:
            config = DataConfig.model_validate(section)
            try:
                self._known[key] = old_hash(config), load_items(config).data_hash
            except BenchError as error:
                print(f"{config.name}, {config.task}: {error}")
                self._known[key] = None
        return self._known[key]


def migrate_data_hash(record: dict[str, Any], data: Data) -> str:
    """Bring a record's data hash up to date, in place; return what was done."""
    protocol = record["protocol"]
    if record["data_hash"] != protocol["data"]:
        return "refused: the record names two data hashes"
    if record["protocol_fingerprint"] != fingerprint(protocol):
        return "refused: the fingerprint is not that of the record's protocol"
    hashes = data.hashes(record["experiment"]["data"])
    if hashes is None:
        return "left: the data are not here"
    old, new = hashes
    if record["data_hash"] == new:
        return "up to date"
    if record["data_hash"] != old:
        return "refused: made from other data than lie here"
    protocol["data"] = record["data_hash"] = new
    record["protocol_fingerprint"] = fingerprint(protocol)
    return "migrated"


def main(results: Path) -> int:
    """Migrate all records; return 1 if one was refused."""
    data, done = Data(), Counter[str]()
    for file in sorted((results / "records").glob("*/*/seed-*.json")):
        record = json.loads(file.read_text(encoding="utf-8"))
        told = migrate_data_hash(record, data)
        if told == "migrated":
            record |= {"checksum": checksum(record)} if "checksum" in record else {}
            write_json(file, record)
        elif told.startswith("refused"):
            print(f"{file}: {told}")
        done[told] += 1
    for told, count in done.items():
        print(f"{count:5} {told}")
    return int(any(told.startswith("refused") for told in done))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "results")))
