"""Files of the user's own that register losses or datasets."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from pathlib import Path

from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.signals import Stopped

_loaded: list[Path] = []


def loaded_plugins() -> list[str]:
    """Return the paths of the files that were imported, in their order."""
    return [str(file.absolute()) for file in _loaded]


def import_plugin(file: Path, number: int) -> None:
    """Run a Python file under a module name of its own.

    Raises:
        BenchError: it is no Python file, or whatever goes wrong in it, with the line.
    """
    name = f"stt_bench_plugin_{number}"
    if not file.exists():
        raise BenchError(f"--plugin {file}: there is no such file")
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None or not file.is_file():
        raise BenchError(f"--plugin {file}: is not a Python file (FILE.py)")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    _loaded.append(file)
    try:
        spec.loader.exec_module(module)
    except (KeyboardInterrupt, Stopped):
        raise
    except BaseException as error:  # whatever the user's file raises, sys.exit() too
        told = " ".join(f"{type(error).__name__}: {error}".split())
        raise BenchError(f"--plugin {file}{_line(error, file)}: {told}") from error


def _line(error: BaseException, file: Path) -> str:
    """Return the last line of the file on the way to an error, where there is one."""
    if isinstance(error, SyntaxError):
        return ""  # its own text names the line
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).absolute() == file.absolute()
    ]
    return f", line {lines[-1]}" if lines else ""
