"""The names that a table can choose from: losses, datasets, backbones, tables."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from importlib.resources import files
from typing import Any


def names(what: str) -> Iterator[tuple[str, str]]:
    """Yield (name, one line about it) of all losses, datasets, backbones or tables."""
    if what == "losses":
        for name, params in sorted(_losses().items()):
            yield name, ", ".join(f"{key}={value!r}" for key, value in params.items())
    elif what == "datasets":
        from stt_bench.benchmark.datasets import dataset_names, dataset_summary

        for name in dataset_names():
            yield name, dataset_summary(name)
    elif what == "backbones":
        from stt_bench.benchmark.models import backbone_names

        for name in backbone_names():
            yield name, ""
    else:
        yield from _tables()


def _losses() -> dict[str, dict[str, Any]]:
    """Return the parameters of each loss with their defaults.

    Where no plugin or package brings more losses, they are read from the shipped schema: importing
    the losses means importing torch, which takes seconds.
    """
    if "stt_bench.losses" in sys.modules or entry_points(group="stt_bench.losses"):
        from stt_bench.losses import loss_names, loss_parameters

        return {name: loss_parameters(name) for name in loss_names()}
    schema = json.loads((files("stt_bench") / "table.schema.json").read_text(encoding="utf-8"))
    _, full = schema["$defs"]["LossConfig"]["anyOf"]
    return {
        own["if"]["properties"]["name"]["const"]: {
            key: value["default"]
            for key, value in own["then"]["properties"].items()
            if key != "name"
        }
        for own in full["allOf"]
    }


def _tables() -> Iterator[tuple[str, str]]:
    """Yield the tables and where they lie; what they name (losses, data) is not looked up."""
    from stt_bench.benchmark.config.table_files import is_shipped, table_files
    from stt_bench.benchmark.config.tables import read_table
    from stt_bench.benchmark.system.errors import BenchError

    for name, path in sorted(table_files().items()):
        place = "shipped" if is_shipped(path) else str(path)
        try:
            table = read_table(str(path))
        except BenchError as error:
            yield name, f"cannot be used: {error}"
            continue
        yield name, f"{table.title} ({len(table.rows)} rows, {len(table.seeds)} seeds; {place})"
