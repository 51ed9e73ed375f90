"""One learning rate and one length for all rows of a table, chosen on its training items alone.

The rule, for the small tables that have one recipe. Every row that trains is trained on the folds
of `stt-bench tune`: four, or two where there are fewer than eight training classes to hold out; of
these a batch takes as many classes as the smallest fold leaves, with its size kept. Rates: 0.0003,
0.001, 0.003, 0.01. Lengths: every 50 steps up to the most that the table may cost. The pair with
the highest mean over rows and folds is the recipe, by what `tune` goes by: leave-one-out MAP@R on
held-out classes, or accuracy on held-out images. Of equal pairs the shorter, then the lower rate.
The test split is not read.

    python tests/perf/one_recipe.py omniglot_mini_retrieval --most 300
    python tests/perf/one_recipe.py digits_classification --most 200
    python tests/perf/one_recipe.py digits_retrieval --most 200
"""

from __future__ import annotations

import argparse

import numpy as np

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.config.table_sections import TuningConfig
from stt_bench.benchmark.datasets.training_items import folds_of, training_items
from stt_bench.benchmark.suite import load_table
from stt_bench.benchmark.tuning.trial import Material, run_trial

RATES = (0.0003, 0.001, 0.003, 0.01)
EVERY = 50


def fitting(row: Experiment, classes: int) -> Experiment:
    """Return a row whose P×K batches draw no more classes than there are, at their size."""
    sampler = row.sampler
    if sampler.name != "pxk" or sampler.p is None or sampler.p <= classes:
        return row
    size = sampler.p * (sampler.k or 1)
    return row.with_values({"sampler.p": classes, "sampler.k": size // classes})


def main() -> None:
    """Measure all pairs, print them, and name the best."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("table")
    options.add_argument("--most", type=int, required=True, help="steps of the longest run")
    given = options.parse_args()
    rows = {name: row for name, row in load_table(given.table).rows.items() if row.train.steps}
    first = next(iter(rows.values()))
    items = training_items(first.data)
    by_class = first.data.task == "retrieval"
    folds = 2 if by_class and len(items.classes) < 8 else 4
    material = Material(items, folds_of(items, first.data.task, folds))
    classes = min(len(set(fold.items.split("train")["label"])) for fold in material.folds)
    config = TuningConfig(studies=1, trials=1, folds=folds, every=EVERY, patience=given.most)
    lengths = range(EVERY, given.most + 1, EVERY)
    means = np.zeros((len(rows), len(RATES), len(lengths)))
    print(f"| row | lr | {' | '.join(map(str, lengths))} |")
    print("|---|---:|" + "---:|" * len(lengths))
    for of_row, (name, row) in zip(means, rows.items(), strict=True):
        for curve, rate in zip(of_row, RATES, strict=True):
            settings = {"optimizer.lr": rate, "train.steps": given.most}
            tried = fitting(row.with_values(settings), classes)
            trial = run_trial(tried, config, material, study=0, index=-1, point={})
            if trial.error is None:
                curve[:] = np.mean(trial.curves, axis=0)
            cells = " | ".join(f"{100 * value:.1f}" for value in curve)
            print(f"| {name} | {rate:g} | {cells} |", flush=True)
    mean = means.mean(axis=0)
    for rate, curve in zip(RATES, mean, strict=True):
        print(f"| **mean** | {rate:g} | {' | '.join(f'{100 * value:.1f}' for value in curve)} |")
    length, rate = np.unravel_index(mean.T.argmax(), mean.T.shape)
    print(f"\nchosen: optimizer.lr {RATES[rate]:g}, train.steps {lengths[length]}")


if __name__ == "__main__":
    main()
