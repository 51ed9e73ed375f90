"""Kills `stt-bench run` at random times, and continues it until nothing is left to do.

Half of the kills come at a random time, half at a random operation on files of the stage that was
hit so least until then. (An evaluation writes its record alone: after a kill there it is made
again, as after one in its midst.) One in five is SIGTERM, the others SIGKILL; at operations of
`--jobs 2`, whose workers heed no SIGTERM, all are SIGKILL. After each, every file that has its
final name must be whole; after the last, all files must be those of a run that was left alone, byte
for byte. (The clock and the meter of memory stand still in all of them; the ledger may note a start
twice.) The table has image files, a row that is trained, one with a classifier, and one on frozen
features.

    python tests/perf/kills.py [--kills 50] [--seed 0] [--jobs 2]
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from stt_bench.benchmark.cli.main import main
from stt_bench.benchmark.features.store import _load
from stt_bench.benchmark.store.weights import read_checkpoint

TABLE = """\
title: Kills
description: For kills.
seeds: [0]
data: {name: images, root: PHOTOS, task: retrieval}
input: {size: 16, mean: [0.4, 0.4, 0.4], std: [0.3, 0.3, 0.3]}
model: {backbone: small_cnn, embedding_dim: 8}
sampler: {name: pxk, p: 3, k: 4}
train: {steps: 12, log_every: 2, checkpoint_every: 3, threads: 1}
evaluation: {ks: [1, 4], clustering: false}
rows:
  softmax: {label: Softmax, loss: softmax}
  two_head:
    loss: {name: hard_triplet, margin: soft}
    softmax_head: true
  frozen:
    loss: {name: hard_triplet, margin: 1.0}
    model: {freeze: all}
"""
PLUGIN = """\
import os, re, signal, sys
from stt_bench.benchmark.training import train

made = train.TrainingFacts
still = {"seconds": 1.0, "images_per_second": 1.0, "peak_memory_mib": 1.0, "commit": None}
train.TrainingFacts = lambda **facts: made(**facts | still)

CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link"}
here, left = os.getcwd() + os.sep, int(os.environ["OPERATIONS_LEFT"])

