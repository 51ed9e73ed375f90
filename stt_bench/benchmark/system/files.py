"""Files that are either whole or absent: written beside, flushed, then renamed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, TypeVar

from pydantic import BaseModel, ValidationError

from stt_bench.benchmark.system.errors import BenchError

Model = TypeVar("Model", bound=BaseModel)


def write_atomically(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Write a file through ``write(stream)`` so that a kill leaves the old file or the new one."""
    beside = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(beside, path)
    except OSError as error:
        raise BenchError(f"{path}: cannot be written ({error.strerror or error})") from None
    finally:
        with suppress(OSError):
            beside.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, in UTF-8."""
    write_atomically(path, lambda stream: stream.write(text.encode()))


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically, indented, in the order of its keys."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file; a missing or broken one, or one with NaN or infinity, is a `BenchError`."""
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except FileNotFoundError:
        raise BenchError(f"{path}: there is no such file") from None
    except (ValueError, RecursionError, OSError) as error:
        raise BenchError(f"{path}: cannot be read as JSON ({error})") from None


def read_mapping(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds a mapping."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise BenchError(f"{path}: holds a {type(content).__name__} where a mapping is expected")
    return content


def read_model(
    path: Path, model: type[Model], what: str, mend: str, *, content: Any = None
) -> Model:
    """Read a JSON file as a pydantic model; a `BenchError` names the field that does not fit.

    Args:
        path: the file.
        model: what it holds.
        what: names it in a message.
        mend: says in a message how to fix it.
        content: the file's content where it is read already.
    """
    try:
        return model.model_validate(read_mapping(path) if content is None else content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(key) for key in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        said = f"{field}: {said[:1].lower()}{said[1:]}" if field else said
        raise BenchError(f"{path}: is not {what}: {said}; {mend}") from None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON number")


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
