r"""Three neighbouring learning rates and one length for a table, chosen on training items alone.

The rule, for the tables that show each loss at three learning rates. Candidate rates: those of the
table, or `--rates`; three neighbours are a window. Candidate lengths: a quarter, half, three
quarters and all of the most that the table may
cost; half and all where the rate falls with the steps, since there a shorter run is no beginning of
a longer one. Every loss that trains is trained at every rate on either half of the training split
(the classes, or for classification the images of each class, dealt as by `stt-bench tune` with two
folds) and measured on the other half by what `tune` goes by: leave-one-out MAP@R on held-out
classes, or on held-out images accuracy, MAP@R where a row has no classifier. A row counts with the
best of its three rates, as a reader of the table sees it; the window and length with the highest
mean over rows are the table's. Of equal ones the shorter, then the lower. Rows in phases do not
vote, and a loss beside Softmax does only where it does not stand alone, too, for the price. The
test split is not read.

    python tests/perf/three_rates.py cub50_retrieval --most 100 \
        --rates 0.00002 0.00006 0.0002 0.0006 0.002
    python tests/perf/three_rates.py cub50_classification --most 200
    python tests/perf/three_rates.py fashion_mnist --most 1000
    python tests/perf/three_rates.py fashion_mnist_grid --most 1000
    python tests/perf/three_rates.py fashion_mnist_long_tail --most 1000
    python tests/perf/three_rates.py omniglot_retrieval --most 1500
"""

from __future__ import annotations

import argparse

import numpy as np
from one_recipe import fitting

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.config.table_sections import TuningConfig
from stt_bench.benchmark.datasets.training_items import folds_of, training_items
from stt_bench.benchmark.suite import load_table
from stt_bench.benchmark.tuning.trial import Material, run_trial

FOLDS = 2


def curve(row: Experiment, rate: float, lengths: list[int], material: Material) -> list[float]:
    """Return the mean over folds at each length; 0 from where a loss is no longer finite."""
    falls = row.optimizer.schedule != "constant"
    every = lengths[0]
    means: list[float] = []
    for steps in lengths if falls else lengths[-1:]:
        settings = {"optimizer.lr": rate, "train.steps": steps}
        config = TuningConfig(
            studies=1,
            trials=1,
            folds=FOLDS,
            every=steps if falls else every,
            patience=len(lengths),
        )
        trial = run_trial(
            row.with_values(settings),
            config,
            material,
            study=0,
            index=-1,
            point={},
        )
        whole = min(len(of_fold) for of_fold in trial.curves)
        means += [float(np.mean([of_fold[i] for of_fold in trial.curves])) for i in range(whole)]
        means += [0.0] * ((1 if falls else len(lengths)) - whole)
    return means


def main() -> None:
    """Measure every loss at all rates and lengths, print them, and name the best window."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("table")
    options.add_argument("--most", type=int, required=True, help="steps of the longest run")
    options.add_argument("--rates", type=float, nargs="+", help="these, not those of the table")
    options.add_argument("--only", nargs="+", help="measure these rows alone, as a part of it")
    given = options.parse_args()
    table = load_table(given.table)
    rows = {
        one.row: table.rows[name]
        for name, one in table.varied.items()
        if one.usual and not table.rows[name].phases
    }
    alone = {row.loss.name for row in rows.values() if not row.softmax_head}
    rows = {
        name: row
        for name, row in rows.items()
        if (
            name in given.only if given.only else not row.softmax_head or row.loss.name not in alone
        )
    }
    rates = sorted(given.rates or {table.rows[name].optimizer.lr for name in table.varied})
    first = next(iter(rows.values()))
    falls = {row.optimizer.schedule != "constant" for row in rows.values()}
    parts = 2 if falls == {True} else 4
    lengths = [given.most * part // parts for part in range(1, parts + 1)]
    items = training_items(first.data)
    material = Material(items, folds_of(items, first.data.task, FOLDS))
    classes = min(len(set(fold.items.split("train")["label"])) for fold in material.folds)
    means = np.zeros((len(rows), len(rates), len(lengths)))
    print(f"| row | lr | {' | '.join(map(str, lengths))} |")
    print("|---|---:|" + "---:|" * len(lengths))
    for of_row, (name, row) in zip(means, rows.items(), strict=True):
        for of_rate, rate in zip(of_row, rates, strict=True):
            of_rate[:] = curve(fitting(row, classes), rate, lengths, material)
            cells = " | ".join(f"{100 * value:.1f}" for value in of_rate)
            print(f"| {name} | {rate:g} | {cells} |", flush=True)
    windows = [
        means[:, first : first + 3].max(axis=1).mean(axis=0) for first in range(len(rates) - 2)
    ]
    for start, of_window in enumerate(windows):
        shown = ", ".join(f"{rate:g}" for rate in rates[start : start + 3])
        cells = " | ".join(f"{100 * value:.1f}" for value in of_window)
        print(f"| **best of its three** | {shown} | {cells} |")
    best = np.array(windows)
    length, start = np.unravel_index(best.T.argmax(), best.T.shape)
    print(f"\nchosen: optimizer.lr {rates[start : start + 3]}, train.steps {lengths[length]}")


if __name__ == "__main__":
    main()
