"""What every shipped table of our own must hold, so that its differences can be told fairly."""

from __future__ import annotations

import pytest

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.config.table_files import SHIPPED_FOLDER
from stt_bench.benchmark.leaderboards.conditions import conditions
from stt_bench.benchmark.leaderboards.published import SHIPPED, read_published
from stt_bench.benchmark.suite import load_table
from stt_bench.losses import loss_names

SOURCES = ("cub200", "sop", "inshop", "cars", "flowers_class", "dogs", "aircraft", "birds")
ALL = sorted(f.stem for f in SHIPPED_FOLDER.glob("*.yaml"))
OWN = [table for table in ALL if not table.startswith(SOURCES)]


def trained(rows: dict[str, Experiment]) -> dict[str, Experiment]:
    return {name: row for name, row in rows.items() if row.train.steps > 0}


def test_these_are_the_tables_that_are_run_here() -> None:
    assert {"cub50_retrieval", "digits_classification", "fashion_mnist_long_tail"} <= set(OWN)


@pytest.mark.parametrize("table", OWN)
def test_every_trained_row_has_a_softmax_row_of_its_conditions(table: str) -> None:
    rows = trained(load_table(table).rows)
    softmax = [conditions(row) for row in rows.values() if row.is_softmax]
    assert [name for name, row in rows.items() if conditions(row) not in softmax] == []


@pytest.mark.parametrize("table", ALL)
def test_every_table_has_the_untrained_network_with_and_without_its_head(table: str) -> None:
    rows = load_table(table).rows.values()
    heads = {row.model.head for row in rows if row.train.steps == 0}
    assert "none" in heads
    assert heads & ({row.model.head for row in rows if row.train.steps > 0} - {"none"})


def test_logit_adjustment_is_for_batches_as_the_data_are() -> None:
    """P×K batches hold every class alike: there the priors of the data are not the batch's."""
    adjusted = {
        (table, name): row.sampler.name
        for table in OWN
        for name, row in load_table(table).rows.items()
        if row.loss.params.get("logit_adjustment")
    }
    assert "fashion_mnist_long_tail" in {table for table, _ in adjusted}
    assert set(adjusted.values()) == {"uniform"}


FROZEN = [table for table in OWN if table.startswith("frozen_")]


def test_the_frozen_tables_have_the_same_rows_in_the_same_order() -> None:
    """So that one may ask whether the order of the losses carries over; the first has more."""
    rows = {table: load_table(table).rows for table in FROZEN}
    common = [name for name in rows["frozen_cub50_lite0"] if name in rows["frozen_omniglot"]]
    for table in FROZEN:
        assert table == "frozen_cub50_lite0" or list(rows[table]) == common
    for name in common:
        methods = [rows[table][name] for table in FROZEN]
        beside = {"data", "input", "evaluation"}
        assert len({row.model_dump_json(exclude={*beside, "model"}) for row in methods}) == 1, name
        nets = {row.model.model_dump_json(exclude={"backbone", "weights"}) for row in methods}
        assert len(nets) == 1, name


@pytest.mark.parametrize("table", FROZEN)
def test_a_frozen_table_compares_all_losses_under_one_recipe(table: str) -> None:
    read = load_table(table)
    rows = trained(read.rows)
    assert len(read.rows) >= 25
    assert read.seeds == tuple(range(10))
    assert read.tuning is not None
    assert (read.tuning.studies, read.tuning.trials, read.tuning.folds) == (3, 20, 4)
    assert {row.loss.name for row in rows.values()} >= set(loss_names())
    assert sum(row.loss.name.startswith("pml:") for row in rows.values()) >= 2
    assert any(row.memory for row in rows.values())
    recipes = [row.model_dump(include={"sampler", "optimizer", "train"}) for row in rows.values()]
    assert all(recipe == recipes[0] for recipe in recipes)
    assert all(row.model.freeze == "all" for row in rows.values())


@pytest.mark.parametrize("table", FROZEN)
def test_no_second_loss_stands_on_features_that_nothing_trains(table: str) -> None:
    """There a classifier would learn beside the head and teach it nothing."""
    for name, row in load_table(table).rows.items():
        assert not row.softmax_head or row.softmax_on == "embedding", name


def test_the_short_two_head_table_has_the_published_column_and_the_sources_rows() -> None:
    numbers = read_published(SHIPPED)
    rows = load_table("flowers_short").rows
    own, source = (
        {n.row: n for n in numbers[t]} for t in ("flowers_short", "flowers_classification")
    )
    assert set(own) <= set(rows)
    assert [n.value for n in own.values()] == [n.value for n in source.values()]
    assert all("the source's own protocol" in number.note for number in own.values())
    assert all(
        load_table("flowers_classification").rows[name].loss.name == rows[row].loss.name
        for name, row in zip(source, own, strict=True)
    )
