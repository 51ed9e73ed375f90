"""What logging a step costs, part by part, beside the step itself: a small network on digits.

    python tests/perf/logged_step.py [--rounds 9]

The parts take turns within one training; given are the medians over the rounds. The seconds are the
CPU's, TensorBoard's thread included. `add_scalar` for each number, which we do not use, is what one
would write first.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from step_time import QUIET, small_training

from stt_bench.benchmark.training.health import pairs_of
from stt_bench.benchmark.training.log import TrainingLog
from stt_bench.benchmark.training.measured import measured
from stt_bench.benchmark.training.step import take_step

CALLS = 20  # of each part in a round


def main() -> None:
    """Print a line for each part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        run, learner, (step, images, labels, _) = small_training(Path(folder))
        run.folder.mkdir(parents=True, exist_ok=True)

        def taking() -> None:
            nonlocal taken
            taken = take_step(learner, run.experiment, 0, step, images, labels)

        with TrainingLog(run, 0, QUIET) as log:
            taken = take_step(learner, run.experiment, 0, step, images, labels)
            pairs = pairs_of(taken.embeddings, taken.labels)
            entry = measured(run, learner, step, taken, pairs, QUIET)

            def numbers() -> None:
                found = pairs_of(taken.embeddings, taken.labels)
                measured(run, learner, step, taken, found, QUIET)

            def one_event_each() -> None:
                for name, value in entry.items():
                    log._board.add_scalar(f"train/{name}", value, step)

            parts: dict[str, Callable[[], object]] = {
                "the step": taking,
                "its numbers": numbers,
                "a line and one event": lambda: log.write(entry),
                "with histograms": lambda: log.write(entry, pairs),
                "and a picture": lambda: log.write(entry, pairs, images),
                f"{len(entry)} x add_scalar": one_event_each,
            }
            seconds: dict[str, list[float]] = {name: [] for name in parts}
            for _ in range(rounds + 1):
                for name, part in parts.items():
                    start = time.process_time()
                    for _ in range(CALLS):
                        part()
                    log.flush()
                    log._board.flush()
                    seconds[name].append((time.process_time() - start) / CALLS)
    steps = np.array(seconds["the step"][1:])
    for name, found in seconds.items():
        ratio = float(np.median(np.array(found[1:]) / steps))
        print(f"{name:<22} {1000 * float(np.median(found[1:])):7.2f} ms  {ratio:6.2f} x the step")


if __name__ == "__main__":
    main()
