"""Tasks on Ray: what travels, what is said where Ray is missing; and two tasks on a real one."""

from __future__ import annotations

import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from command_line import Command

from stt_bench.benchmark.jobs.carried import pack, unpack
from stt_bench.benchmark.jobs.ray_cluster import Ray
from stt_bench.benchmark.jobs.work import Lost, Task
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.progress import Reporter


def test_the_files_of_a_task_come_back_and_no_others(tmp_path: Path) -> None:
    run, ledger = tmp_path / "runs" / "seed-0", tmp_path / "ledger.jsonl"
    (run / "embeddings").mkdir(parents=True)
    (run / "embeddings" / "a.npy").write_bytes(b"\0\1")
    (run / "run.json").write_text("{}")
    ledger.write_text("one\ntwo\n")
    paths = (run, tmp_path / "not-there.json", ledger)
    files = pack(paths)
    assert files == {
        str(run / "embeddings" / "a.npy"): b"\0\1",
        str(run / "run.json"): b"{}",
        str(ledger): b"one\ntwo\n",
    }
    for file in files:
        Path(file).unlink()
    ledger.write_text("two\nthree\n")  # as other tasks have left it
    unpack({**files, str(tmp_path / "elsewhere"): b"x"}, paths)
    assert pack((run,)) == pack(paths[:2])
    assert (run / "embeddings" / "a.npy").read_bytes() == b"\0\1"
    assert ledger.read_text() == "two\nthree\none\n"
    assert not (tmp_path / "elsewhere").exists()


def test_without_ray_the_way_to_it_is_told(
    tiny: Path, stt_bench: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    code, _, said = stt_bench("run", tiny, "--on", "ray")
    assert (code, said.count("\n")) == (2, 1)
    assert "pip install 'softmax-triplet-bench[ray]'" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--on", "ray", "--jobs", "2"], "give --jobs or --on ray"),
        (["--gpus-per-run", "0.5"], "--gpus-per-run goes with --on ray"),
        (["--cpus-per-run", "2"], "--cpus-per-run goes with --on ray"),
    ],
)
def test_options_that_do_not_go_together(
    tiny: Path, stt_bench: Command, options: list[str], said: str
) -> None:
    code, _, told = stt_bench("run", tiny, *options)
    assert (code, told.count("\n"), said in told) == (2, 1, True)


class Worker:
    """Doubles a number, leaves a file, or is killed once."""

    def __init__(self, folder: Path, reporter: Reporter) -> None:
        self.folder, self.reporter = folder, reporter

    def do(self, content: Any) -> Any:
        file = self.folder / f"{content}"
        if content == 1 and not file.exists():
            file.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if content == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return 2 * content


@pytest.mark.ray
@pytest.mark.skipif(
    os.environ.get("STT_BENCH_RAY") != "1", reason="starts Ray: STT_BENCH_RAY=1 pytest -m ray"
)
def test_a_task_on_ray_is_tried_again_where_its_process_dies(tmp_path: Path) -> None:
    ray = pytest.importorskip("ray", reason="needs the extra [ray]")
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    try:
        cluster = Ray(cpus=0.5)
        with pytest.raises(BenchError, match=r"--gpus-per-run 900: the Ray cluster has 0 GPUs"):
            Ray(gpus=900)
        tasks = [Task(f"number {number}", number, (tmp_path / "x" / "y",)) for number in range(3)]
        make = partial(Worker, tmp_path)
        found = {task.content: result for task, result in cluster.run(make, tasks, Reporter())}
    finally:
        ray.shutdown()
    assert (found[0], found[1]) == (0, 2)
    assert isinstance(found[2], Lost)
    assert not [*(tmp_path / "x").iterdir()]
