"""What every shipped table of our own must hold, so that its differences can be told fairly."""

from __future__ import annotations

import pytest

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.config.table_files import SHIPPED_FOLDER
from stt_bench.benchmark.leaderboards.baseline import conditions
from stt_bench.benchmark.suite import load_table

SOURCES = ("cub200", "sop", "inshop", "cars", "flowers_class", "dogs", "aircraft", "birds")
OWN = sorted(f.stem for f in SHIPPED_FOLDER.glob("*.yaml") if not f.stem.startswith(SOURCES))


def trained(rows: dict[str, Experiment]) -> dict[str, Experiment]:
    return {name: row for name, row in rows.items() if row.train.steps > 0}


def test_these_are_the_tables_that_are_run_here() -> None:
    assert {"cub50_retrieval", "digits_classification", "fashion_mnist_long_tail"} <= set(OWN)


@pytest.mark.parametrize("table", OWN)
def test_every_trained_row_has_a_softmax_row_of_its_conditions(table: str) -> None:
    rows = trained(load_table(table).rows)
    softmax = [conditions(row) for row in rows.values() if row.is_softmax]
    assert [name for name, row in rows.items() if conditions(row) not in softmax] == []


@pytest.mark.parametrize("table", OWN)
def test_every_table_has_the_untrained_network_with_and_without_its_head(table: str) -> None:
    rows = load_table(table).rows.values()
    heads = {row.model.head for row in rows if row.train.steps == 0}
    assert {"none", "linear"} <= heads


def test_logit_adjustment_is_for_batches_as_the_data_are() -> None:
    """P×K batches hold every class alike: there the priors of the data are not the batch's."""
    for table in OWN:
        for name, row in load_table(table).rows.items():
            if row.loss.params.get("logit_adjustment"):
                assert row.sampler.name == "uniform", (table, name)
