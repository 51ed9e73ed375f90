"""Bring result records of schema 1 or 2 to schema 3.

    python results/migrate_to_schema_3.py [RESULTS_FOLDER]

`listing` is called `display`. The distance leaves the protocol, since retrieval is measured by
both; the experiment keeps it, and since its default has changed, the digest names it. The digest
and the fingerprint must first be those of the record as it was: a record that was edited is refused
and not made whole. The metrics keep their bytes, and a checksum of all the rest is added. Records
of schema 3 are left as they are.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from stt_bench.benchmark.config.experiment import Experiment, digest_of
from stt_bench.benchmark.store.protocol import fingerprint
from stt_bench.benchmark.store.records import checksum
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.files import read_json, write_json

NEW_NAMES = {"listing": "display"}
OLD_DISTANCE = "euclidean"


def digest_until_schema_2(experiment: Experiment) -> str:
    """Return the digest of the time when Euclidean distance was the default, and left out."""
    settings = experiment._settings()
    evaluation = settings.pop("evaluation", {})
    evaluation["distance"] = experiment.evaluation.distance
    if evaluation["distance"] == OLD_DISTANCE:
        del evaluation["distance"]
    return digest_of(settings | ({"evaluation": evaluation} if evaluation else {}))


def migrated(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record of schema 1 or 2 as one of schema 3.

    Raises:
        ValueError: its digest or fingerprint is not that of the rest.
    """
    if record.get("checksum", "") not in ("", checksum(record)):
        raise ValueError("checksum is not that of the rest")
    settings = dict(record["experiment"])
    settings["evaluation"] = dict(settings.get("evaluation", {}))
    settings["evaluation"].setdefault("distance", OLD_DISTANCE)
    experiment = Experiment.model_validate(settings)
    if record["config_digest"] != digest_until_schema_2(experiment):
        raise ValueError("config_digest is not that of the experiment beside it")
    if record["protocol_fingerprint"] != fingerprint(record["protocol"]):
        raise ValueError("protocol_fingerprint is not that of the protocol beside it")
    protocol = {name: value for name, value in record["protocol"].items() if name != "distance"}
    changed = {
        "schema_version": 3,
        "experiment": settings,
        "config_digest": experiment.digest(),
        "protocol": protocol,
        "protocol_fingerprint": fingerprint(protocol),
    }
    return {NEW_NAMES.get(name, name): changed.get(name, value) for name, value in record.items()}


def migrate(path: Path) -> bool:
    """Rewrite a record of an older schema; tell whether it was.

    Raises:
        BenchError: it was edited, or is no record.
    """
    record = read_json(path)
    if record["schema_version"] not in (1, 2):
        return False
    try:
        after = migrated(record)
    except (KeyError, ValueError) as error:
        raise BenchError(f"{path}: {error}; evaluate again") from None
    if json.dumps(after["metrics"]) != json.dumps(record["metrics"]):
        raise AssertionError(f"{path}: the metrics would change")
    write_json(path, after | {"checksum": checksum(after)})
    return True


def main() -> int:
    """Rewrite all records below a results folder; return 1 if one was refused."""
    results = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    paths = sorted((results / "records").glob("*/*/seed-*.json"))
    changed = refused = 0
    for path in paths:
        try:
            changed += migrate(path)
        except BenchError as error:
            print(error)
            refused += 1
    print(f"{changed} of {len(paths)} records were older and are of schema 3 now")
    return int(refused > 0)


if __name__ == "__main__":
    sys.exit(main())
