"""The names that a table can choose from: losses, datasets, backbones, tables."""

from __future__ import annotations

from collections.abc import Iterator


def names(what: str) -> Iterator[tuple[str, str]]:
    """Yield (name, one line about it) of all losses, datasets, backbones or tables."""
    if what == "losses":
        from stt_bench.losses import loss_names, loss_parameters

        for name in loss_names():
            params = [f"{key}={value!r}" for key, value in loss_parameters(name).items()]
            yield name, ", ".join(params)
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
