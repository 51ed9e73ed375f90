"""YAML 1.2 that remembers its lines, so that an error can point at the line it is on.

ruamel.yaml makes the tree of nodes; the values are text, numbers, true, false, null, lists and
mappings. Tags are refused; a date is text.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.kinds import kind_of
from stt_bench.benchmark.system.text import one_line
from stt_bench.names import nearest

KeyPath = tuple[str, ...]
Lines = dict[KeyPath, int]

LONGEST_FILE = 1 << 20  # bytes
MOST_VALUES = 100_000  # with every alias in full
DEEPEST = 50  # levels
LARGEST_INTEGER = 4096  # bits; Python prints none of many more

_TAG = "tag:yaml.org,2002:"
_TEXT = ("str", "timestamp")
_SCALARS = ("int", "float", "bool", "null")


class _MistakeError(Exception):
    def __init__(self, node: Node, sentence: str) -> None:
        self.line = node.start_mark.line + 1
        self.sentence = sentence


def parse_value(text: str) -> Any:
    """Return the value that ``text`` would have in a YAML file; ValueError if it has none."""
    shown = one_line(text, 40)
    try:
        return _content(text)[0]
    except _MistakeError as mistake:
        raise ValueError(f"'{shown}': {mistake.sentence}") from None
    except (YAMLError, RecursionError):
        raise ValueError(f"'{shown}' is not a YAML value") from None


def read_yaml(path: Path) -> tuple[dict[str, Any], Lines]:
    """Return the mapping in a YAML file and the line (from 1) of each of its keys, by key path.

    Raises:
        BenchError: the file is missing, is not YAML in UTF-8, holds no mapping, has a key twice,
            or is larger, deeper or (by its aliases) longer than a table can be.
    """
    try:
        if path.exists() and not path.is_file():
            raise BenchError(f"{path}: is not a file")
        if path.stat().st_size > LONGEST_FILE:
            raise BenchError(f"{path}: is larger than a table can be ({LONGEST_FILE >> 20} MiB)")
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        beside = [file.name for end in ("yaml", "yml") for file in path.parent.glob(f"*.{end}")]
        near = nearest(path.name, beside)
        told = f"; did you mean '{path.with_name(near)}'?" if near else ""
        raise BenchError(f"{path}: there is no such file{told}") from None
    except UnicodeDecodeError as error:
        kind = kind_of(Path(path.stem), error.object)
        if kind:
            raise BenchError(f"{path}: is {kind}, not a table: name a file of YAML") from None
        raise BenchError(f"{path}: is not text in UTF-8; save it in that encoding") from None
    except OSError as error:
        raise BenchError(f"{path}: cannot be read ({error.strerror or error})") from None
    try:
        content, lines = _content(text)
    except _MistakeError as mistake:
        raise BenchError(f"{path}, line {mistake.line}: {mistake.sentence}") from None
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise BenchError(f"{path}, line {line}: not valid YAML: {error.problem}") from None
    except (YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split("\n")[:1])
        raise BenchError(f"{path}: not valid YAML: {reason}") from None
    if not isinstance(content, dict):
        raise BenchError(f"{path}, line 1: a mapping such as 'data: ...' is expected here")
    return content, lines


def _content(text: str) -> tuple[Any, Lines]:
    yaml = YAML(typ="safe", pure=True)
    yaml.composer.warn_double_anchors = False
    lines: Lines = {}
    try:
        root = yaml.compose(text)
    except (AssertionError, ValueError) as error:  # ruamel's, for %YAML 1.3 and \\U00110000
        raise YAMLError(str(error)) from None
    if root is None:
        return None, lines
    _measure(root, {})
    return _value(root, (), lines, yaml), lines


def _measure(node: Node, known: dict[int, tuple[int, int] | None]) -> tuple[int, int]:
    """Return how many values and levels a node has; each node is looked at once.

    Aliases are edges to a node that is there already: few nodes can stand for billions of values.
    """
    if id(node) in known:
        measured = known[id(node)]
        if measured is None:
            raise _MistakeError(node, f"'&{node.anchor}' contains itself")
        return measured
    known[id(node)] = None
    size, depth = 1, 0
    for child in _children(node):
        values, levels = _measure(child, known)
        size, depth = size + values, max(depth, levels)
    if size > MOST_VALUES:
        raise _MistakeError(
            node, f"holds more than {MOST_VALUES:,} values, with its aliases in full"
        )
    if depth >= DEEPEST:
        raise _MistakeError(node, f"is nested more than {DEEPEST} levels deep")
    known[id(node)] = size, depth + 1
    return size, depth + 1


def _children(node: Node) -> list[Node]:
    if isinstance(node, MappingNode):
        return [value for _, value in node.value]
    return list(node.value) if isinstance(node, SequenceNode) else []


def _value(node: Node, place: KeyPath, lines: Lines, yaml: YAML) -> Any:
    """Return a node's value; note the lines of all keys and list entries in it."""
    kind = str(node.tag).removeprefix(_TAG)
    if isinstance(node, SequenceNode) and kind == "seq":
        values = []
        for number, entry in enumerate(node.value):
            here = (*place, str(number))
            lines[here] = entry.start_mark.line + 1
            values.append(_value(entry, here, lines, yaml))
        return values
    if isinstance(node, MappingNode) and kind == "map":
        mapping = {}
        for key, value in node.value:
            name = _key(key)
            here = (*place, name)
            if name in mapping:
                raise _MistakeError(
                    key,
                    f"'{'.'.join(here)}' stands here again; "
                    f"it was already given on line {lines[here]}",
                )
            lines[here] = key.start_mark.line + 1
            mapping[name] = _value(value, here, lines, yaml)
        return mapping
    if isinstance(node, ScalarNode) and kind in _TEXT:
        return _text(node)
    if isinstance(node, ScalarNode) and kind in _SCALARS:
        try:
            value = yaml.constructor.construct_object(node)
            if isinstance(value, int) and value.bit_length() > LARGEST_INTEGER:
                raise ValueError
            return value
        except (ValueError, KeyError, IndexError):
            shown = node.value if len(node.value) <= 40 else f"{len(node.value):,} characters"
            raise _MistakeError(node, f"is no {kind} that can be used ({shown})") from None
    raise _MistakeError(node, f"the tag '{node.tag}' has no meaning here; remove it")


def _key(key: Node) -> str:
    kind = str(key.tag).removeprefix(_TAG)
    if not isinstance(key, ScalarNode):
        raise _MistakeError(key, "a list or mapping cannot be a name")
    if kind == "merge":
        raise _MistakeError(key, "'<<' is not known here; `base: TABLE` takes over another table")
    if kind != "str":
        raise _MistakeError(key, f"put the name '{key.value}' in quotes")
    return _text(key)


def _text(node: ScalarNode) -> str:
    try:
        node.value.encode()
    except UnicodeEncodeError:
        raise _MistakeError(node, "holds half a character (a lone surrogate)") from None
    return str(node.value)
