"""The schema that editors use says what the reader of tables says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import Done
from jsonschema import Draft7Validator

import stt_bench
from stt_bench.benchmark.config.table_files import SHIPPED_FOLDER
from stt_bench.benchmark.config.yaml_lines import parse_value, read_yaml
from stt_bench.benchmark.schema import table_schema

COMMITTED = Path(stt_bench.__file__).with_name("table.schema.json")
TABLES = sorted(SHIPPED_FOLDER.glob("*.yaml"))


@pytest.fixture(scope="module")
def validator() -> Draft7Validator:
    schema = json.loads(COMMITTED.read_text(encoding="utf-8"))
    Draft7Validator.check_schema(schema)
    return Draft7Validator(schema)


def test_the_committed_schema_is_current() -> None:
    """If it is not: `stt-bench schema > stt_bench/table.schema.json`."""
    assert json.loads(COMMITTED.read_text(encoding="utf-8")) == table_schema()


def test_the_command_prints_it(stt_bench: Callable[..., Done]) -> None:
    assert stt_bench("schema").stdout == COMMITTED.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_the_shipped_tables_fit(validator: Draft7Validator, path: Path) -> None:
    validator.validate(read_yaml(path)[0])


def test_the_table_of_the_tests_fits(validator: Draft7Validator, tiny: Path) -> None:
    validator.validate(read_yaml(tiny)[0])


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("base: digits_retrieval", True),
        ("base: digits_retrieval\nseeds: 3\nrows: {hard: null, a: {loss: softmax}}", True),
        ("rows: {a: {loss: of_a_plugin, label: x}}", True),
        ("rows: {a: {loss: {name: hard_triplet, margin: soft}}}", True),
        ("rows: {a: {loss: {name: of_a_plugin, anything: 1}}}", True),
        ("optimizer: {lr: 1}\nmodel: {weights: null}", True),
        ("figure: {x: loss.margin, rows: [a]}", True),
        ("compare_by: nmi", True),
        ("compare_by: recall@8", True),
        ("compare_by: ndcg", False),
        ("titel: x", False),
        ("label: x", False),
        ("seeds: [-1]", False),
        ("seeds: []", False),
        ("base: digits_retrieval\nrows: {}", True),
        ("rows: {a/b: {loss: softmax}}", False),
        ("rows: {a: {los: softmax}}", False),
        ("rows: {a: {loss: {name: hard_triplet, margn: 1}}}", False),
        ("rows: {a: {loss: {margin: 1}}}", False),
        ("optimizer: {lr: fast}", False),
        ("optimizer: {lr: 0}", False),
        ("input: {size: 1.5}", False),
        ("train: {workers: 1e21}", False),
        ("sampler: {name: pkx}", False),
        ("figure: {y: loss.margin}", False),
    ],
)
def test_what_fits_and_what_does_not(validator: Draft7Validator, text: str, fits: bool) -> None:
    content: Any = parse_value(text)
    assert isinstance(content, dict)
    assert validator.is_valid(content) == fits
