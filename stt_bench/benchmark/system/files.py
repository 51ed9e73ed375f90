"""Text and JSON: written whole, and read with a sentence for what is wrong in them."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from stt_bench.benchmark.system.atomic import write_atomically
from stt_bench.benchmark.system.errors import BenchError, NewerError

_UPDATE = (
    "use the stt-bench that wrote it, or a newer one, or move it away to have it made anew "
    "(nothing was changed)"
)
Model = TypeVar("Model", bound=BaseModel)
# No string can hold one: its line breaks are escaped.
_NUMBERS = re.compile(r"\[\n(?:[-+0-9.eE,\s]|null)+\]")


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, in UTF-8."""
    write_atomically(path, lambda stream: stream.write(text.encode()))


def write_json(path: Path, value: Any, *, numbers_in_line: bool = False) -> None:
    """Write a JSON file atomically, indented, in the order of its keys.

    With `numbers_in_line` a list of numbers stands in one line, not each number in its own.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if numbers_in_line:
        text = _NUMBERS.sub(lambda found: "".join(found[0].split()).replace(",", ", "), text)
    write_text(path, text)


def finite(value: Any) -> Any:
    """Return a JSON value with null in place of NaN and infinities, which JSON has no word for."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: finite(one) for name, one in value.items()}
    return [finite(one) for one in value] if isinstance(value, list | tuple) else value


def read_json(path: Path, how_to_fix: str = "") -> Any:
    """Read a JSON file; a missing or broken one, or one with NaN or infinity, is a `BenchError`."""
    fix = how_to_fix and f"; {how_to_fix}"
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except FileNotFoundError:
        raise BenchError(f"{path}: there is no such file") from None
    except (ValueError, RecursionError, OSError) as error:
        raise BenchError(f"{path}: cannot be read as JSON ({error}){fix}") from None


def read_mapping(path: Path, how_to_fix: str = "") -> dict[str, Any]:
    """Read a JSON file that holds a mapping."""
    content = read_json(path, how_to_fix)
    if not isinstance(content, dict):
        fix = how_to_fix and f"; {how_to_fix}"
        raise BenchError(
            f"{path}: holds a {type(content).__name__} where a mapping is expected{fix}"
        )
    return content


def read_model(
    path: Path, model: type[Model], what: str, how_to_fix: str, *, content: Any = None
) -> Model:
    """Read a JSON file as a pydantic model; a `BenchError` names the field that does not fit.

    Args:
        path: the file.
        model: what it holds.
        what: names it in a message.
        how_to_fix: says in a message how to fix it.
        content: the file's content where it is read already.
    """
    try:
        return model.model_validate(read_mapping(path, how_to_fix) if content is None else content)
    except ValidationError as error:
        if told := newer(error):
            raise NewerError(f"{path}: {told}") from None
        raise BenchError(f"{path}: is not {what}: {first_fault(error)}; {how_to_fix}") from None


def check_not_newer(read: Callable[[], object]) -> None:
    """Check that what is about to be written over is not of a newer version.

    Args:
        read: reads it; that it is missing or damaged is no matter.

    Raises:
        NewerError: it is.
    """
    try:
        read()
    except NewerError:
        raise
    except BenchError:
        pass


def newer(error: ValidationError) -> str:
    """Say that a newer version wrote what does not fit a model; nothing where it seems damaged.

    It has a higher schema, or fields that are not known and is right in all others.
    """
    faults = error.errors()
    for one in faults:
        field, found = str(one["loc"][-1]) if one["loc"] else "", one["input"]
        known = str(one.get("ctx", {}).get("expected", ""))
        numbers = isinstance(found, int) and known.isdecimal()
        if field.startswith("schema") and numbers and found > int(known):
            return f"{field} is {found}, this version reads {known}: {_UPDATE}"
    if all(one["type"] == "extra_forbidden" for one in faults):
        field = ".".join(map(str, faults[0]["loc"]))
        return f"has a field '{field}' that this version does not know: {_UPDATE}"
    return ""


def first_fault(error: ValidationError) -> str:
    """Return the first thing that a model found wrong, and the field it is in."""
    first = error.errors()[0]
    field = ".".join(str(key) for key in first["loc"])
    said = first["msg"].removeprefix("Value error, ")
    return f"{field}: {said[:1].lower()}{said[1:]}" if field else said


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON number")


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
