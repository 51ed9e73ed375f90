"""A mistake in a table's settings as one sentence: the field, what is wrong with it, what fits."""

from __future__ import annotations

import re
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from stt_bench.benchmark.config.yaml_lines import KeyPath
from stt_bench.benchmark.system.text import one_line
from stt_bench.names import did_you_mean

_KINDS = re.compile(r"constrained-(int|float|str)|int|float|str|bool|(literal|list)\[.*")
"""What pydantic names a kind of a field that may be of several."""
_SHOULD = "Input should be "
_SHOWN = 80  # characters of a value


def first_mistake(error: ValidationError, model: type[BaseModel]) -> tuple[KeyPath, str]:
    """Return the field of the first mistake, and the sentence about it."""
    first, *more = error.errors(include_url=False)
    keys = _keys(first)
    others = [one["msg"] for one in more if _keys(one) == keys and one["loc"] != first["loc"]]
    return keys, _sentence(first, keys, model, others)


def _keys(error: Any) -> KeyPath:
    keys = [str(key) for key in error["loc"]]
    unknown = keys[-1:] if error["type"] == "extra_forbidden" else []  # called as one likes
    named = keys[: len(keys) - len(unknown)]
    return (*(key for key in named if not _KINDS.fullmatch(key)), *unknown)


def is_list(keys: KeyPath, model: type[BaseModel]) -> bool:
    """Tell whether a field of a model may be a list."""
    kinds: list[Any] = [model]
    for key in keys:
        fields: dict[str, Any] = {}
        for kind in kinds:
            fields |= getattr(kind, "model_fields", {})
        if key not in fields:
            return False
        kinds = [fields[key].annotation, *get_args(fields[key].annotation)]
    return any(get_origin(kind) is list for kind in kinds)


def _sentence(error: Any, keys: KeyPath, model: type[BaseModel], others: list[str]) -> str:
    """Return the sentence of a mistake; `others` say what else the field may be."""
    field, given = ".".join(keys) or "row", error["input"]
    shown = one_line(repr(given), _SHOWN)
    if error["type"] == "extra_forbidden":
        return f"unknown field '{field}'; {did_you_mean(keys[-1], _fields_at(keys[:-1], model))}"
    if error["type"] == "missing":
        return f"field '{field}' is missing"
    if error["type"] == "literal_error" and isinstance(given, str):
        valid = error["ctx"]["expected"].replace(" or ", ",").split(",")
        hint = did_you_mean(given, [part.strip(" '") for part in valid])
        return f"{field} is '{one_line(given, _SHOWN)}'; {hint}"
    if error["type"] == "model_type":
        return f"{field}: a mapping of its fields is expected here (it is {shown})"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "bool_type":
        message = "write true or false"
    if message.startswith(_SHOULD):
        message += "".join(f", or {one.removeprefix(_SHOULD)}" for one in others)
    end = "" if isinstance(given, dict) else f" (it is {shown})"
    return f"{field}: {message[:1].lower()}{message[1:]}{end}"


def _fields_at(keys: KeyPath, model: type[BaseModel]) -> list[str]:
    for key in keys:
        if key.isdecimal():  # a place in a list
            continue
        annotation = model.model_fields[key].annotation
        candidates = [annotation, *get_args(annotation)]
        model = next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    return list(model.model_fields)
