"""What ``--set field=value`` changes of a row's settings, and how it is named in a sentence."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.config.mistakes import is_list
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
        BenchError: one is of a field of something that has none, or of an entry of a list.
    """
    changed = dict(settings)
    for keys, value in changes:
        target = changed
        for depth, key in enumerate(keys[:-1], start=1):
            inner = target.get(key, {})
            if isinstance(inner, list) or is_list(keys[:depth], Experiment):
                raise BenchError(f"--set {'.'.join(keys)}: {_given_whole(keys[:depth], inner)}")
            inner = {"name": inner} if key == "loss" and isinstance(inner, str) else inner
            if not isinstance(inner, dict):
                raise BenchError(f"--set {'.'.join(keys)}: '{key}' has no fields of its own")
            target[key] = dict(inner)
            target = target[key]
        target[keys[-1]] = value
    return changed


def _given_whole(keys: KeyPath, value: Any) -> str:
    """Return how a list is set: by an example, which is the one that the row has, if any."""
    field = ".".join(keys)
    phases = "[{steps: 100, loss: softmax}]"
    example = phases if field == "phases" else "[FIRST, SECOND]"
    if isinstance(value, list) and value:
        example = json.dumps(value, ensure_ascii=False, default=str)
    written = one_line(f"{field}={example}", 200)
    return f"{field} is a list, which is given whole: --set '{written}'"


def gives(changes: Sequence[Override], field: KeyPath) -> bool:
    """Tell whether a change gives the whole value of a field."""
    return any(field[: len(keys)] == keys for keys, _ in changes)


def named(changes: Sequence[Override]) -> str:
    """Return how changes are named in a sentence."""
    return f"--set {', '.join('.'.join(keys) for keys, _ in changes)}"
