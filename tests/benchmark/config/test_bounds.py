"""Every number of a table has bounds, and a number beyond them gets one sentence."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.config.tables import read_table
from stt_bench.benchmark.system.errors import BenchError

SCHEMA = Experiment.model_json_schema()
TABLE = "data: {name: digits, validation: 0.2}\nrows:\n  a: {loss: softmax}\n"


def numbers_in(schema: dict[str, Any], place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield all numeric fields of a JSON schema with their dotted path."""
    if "$ref" in schema:
        schema = SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]]
    if schema.get("type") in ("integer", "number"):
        yield place, schema
    for name, inner in schema.get("properties", {}).items():
        yield from numbers_in(inner, f"{place}.{name}".lstrip("."))
    for inner in schema.get("anyOf", []):
        yield from numbers_in(inner, place)
    if isinstance(schema.get("items"), dict):
        yield from numbers_in(schema["items"], f"{place}.[]")


FIELDS = dict(numbers_in(SCHEMA))


def test_the_fields_are_found() -> None:
    assert {"optimizer.lr", "input.size", "train.workers", "evaluation.ks.[]"} <= set(FIELDS)
    assert {"input.std.[]", "phases.[].lr", "loss_weight", "data.long_tail"} <= set(FIELDS)
    assert len(FIELDS) >= 30


@pytest.mark.parametrize("field", sorted(FIELDS))
def test_every_number_is_bounded_on_both_sides(field: str) -> None:
    schema = FIELDS[field]
    assert schema.keys() & {"enum", "const"} or (
        schema.keys() & {"minimum", "exclusiveMinimum"}
        and schema.keys() & {"maximum", "exclusiveMaximum"}
    )


def setting(field: str, value: object) -> str:
    """Return ``--set`` text for a field, also for one in a list."""
    name, _, rest = field.partition(".[]")
    if not rest and name == field:
        return f"{field}={value}"
    if not rest:
        return f"{name}=[{value}]"
    return f"{name}=[{{steps: 1, loss: softmax, {rest.removeprefix('.')}: {value}}}]".replace(
        "steps: 1, loss: softmax, steps", "loss: softmax, steps"
    )


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bounds") / "t.yaml"
    path.write_text(TABLE)
    return path


HUGE = str(10**400)
EXTREMES = ["1e21", "1e300", "-1e300", ".inf", "-.inf", ".nan", HUGE, f"-{HUGE}", "'1'"]


@pytest.mark.parametrize("field", sorted(set(FIELDS) - {"input.channels"}))
def test_a_number_beyond_all_use_is_one_sentence(table: Path, field: str) -> None:
    for value in EXTREMES:
        with pytest.raises(BenchError) as caught:
            read_table(str(table), [setting(field, value)])
        sentence = str(caught.value)
        assert sentence.startswith("--set ")
        named = field.partition(".[]")[0]
        assert named in sentence
        assert f"{named}.constrained" not in sentence
        assert f"{named}.int" not in sentence
        assert "\n" not in sentence
        assert len(sentence) < 400


@pytest.mark.parametrize("value", ["some", "2.5", "[1]"])
def test_a_field_of_two_kinds_says_both(table: Path, value: str) -> None:
    with pytest.raises(BenchError, match=r"train\.workers: .* valid integer, or 'auto' \(it is "):
        read_table(str(table), [f"train.workers={value}"])


@given(
    field=st.sampled_from(sorted(FIELDS)),
    value=st.one_of(st.integers(), st.floats(), st.integers(-(10**30), 10**30)),
)
def test_any_number_is_taken_as_it_is_or_refused(table: Path, field: str, value: float) -> None:
    text = repr(value).replace("inf", ".inf").replace("nan", ".nan")
    with suppress(BenchError):
        row = read_table(str(table), [setting(field, text)]).rows["a"]
        taken = row.value_of(field) if "[]" not in field else value
        assert math.isfinite(taken)
        assert taken == value
