"""What ``--set field=value`` changes of a row's settings, and how it is named in a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stt_bench.benchmark.config.yaml_lines import DEEPEST, KeyPath, parse_value
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.text import one_line

Override = tuple[KeyPath, Any]


def read_override(text: str) -> Override:
    """Return the field and the value of ``field=value``.

    Raises:
        BenchError: it is written otherwise.
    """
    field, equals, value = text.partition("=")
    keys = tuple(field.strip().split("."))
    if not equals or not all(keys) or len(keys) > DEEPEST:
        raise BenchError(
            f"--set {one_line(text, 80)}: write it as field=value, such as optimizer.lr=0.001"
        )
    try:
        return keys, parse_value(value)
    except ValueError as error:
        raise BenchError(f"--set {field.strip()}: {error}") from None


def overridden(settings: Mapping[str, Any], changes: Sequence[Override]) -> dict[str, Any]:
    """Return a row's settings with changes.

    Raises:
        BenchError: one is of a field of something that has none.
    """
    changed = dict(settings)
    for keys, value in changes:
        target = changed
        for key in keys[:-1]:
            inner = target.get(key, {})
            inner = {"name": inner} if key == "loss" and isinstance(inner, str) else inner
            if not isinstance(inner, dict):
                raise BenchError(f"--set {'.'.join(keys)}: '{key}' has no fields of its own")
            target[key] = dict(inner)
            target = target[key]
        target[keys[-1]] = value
    return changed


def gives(changes: Sequence[Override], field: KeyPath) -> bool:
    """Tell whether a change gives the whole value of a field."""
    return any(field[: len(keys)] == keys for keys, _ in changes)


def named(changes: Sequence[Override]) -> str:
    """Return how changes are named in a sentence."""
    return f"--set {', '.join('.'.join(keys) for keys, _ in changes)}"
