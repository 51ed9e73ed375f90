"""Where tables lie: the user's in ``configs/``, the shipped ones in the package.

With ``base: TABLE`` a file holds only what differs from another table.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from shlex import quote
from typing import Any

import stt_bench
from stt_bench.benchmark.config.yaml_lines import KeyPath, read_yaml
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.kinds import kind_in
from stt_bench.names import did_you_mean

CONFIG_FOLDER = Path("configs")
SHIPPED_FOLDER = Path(stt_bench.__file__).parent / "configs"
SUFFIXES = (".yaml", ".yml")
_OF_IMAGES = {  # and all of `input`
    "data": {"root", "options"},
    "model": {"backbone", "weights", "features", "freeze", "freeze_batch_norm"},
    "evaluation": {"crops", "flip"},
}
Places = dict[KeyPath, str]


def find_table(name: str) -> Path:
    """Return the file of a table given as a path, or by its name in ``configs/`` or as shipped.

    Raises:
        BenchError: there is no table of this name.
    """
    if Path(name).suffix in SUFFIXES:
        return Path(name)
    if not name.strip():
        raise BenchError(
            f"the name of a table is empty: name a YAML file ({' or '.join(SUFFIXES)}), or a table "
            "of `stt-bench list tables`"
        )
    tables = table_files()
    if name not in tables:
        if os.path.isfile(name) and own_file(name) is None:
            if Path(name).suffix.lower() == ".csv":
                raise BenchError(
                    f"{name} is a csv list, not a table: `stt-bench compare {quote(name)}` "
                    "compares losses on it"
                )
            kind = kind_in(Path(name)) or "a file of another kind"
            raise BenchError(
                f"{name} is {kind}, not a table: name a YAML file "
                f"({' or '.join(SUFFIXES)}), or a table of `stt-bench list tables`"
            )
        raise BenchError(f"there is no table '{name}'; {meant(name)}")
    return tables[name]


def meant(name: str, others: Iterable[str] = ()) -> str:
    """Return what was meant by a name that no table has: a file, data, or the name of another.

    Args:
        name: given for a table.
        others: names that could have been given beside those of tables.
    """
    if (file := own_file(name)) is not None:
        return f"did you mean '{file}'?"
    if not os.path.isdir(name):
        return did_you_mean(name, [*others, *table_files()])
    if tables := [str(file) for end in SUFFIXES for file in Path(name).glob(f"*{end}")]:
        return did_you_mean(name, tables)
    return f"it is a folder: `stt-bench compare {quote(name)}` compares losses on images in it"


def own_file(name: str) -> str | None:
    """Return the YAML file that a name stands for without its suffix; None: there is none."""
    return next((file for end in SUFFIXES if os.path.isfile(file := f"{name}{end}")), None)


def name_in_results(text: str) -> str:
    """Return the name that a table has in results, of its name or its file."""
    return Path(text).stem if Path(text).suffix in SUFFIXES else text


def table_files() -> dict[str, Path]:
    """Return the files of all tables by name, sorted; one in ``configs/`` hides a shipped one."""
    return {
        file.stem: file
        for folder in (SHIPPED_FOLDER, CONFIG_FOLDER)
        for file in sorted(folder.glob("*.yaml"))
    }


def is_shipped(path: Path) -> bool:
    """Tell whether a file is one of the shipped tables."""
    return path.resolve().parent == SHIPPED_FOLDER.resolve()


def read_with_base(path: Path, above: tuple[Path, ...] = ()) -> tuple[dict[str, Any], Places]:
    """Return the mapping in a YAML file, merged into that of the file it names as ``base``.

    The base is named without its suffix. It lies beside the file, in ``configs/``, or is a shipped
    table. Sections are merged, a loss is replaced whole, and what is null is left out. Where the
    file takes vectors (``model.backbone: identity``), what a base says of images is left out. The
    places say for each key path where it stands: ``FILE, line N``.

    Raises:
        BenchError: as `read_yaml`, or the bases name each other in a circle.
    """
    content, lines = read_yaml(path)
    places = {keys: f"{path}, line {line}" for keys, line in lines.items()}
    name = content.pop("base", None)
    if name is None:
        return content, places
    base = _find_base(name, path, above, places["base",])
    shared, shared_places = read_with_base(base, (*above, path))
    if _takes_vectors(content) and not _takes_vectors(shared):
        shared = _without_images(shared)
    return merge(shared, content), {**shared_places, **places}


def _takes_vectors(content: dict[str, Any]) -> bool:
    model = content.get("model")
    return isinstance(model, dict) and model.get("backbone") == "identity"


def _without_images(content: dict[str, Any]) -> dict[str, Any]:
    """Return a table without what it and its rows say of images alone."""
    kept = {name: value for name, value in content.items() if name != "input"}
    for section, fields in _OF_IMAGES.items():
        if isinstance(said := kept.get(section), dict):
            kept[section] = {name: said[name] for name in said if name not in fields}
    if isinstance(rows := kept.get("rows"), dict):
        kept["rows"] = {
            row: _without_images(own) if isinstance(own, dict) else own for row, own in rows.items()
        }
    return kept


def _find_base(name: Any, path: Path, above: tuple[Path, ...], place: str) -> Path:
    """Return the first file of this name that is not yet part of the table."""
    places = (path.parent, CONFIG_FOLDER, SHIPPED_FOLDER)
    found = [file for folder in places if os.path.isfile(file := folder / f"{name}.yaml")]
    if not found:
        raise BenchError(
            f"{place}: there is no table '{name}' beside it, in `{CONFIG_FOLDER}` or among the "
            f"shipped ones; {_meant_base(str(name), path.parent, places)}"
        )
    used = [file.resolve() for file in (*above, path)]
    free = [file for file in found if file.resolve() not in used]
    if not free:
        raise BenchError(f"{place}: no table can be its own base; '{name}' is in use here already")
    return free[0]


def _meant_base(name: str, beside: Path, places: Iterable[Path]) -> str:
    """Return what was meant by a base that is not there: a file with its suffix, or elsewhere."""
    stem = str(Path(name).with_suffix("")) if Path(name).suffix in SUFFIXES else name
    for folder in (beside, Path()):
        if os.path.isfile(f"{folder / stem}.yaml"):
            return f"did you mean '{Path(os.path.relpath(folder / stem, beside)).as_posix()}'?"
    return did_you_mean(stem, [file.stem for folder in places for file in folder.glob("*.yaml")])


def merge(base: Any, over: Any) -> Any:
    """Return ``base`` with the fields of ``over``: mappings are merged, but for a loss."""
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    merged = dict(base)
    for key, value in over.items():
        replace = key == "loss" or key not in base
        merged[key] = value if replace else merge(base[key], value)
    return merged
