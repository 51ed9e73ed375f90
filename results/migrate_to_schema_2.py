"""Bring result records of schema 1 to schema 2: `listing` is called `display`.

Nothing else changes: the metrics keep their bytes. Records of schema 2 are left as they are.

    python results/migrate_to_schema_2.py [RESULTS_FOLDER]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from stt_bench.benchmark.system.files import read_json, write_json

NEW_NAMES = {"listing": "display"}


def migrated(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record of schema 1 as one of schema 2."""
    return {
        NEW_NAMES.get(name, name): 2 if name == "schema_version" else value
        for name, value in record.items()
    }


def migrate(path: Path) -> bool:
    """Rewrite a record if it is of schema 1; tell whether it was."""
    record = read_json(path)
    if record["schema_version"] != 1:
        return False
    after = migrated(record)
    if json.dumps(after["metrics"]) != json.dumps(record["metrics"]):
        raise AssertionError(f"{path}: the metrics would change")
    write_json(path, after)
    return True


def main() -> None:
    """Rewrite all records below a results folder."""
    results = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    paths = sorted((results / "records").glob("*/*/seed-*.json"))
    changed = sum(map(migrate, paths))
    print(f"{changed} of {len(paths)} records were of schema 1 and are of schema 2 now")


if __name__ == "__main__":
    main()
