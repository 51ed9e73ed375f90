"""YAML that remembers its lines, so that an error can point at the line it is on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from benchmark.errors import BenchError

KeyPath = tuple[str, ...]


class _Loader(yaml.SafeLoader):
    """SafeLoader that reads 1e-3 as a number, as YAML 1.2 does, and refuses a key given twice."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?$"),
    list("-+0123456789."),
)
# The integer resolver must come first again: the pattern above also matches plain integers.
for _first in "-+0123456789":
    _Loader.yaml_implicit_resolvers[_first].sort(key=lambda r: r[0].endswith(":float"))


def parse_value(text: str) -> Any:
    """Return the value that ``text`` would have in a YAML file; ValueError if it is not YAML."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError:
        raise ValueError(f"'{text}' is not a YAML value") from None


def read_yaml(path: Path) -> tuple[dict[str, Any], dict[KeyPath, int]]:
    """Return the mapping in a YAML file and the line (from 1) of each of its keys, by key path.

    Raises:
        BenchError: the file is missing, is not YAML, holds no mapping, or has a key twice.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise BenchError(f"{path}: there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BenchError(f"{path}: cannot be read ({error})") from None
    try:
        root = yaml.compose(text, Loader=_Loader)
        lines: dict[KeyPath, int] = {}
        _collect_lines(path, root, (), lines)
        content = yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise BenchError(f"{path}, line {line}: not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        raise BenchError(f"{path}: not valid YAML: {reason}") from None
    if not isinstance(content, dict):
        raise BenchError(f"{path}, line 1: a mapping such as 'data: ...' is expected here")
    return content, lines


def _collect_lines(
    path: Path, node: yaml.Node | None, prefix: KeyPath, lines: dict[KeyPath, int]
) -> None:
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            lines[*prefix, str(number)] = item.start_mark.line + 1
            _collect_lines(path, item, (*prefix, str(number)), lines)
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        line = key.start_mark.line + 1
        if key.tag != "tag:yaml.org,2002:str":
            raise BenchError(f"{path}, line {line}: put the name '{key.value}' in quotes")
        here = (*prefix, str(key.value))
        if here in lines:
            raise BenchError(
                f"{path}, line {line}: '{'.'.join(here)}' stands here again; "
                f"it was already given on line {lines[here]}"
            )
        lines[here] = line
        _collect_lines(path, value, here, lines)
