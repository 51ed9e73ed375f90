"""The JSON schema of a table's file, for editors: made from the models that read it."""

from __future__ import annotations

from typing import Any

from stt_bench.benchmark.config.bounds import LARGEST_SEED
from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.config.table_sections import COMPARED, FigureConfig, TuningConfig
from stt_bench.benchmark.datasets import dataset_names
from stt_bench.losses import loss_names, loss_parameters

Schema = dict[str, Any]
_PLAIN = (bool, int, float, str)
_MERGED = ("DataConfig", "FigureConfig")  # a row, or a base, may hold what they need


def table_schema() -> Schema:
    """Return the schema; the losses and datasets in it are those that are registered now."""
    experiment = Experiment.model_json_schema()
    parts = experiment.pop("$defs")
    parts["FigureConfig"] = FigureConfig.model_json_schema()
    parts["TuningConfig"] = TuningConfig.model_json_schema()
    for name in _MERGED:
        parts[name].pop("required", None)
    parts["DataConfig"]["properties"]["name"] |= _names(dataset_names())
    parts["LossConfig"] = _loss()
    row = experiment["properties"]
    parts["Row"] = {"type": "object", "properties": row, "additionalProperties": False}
    seed = {"type": "integer", "minimum": 0, "maximum": LARGEST_SEED}
    text = {"type": ["string", "number"]}
    own = {
        "base": {"type": "string", "description": "The table that this one differs from."},
        "title": text | {"description": "The title of the leaderboard."},
        "description": text | {"description": "What the leaderboard says below its title."},
        "seeds": {
            "anyOf": [seed, {"type": "array", "items": seed, "minItems": 1}],
            "description": "Each row is run once with each.",
        },
        "figure": {"$ref": "#/$defs/FigureConfig"},
        "tuning": {"$ref": "#/$defs/TuningConfig"},
        "compare_by": {
            "anyOf": [{"enum": list(COMPARED)}, {"pattern": "^recall@[0-9]+$"}],
            "description": "The one metric whose differences to Softmax are judged; without it "
            "MAP@R and accuracy, those of the two that there are.",
        },
        "vary": {
            "type": "object",
            "minProperties": 1,
            "additionalProperties": {
                "type": "array",
                "items": {"type": "number"},
                "minItems": 1,
                "uniqueItems": True,
            },
            "description": "Values of dotted fields, such as `optimizer.lr`: each row that trains "
            "becomes a row for each.",
        },
        "rows": {
            "type": "object",
            "propertyNames": {"pattern": "^[A-Za-z0-9][A-Za-z0-9._-]*$"},
            "additionalProperties": {"anyOf": [{"$ref": "#/$defs/Row"}, {"type": "null"}]},
            "description": "What differs, by the row's name; null leaves out a row of the base.",
        },
    }
    shared = {name: part for name, part in row.items() if name != "label"}
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A table of stt-bench",
        "type": "object",
        "properties": own | shared,
        "additionalProperties": False,
        "$defs": parts,
    }
    _drop_titles(schema["properties"])
    _drop_titles(parts)
    return schema


def _loss() -> Schema:
    """Return the schema of a loss: its name, or its name and parameters."""
    losses = loss_names()
    own = []
    for name in losses:
        parameters = {
            key: {"default": default} if isinstance(default, _PLAIN) else {}
            for key, default in loss_parameters(name).items()
        }
        own.append(
            {
                "if": {"properties": {"name": {"const": name}}},
                "then": {"properties": {"name": {}} | parameters, "additionalProperties": False},
            }
        )
    known = _names(losses)
    full = {"type": "object", "properties": {"name": known}, "required": ["name"], "allOf": own}
    return {"anyOf": [{"type": "string", **known}, full]}


def _names(known: tuple[str, ...] | list[str]) -> Schema:
    """Return the schema of a name: the known ones, to be offered, or one of a plugin's."""
    return {"anyOf": [{"enum": list(known)}, {"type": "string"}]}


def _drop_titles(part: Any) -> None:
    """Remove pydantic's titles, which say a field's name again."""
    if isinstance(part, dict):
        if isinstance(part.get("title"), str):
            del part["title"]
        for inner in part.values():
            _drop_titles(inner)
    elif isinstance(part, list):
        for inner in part:
            _drop_titles(inner)
