"""YAML that remembers its lines, so that an error can point at the line it is on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from stt_bench.benchmark.system.errors import BenchError
from stt_bench.names import did_you_mean

KeyPath = tuple[str, ...]
Places = dict[KeyPath, str]


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


def read_with_base(path: Path, above: tuple[Path, ...] = ()) -> tuple[dict[str, Any], Places]:
    """Return the mapping in a YAML file, merged into that of the file it names as ``base``.

    The base lies beside the file and is named without its suffix. Sections are merged, a loss is
    replaced whole, and what is null is left out. The places say for each key path where it stands:
    ``FILE, line N``.

    Raises:
        BenchError: as `read_yaml`, or the bases name each other in a circle.
    """
    if path in above:
        raise BenchError(f"{path}: is its own base, by way of {above[-1]}")
    content, lines = read_yaml(path)
    places = {keys: f"{path}, line {line}" for keys, line in lines.items()}
    name = content.pop("base", None)
    if name is None:
        return content, places
    base = path.parent / f"{name}.yaml"
    if not isinstance(name, str) or not base.exists():
        tables = [file.stem for file in path.parent.glob("*.yaml")]
        raise BenchError(
            f"{places['base',]}: there is no table '{name}' beside it; "
            f"{did_you_mean(str(name), tables)}"
        )
    shared, shared_places = read_with_base(base, (*above, path))
    return merge(shared, content), {**shared_places, **places}


def merge(base: Any, over: Any) -> Any:
    """Return ``base`` with the fields of ``over``: mappings are merged, but for a loss."""
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    merged = dict(base)
    for key, value in over.items():
        replace = key == "loss" or key not in base
        merged[key] = value if replace else merge(base[key], value)
    return merged


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