def once(place):
    try:
        note = os.open(os.environ["KILLED"], os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        return False  # another process of this command was killed
    os.write(note, place.encode())
    return True

def count(event, arguments):
    global left
    opened = event == "open" and isinstance(arguments[2], int) and arguments[2] & 3
    if (opened or event in CHANGES) and left and not isinstance(arguments[0], int):
        place = os.path.abspath(os.fsdecode(arguments[0])).removeprefix(here)
        if not os.path.isabs(place) and re.match(os.environ["WHERE"], place):
            left -= 1
            if not left and once(place):
                os.kill(os.getpid(), int(os.environ["SIGNAL"]))
            elif left < 0:
                with open(os.environ["OPERATIONS"], "a") as stream:
                    print(os.getpid(), place, file=stream)

sys.addaudithook(count)
"""
IMPORTED = (  # here, so that each command finds it ready
    "stt_bench.benchmark.suite",
    "stt_bench.benchmark.leaderboards.report",
    "torch.utils.tensorboard",
    "torch._dynamo",
)
ROWS = ("softmax", "two_head", "frozen")
STAGES = {  # by the files that only they change
    "images": r"cache/stt-bench/images",
    "lease": r"runs/\w+/\w+/\.seed",
    "ledger": r"results/records/\w+/ledger",
    "features": r"cache/stt-bench/features",
    "train": r"runs/(\.frozen|\w+/\w+/seed-0(?!/embeddings))",
    "duplicates": r"cache/stt-bench/phash",
    "embed": r"runs/\w+/\w+/seed-0/embeddings",
    "eval": r"results/records/\w+/(?!ledger)",
    "report": r"results/(?!records)",
}
AT_THE_END = {signal.SIGKILL: {-signal.SIGKILL}, signal.SIGTERM: {-signal.SIGTERM, 130}}


class Kill(NamedTuple):
    """When a process is killed, and how: after some seconds, or before an operation on files.

    The operations of each process are counted, from 1, those alone of a stage if one is given.
    """

    kind: signal.Signals
    seconds: float | None
    operation: int = 0
    stage: str | None = None


class Bench:
    """A folder with a table and its data, and folders beside it in which the table is run."""

    def __init__(self, folder: Path, jobs: int, rows: Sequence[str]) -> None:
        self.folder, self.jobs, self.rows, self.killed = folder, jobs, rows, folder / "killed"
        photos = folder / "photos"
        rng = np.random.default_rng(0)
        for label in range(6):
            (photos / f"class{label}").mkdir(parents=True)
            for number in range(8):
                pixels = np.clip(rng.normal(40 * label + 20, 20, (22, 26, 3)), 0, 255)
                Image.fromarray(pixels.astype(np.uint8)).save(
                    photos / f"class{label}" / f"{number}.png"
                )
        (folder / "kills.yaml").write_text(TABLE.replace("PHOTOS", str(photos)))
        (folder / "plugin.py").write_text(PLUGIN)
        for name in IMPORTED:
            importlib.import_module(name)
        start = time.monotonic()
        assert self._run("whole", Kill(signal.SIGKILL, None, -1)) == 0, self.told("whole")
        self.seconds = time.monotonic() - start
        of_processes = Counter(
            (_stage_of(place), process)
            for process, place in map(str.split, (folder / "operations").read_text().splitlines())
        )
        self.operations = {  # of the process that has most of them
            stage: max(number for (one, _), number in of_processes.items() if one == stage)
            for stage in STAGES
            if any(one == stage for one, _ in of_processes)
        }
        self.whole = dict(_contents(folder / "whole"))

    def told(self, name: str) -> str:
        """Return what the commands of a folder wrote."""
        return (self.folder / name / "log").read_text()

    def run(self, name: str, kill: Kill | None) -> tuple[bool, bool]:
        """Run the table in a folder; tell whether a process was killed, and whether all is done.

        Both are so where it was one of several, without which the command went on.
        """
        code = self._run(name, kill)
        killed = kill is not None and code in AT_THE_END[kill.kind]
        killed = killed or self.killed.exists()
        assert killed or code == 0, f"ended with {code}: {self.told(name)}"
        self.check(name)
        left = list((self.folder / name).rglob("*.part"))
        assert not left or (kill is not None and kill.kind == signal.SIGKILL), left
        return killed, code == 0

    def check(self, name: str) -> None:
        """Check that every file with its final name is whole."""
        for place, content in _contents(self.folder / name):
            path = self.folder / name / place
            try:
                self._check_file(path, place, content)
            except Exception:
                if path.exists():  # else a worker, which outlives the command for a moment, is done
                    raise

    def _check_file(self, path: Path, place: str, content: bytes) -> None:
        if path.name == "checkpoint.pt":
            read_checkpoint(path)
        elif path.name == "metrics.jsonl":
            steps = [line for line in content.split(b"\n") if line.endswith(b"}")]
            assert set(steps) <= set(self.whole[place].split(b"\n")), place
        elif "features" in path.parts and path.suffix == ".npy":
            _load(path)
        elif "cache" in path.parts and path.suffix == ".json":
            digest, _, text = content.partition(b"\n")
            assert hashlib.sha256(text).hexdigest().encode() == digest or json.loads(content)
        else:
            assert content == self.whole[place], f"{place} is not what it should be"

    def check_end(self, name: str) -> None:
        """Check that nothing is missing, nothing is left over, and all bytes are the same."""
        found = dict(_contents(self.folder / name))
        places = {place for place in found.keys() | self.whole.keys() if "cache/" not in place}
        differ = [place for place in places if found.get(place) != self.whole.get(place)]
        assert not differ, f"{name}: other bytes in {differ}: {self.told(name)}"
        left = list((self.folder / name).rglob("*.part"))
        assert not left, left
        assert self.ledger(name) == self.ledger("whole")

    def ledger(self, name: str) -> set[str]:
        """Return the lines of the ledger, without commit and date."""
        text = (self.folder / name / "results/records/kills/ledger.jsonl").read_text()
        return {line.partition(',"commit"')[0] for line in text.splitlines()}

    def stage(self, name: str) -> str:
        """Return what was done when it was killed; by the file, where that is known."""
        root = self.folder / name
        if self.killed.exists():  # a worker, perhaps, without which the rest went on
            return _stage_of(self.killed.read_text())
        runs = sorted((root / "runs" / "kills").glob("*/seed-0"))
        recorded = {path.parent.name for path in root.glob("results/records/*/*/seed-0.json")}
        if len(recorded) == len(self.rows):
            return "report"
        for run in runs:
            if run.parent.name not in recorded:
                if (run / "embeddings/test/meta.json").exists():
                    return "eval"
                if (run / "training.json").exists():
                    return "embed"
                if (run / "metrics.jsonl").exists():
                    return "train"
        return "start"

    def _run(self, name: str, kill: Kill | None) -> int:
        """Run the command in a process of its own; return its exit code, or −signal."""
        root = self.folder / name
        root.mkdir(exist_ok=True)
        self.killed.unlink(missing_ok=True)
        child = os.fork()
        if not child:
            self._child(root, kill)
        if kill is not None and kill.seconds is not None:
            end = time.monotonic() + kill.seconds
            while time.monotonic() < end:
                time.sleep(0.002)
                done, status = os.waitpid(child, os.WNOHANG)
                if done:
                    return os.waitstatus_to_exitcode(status)
            with suppress(ProcessLookupError):
                (os.killpg if kill.kind == signal.SIGKILL else os.kill)(child, kill.kind)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    def _child(self, root: Path, kill: Kill | None) -> None:
        code = 1
        try:
            os.setsid()
            os.chdir(root)
            log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            for stream in (1, 2):
                os.dup2(log, stream)
            sys.stdout, sys.stderr = open(1, "w"), open(2, "w")  # noqa: SIM115  (to the end)
            os.environ |= {
                "XDG_CACHE_HOME": str(root / "cache"),
                "OPERATIONS": str(self.folder / "operations"),
                "KILLED": str(self.killed),
                "WHERE": STAGES[kill.stage] if kill is not None and kill.stage else "",
                "OPERATIONS_LEFT": str(kill.operation if kill is not None else 0),
                "SIGNAL": str(int(kill.kind) if kill is not None else 0),
            }
            plugin = ["--plugin", str(self.folder / "plugin.py")]
            command = ["run", str(self.folder / "kills.yaml"), "--rows", ",".join(self.rows)]
            sys.argv = ["stt-bench", *plugin, *command, "--jobs", str(self.jobs)]
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            os._exit(code)


def _stage_of(place: str) -> str:
    return next((one for one, pattern in STAGES.items() if re.match(pattern, place)), "start")


def _contents(root: Path) -> Iterator[tuple[str, bytes]]:
    """Yield place and content of all files that may have to be the same in two folders."""
    for path in sorted(root.rglob("*")):
        if not path.is_file() or "tensorboard" in path.parts:
            continue
        if path.suffix in (".lock", ".part") or path.name in ("log", "ledger.jsonl"):
            continue
        if ".lease" in path.name or path.name == "progress.json":
            continue  # of a process that was killed; times
        if path.parts[len(root.parts)] in ("runs", "results") or "stt-bench" in path.parts:
            with suppress(FileNotFoundError):  # it has just been removed
                yield str(path.relative_to(root)), path.read_bytes()


def kills(
    folder: Path, numbers: Mapping[int, int], seed: int = 0, rows: Sequence[str] = ROWS
) -> Counter[str]:
    """Kill so many times; return how often in which stage.

    Args:
        folder: an empty one.
        numbers: how often, for each number of jobs; all are held against one undisturbed run.
        seed: of the random times and operations.
        rows: of the table.

    Raises:
        AssertionError: a file was not whole, or a result was another one.
    """
    rng = np.random.default_rng(seed)
    bench = Bench(folder, next(iter(numbers)), rows)
    stages: Counter[str] = Counter()
    aimed = dict.fromkeys(rng.permutation(list(bench.operations)).tolist(), 0)
    rounds = wanted = 0
    for bench.jobs, number in numbers.items():
        wanted += number
        while stages.total() < wanted:
            name, done = f"round-{rounds}", False
            rounds += 1
            while not done and stages.total() < wanted:
                kill = _drawn(rng, bench, min(aimed, key=lambda stage: aimed[stage]))
                killed, done = bench.run(name, kill)
                if killed:
                    stages[stage := bench.stage(name)] += 1
                    when = f"after {kill.seconds} s, in"
                    if kill.stage is not None:
                        aimed[kill.stage] += 1
                        when = f"at operation {kill.operation} of"
                    print(f"{stages.total()}: {kill.kind.name} {when} {stage}", flush=True)
            if not done:
                bench.run(name, None)
            bench.check_end(name)
    return stages


def _drawn(rng: np.random.Generator, bench: Bench, stage: str) -> Kill:
    """Return a kill at a random time, or else at a random operation of a stage."""
    is_timed, is_asked = rng.random() < 0.5, rng.random() < 0.2
    seconds = round(rng.uniform(0, bench.seconds), 2)
    operation = rng.integers(bench.operations[stage])
    if is_timed:
        return Kill(signal.SIGTERM if is_asked else signal.SIGKILL, seconds)
    is_asked = is_asked and bench.jobs == 1
    return Kill(signal.SIGTERM if is_asked else signal.SIGKILL, None, int(operation) + 1, stage)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        start = time.monotonic()
        found = kills(Path(place).resolve(), {chosen.jobs: chosen.kills}, chosen.seed)
        took = f"{time.monotonic() - start:.0f} s"
        print(f"{found.total()} kills (--jobs {chosen.jobs}) in {took}, every one was resumed,")
        print("no file was half-written, and all results have the bytes of an undisturbed run:")
        print(", ".join(f"{stage} {found[stage]}" for stage in dict.fromkeys([*STAGES, *found])))
