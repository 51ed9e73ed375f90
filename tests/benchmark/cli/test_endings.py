"""How commands end: exit codes, one sentence, no traceback."""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import ROOT, Done

import stt_bench as package
from stt_bench.benchmark.cli import choices
from stt_bench.benchmark.leaderboards import report as reporting
from stt_bench.benchmark.system.signals import STOPPING


def test_version(stt_bench: Callable[..., Done]) -> None:
    done = stt_bench("--version")
    assert (done.returncode, done.stdout) == (0, f"stt-bench {package.__version__}\n")


@pytest.mark.parametrize("module", ["stt_bench", "stt_bench.benchmark.cli", "benchmark.cli"])
def test_it_is_a_module_to_run_by_the_link_of_a_checkout_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], module: str
) -> None:
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    monkeypatch.setattr(sys, "modules", dict(sys.modules))  # which keeps none of the link's names
    monkeypatch.setattr(sys, "argv", ["stt-bench", "--version"])
    with pytest.raises(SystemExit) as end:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    assert (end.value.code, capsys.readouterr().out) == (0, f"stt-bench {package.__version__}\n")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (RuntimeError("a\nb " + "x" * 5000), 1, "error: RuntimeError: a b xxx"),
        (MemoryError(), 1, "error: MemoryError"),
        (RecursionError("too deep"), 1, "error: RecursionError: too deep"),
        (OSError(28, "No space left on device", "results/x"), 2, "error: results/x: No space"),
        (PermissionError(13, "Permission denied"), 2, "error: Permission denied"),
        (KeyboardInterrupt(), 130, ""),
        (BrokenPipeError(32, "Broken pipe"), 1, ""),
    ],
)
def test_whatever_happens_is_at_most_one_sentence(
    stt_bench: Callable[..., Done],
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    code: int,
    said: str,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.delenv("STT_BENCH_DEBUG", raising=False)
    monkeypatch.setattr(reporting, "report", fail)
    done = stt_bench("report")
    assert done.returncode == code
    assert done.stderr.startswith(said)
    assert len(done.stderr.splitlines()) == (1 if said else 0)
    assert len(done.stderr) < 700


@pytest.mark.parametrize("kind", STOPPING)
def test_whatever_asks_for_an_end_is_told_and_how_to_go_on(
    stt_bench: Callable[..., Done], monkeypatch: pytest.MonkeyPatch, kind: signal.Signals
) -> None:
    before = {one: signal.getsignal(one) for one in STOPPING}
    monkeypatch.setattr(reporting, "report", lambda *_, **__: signal.raise_signal(kind))
    try:
        done = stt_bench("report")
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
    assert done.returncode == 130
    assert done.stderr == (
        f"stopped by {kind.name}: what is finished is kept; the same command goes on\n"
    )


def test_a_stop_ends_without_a_last_look_at_all_objects_and_with_its_sentence_last() -> None:
    script = """
import atexit, gc, sys
from stt_bench.benchmark.cli import main
def late():
    print(gc.get_freeze_count() > 1000)
    print("a library complains", file=sys.stderr)
def app():
    raise main.Stopped(15)
atexit.register(late)
main.app = app
main.main()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 130
    assert done.stdout == "True\n"
    told = "stopped by SIGTERM: what is finished is kept; the same command goes on\n"
    assert done.stderr == told


def test_the_traceback_is_there_for_who_asks(
    stt_bench: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: str) -> None:
        raise RuntimeError("unforeseen")

    monkeypatch.setattr(choices, "names", fail)
    assert "STT_BENCH_DEBUG=1" in stt_bench("list", "losses").stderr
    monkeypatch.setenv("STT_BENCH_DEBUG", "1")
    done = stt_bench("list", "losses")
    assert "Traceback" in done.stderr
    assert "error: RuntimeError: unforeseen" in done.stderr


def test_a_closed_pipe_is_quiet() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "stt_bench", "list", "tables"],
        cwd=ROOT,
        stdout=write,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(write)
    assert done.stderr == b""
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = (", "SyntaxError: .*line 1"),
        ("import nothing_such_here", "line 1: ModuleNotFoundError: No module named"),
        ("import sys\nsys.exit('no')", "line 2: SystemExit: no"),
        ("import sys\nsys.exit()", "line 2: SystemExit:"),
        ("raise ValueError('two\\nlines')", "line 1: ValueError: two lines"),
        (
            "from stt_bench.losses import RankingLoss, register_loss\n"
            "@register_loss('softmax')\nclass Mine(RankingLoss): pass",
            "line 2: ValueError: .*softmax.* already",
        ),
        ("\0", "null bytes"),
    ],
)
def test_a_plugin_that_fails_is_told_with_its_line(
    stt_bench: Callable[..., Done], tmp_path: Path, text: str, said: str
) -> None:
    import re

    plugin = tmp_path / "mine.py"
    plugin.write_text(text)
    done = stt_bench("--plugin", plugin, "list", "tables")
    assert done.returncode == 2
    assert re.search(said, done.stderr), done.stderr
    assert done.stderr.startswith(f"error: --plugin {plugin}")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", ["folder.py", "text.txt"])
def test_a_plugin_that_is_no_python_file(
    stt_bench: Callable[..., Done], tmp_path: Path, name: str
) -> None:
    (tmp_path / "folder.py").mkdir()
    (tmp_path / "text.txt").write_text("x = 1")
    done = stt_bench("--plugin", tmp_path / name, "list", "losses")
    assert (done.returncode, "is not a Python file" in done.stderr) == (2, True)
    done = stt_bench("--plugin", tmp_path / "nowhere.py", "list", "losses")
    assert (done.returncode, "nowhere.py: there is no such file" in done.stderr) == (2, True)


def test_words_of_a_table_command_no_terminal(
    stt_bench: Callable[..., Done], tmp_path: Path
) -> None:
    table = tmp_path / "t.yaml"
    table.write_text('"\\e[31mred\\nline": 1\n')
    done = stt_bench("run", table)
    assert done.returncode == 2
    assert "unknown field '[31mred line'" in done.stderr
    assert len(done.stderr.splitlines()) == 1
