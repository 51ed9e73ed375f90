"""What it costs when Ray's process of a run is killed in the middle: the steps since a checkpoint.

    python tests/perf/ray_kill.py

Two runs at once on Ray's processes of this machine; one of them is killed after a checkpoint, as by
a machine that dies. Its record and weights are then held against those of a run in this process.
Needs `pip install 'softmax-triplet-bench[ray]'`; about a minute of two CPU cores.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import tempfile
import threading
import time
from pathlib import Path

from stt_bench.benchmark.jobs.ray_cluster import Ray
from stt_bench.benchmark.jobs.work import Executor
from stt_bench.benchmark.store.leases import holder
from stt_bench.benchmark.suite import load_table, run_table
from stt_bench.benchmark.system.files import sha256_of
from stt_bench.benchmark.system.progress import Reporter

STEPS, EVERY = 400, 50
TABLE = f"""\
title: Killed
description: Two short runs.
seeds: [0]
data: {{name: digits, task: retrieval}}
input: {{size: 16, channels: 1, mean: [0.3], std: [0.37]}}
model: {{backbone: small_cnn, embedding_dim: 8}}
sampler: {{name: pxk, p: 4, k: 8}}
train: {{steps: {STEPS}, log_every: 1, checkpoint_every: {EVERY}, threads: 1}}
evaluation: {{ks: [1], clustering: false}}
rows:
  softmax: {{label: Softmax, loss: softmax}}
  hard: {{label: Hard triplet, loss: {{name: hard_triplet, margin: 1.0}}}}
"""


class Told(Reporter):
    """Keeps what is said."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)
        super().say(text)


def run(folder: Path, executor: Executor | None, reporter: Reporter) -> None:
    file = folder / "killed.yaml"
    folder.mkdir()
    file.write_text(TABLE)
    outcome = run_table(
        load_table(str(file)),
        rows=None,
        seeds=None,
        runs=folder / "runs",
        results=folder / "results",
        force=False,
        reporter=reporter,
        executor=executor,
    )
    assert not outcome.failed, outcome.failed
    assert len(outcome.done) == 2


def last_step(folder: Path) -> int:
    """Return the last step that a run has logged whole."""
    try:
        lines = (folder / "metrics.jsonl").read_text().split("\n")[:-1]
    except FileNotFoundError:
        return 0
    return max((json.loads(line)["step"] for line in lines), default=0)


def kill_one(folder: Path, killed: list[int]) -> None:
    """Kill the process of a run some steps after its second checkpoint."""
    while last_step(folder) < 2 * EVERY + EVERY // 2:
        time.sleep(0.005)
    at_work = holder(folder)
    assert at_work is not None
    os.kill(at_work.pid, signal.SIGKILL)
    time.sleep(0.2)
    killed.append(last_step(folder))


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    with tempfile.TemporaryDirectory() as name:
        root, told, killed = Path(name), Told(), list[int]()
        there = root / "ray" / "runs" / "killed" / "hard" / "seed-0"
        threading.Thread(target=kill_one, args=(there, killed), daemon=True).start()
        run(root / "ray", Ray(cpus=1), told)
        run(root / "here", None, Reporter(quiet=True))
        found = [
            re.search(r"hard/seed-0: continues at step ([0-9]+) of", one) for one in told.lines
        ]
        (went_on,) = [int(one[1]) for one in found if one]
        weights = [
            sha256_of(root / where / "runs/killed/hard/seed-0/model.safetensors")
            for where in ("ray", "here")
        ]
        print(
            f"killed at step {killed[0]} of {STEPS}, went on at step {went_on}: "
            f"{killed[0] - went_on} steps were made again (a checkpoint every {EVERY}); weights "
            f"{'as' if weights[0] == weights[1] else 'NOT as'} of an undisturbed run"
        )
        assert went_on % EVERY == 0
        assert killed[0] - went_on < 2 * EVERY
        assert weights[0] == weights[1]


if __name__ == "__main__":
    main()
