"""Whether the statistics keep what they promise, in simulated tables at full size (minutes).

    PYTHONPATH=tests/benchmark/statistics python tests/perf/statistics_promises.py

With `--quick` fewer tables; with the names of functions, such as `coverage`, those parts alone.
Coverage of 95 % intervals for new seeds and classes by seeds, classes and kind of training; how
many tables without a difference show a mark; how often the best row is in its set, and how large
that is; classes that are each other's gallery. The functions are those that make the leaderboards;
the test suite does the same at reduced size (`tests/benchmark/statistics/test_simulated.py`).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import numpy as np
from scipy import stats
from simulated_tables import (
    NINE_TABLES,
    SPREADS,
    best_of_more_seeds,
    covers_uneven_classes,
    equal_rows,
    gallery_of_classes,
    marks_beside_the_best,
    null_differences,
    rows_against_a_baseline,
    seeds_against_a_baseline,
    tables_of_sources,
    uneven_tables,
)

from stt_bench.benchmark.statistics.across import across_sources
from stt_bench.benchmark.statistics.best import tied_with_best
from stt_bench.benchmark.statistics.crossed import crossed
from stt_bench.benchmark.statistics.planning import Spread, planned_half_width
from stt_bench.benchmark.statistics.rank_correlation import rank_correlation
from stt_bench.benchmark.statistics.verdicts import verdicts
from stt_bench.evaluation import class_values


def coverage(rng: np.random.Generator, tables: int) -> None:
    """Print the coverage and the half-width, in points, of each kind, S and C."""
    print("coverage of 95 % intervals for new seeds and classes, ± points, ± planned")
    for kind, spread in SPREADS.items():
        for classes in (5, 25, 51, 98, 659):
            for seeds in (1, 3, 5, 10, 20):
                count = tables if classes < 300 else tables // 2
                d = null_differences(rng, count, seeds, classes, kind)
                reach, mean = crossed(d).half_width(), crossed(d).mean
                planned = planned_half_width(Spread(*spread), seeds, classes)
                covered = np.mean(np.abs(mean) <= reach)
                line = f"S={seeds} C={classes}: {covered:.3f} {reach.mean():.2f} {planned:.2f}"
                print(f"  {kind} {line}", flush=True)


def family_wise_error(rng: np.random.Generator, tables: int) -> None:
    """Print how many tables without a difference show a mark, and the power of half real rows."""
    print("tables with a mark where nothing differs; share of real rows marked (1.5 half-widths)")
    for kind, k, seeds, classes, rho in (
        ("frozen", 10, 5, 25, 0.6),
        ("frozen", 17, 3, 25, 0.6),
        ("frozen", 17, 10, 25, 0.6),
        ("frozen", 17, 10, 25, 0.9),
        ("frozen", 30, 5, 25, 0.6),
        ("scratch", 17, 3, 25, 0.6),
        ("scratch", 17, 10, 25, 0.6),
        ("scratch", 17, 10, 98, 0.6),
    ):
        effect = 1.5 * planned_half_width(Spread(*SPREADS[kind]), seeds, classes)
        wrong, power = 0, []
        for _ in range(tables):
            d = rows_against_a_baseline(rng, k, seeds, classes, kind, rho)
            by_seed = [one.mean(axis=1) for one in d]
            wrong += any(v.mark in ("▲", "▼") for v in verdicts(by_seed, list(d), draws=500))
            d[: k // 2] += effect
            found = verdicts([one.mean(axis=1) for one in d], list(d), draws=500)
            power.append(np.mean([v.mark == "▲" for v in found[: k // 2]]))
        where = f"{kind} k={k} S={seeds} C={classes} rho={rho}"
        print(f"  {where}: {wrong / tables:.3f} {np.mean(power):.2f}", flush=True)


def picked_baselines(rng: np.random.Generator, tables: int) -> None:
    """Print how many tables of equal rows show marks beside the best of several Softmax rows."""
    print("equal rows: tables with a mark; if it had been known before which Softmax row is best")
    for kind, classes, softmax, rows, seeds in (
        ("scratch", 25, 12, 39, 5),
        ("frozen", 25, 12, 39, 5),
        ("scratch", 25, 6, 54, 5),
        ("scratch", 25, 3, 30, 3),
        ("scratch", 1, 12, 39, 5),
        ("scratch", 1, 6, 54, 5),
    ):
        counts, marks = {False: 0, True: 0}, {*("▲▼" if classes > 1 else "△▽")}
        for _ in range(tables):
            values = equal_rows(rng, softmax + rows, seeds, classes, kind)
            for fixed in counts:
                found = marks_beside_the_best(values, softmax, 500, fixed=fixed)
                counts[fixed] += bool(found & marks)
        what = "new classes" if classes > 1 else "these classes"
        shares = "; ".join(f"{count / tables:.3f}" for count in counts.values())
        print(f"  {kind} {softmax} + {rows} S={seeds}, {what}: {shares}", flush=True)


def marks_for_seeds(rng: np.random.Generator, tables: int) -> None:
    """Print how many tables without a difference show △ or ▽, and the power of half real rows."""
    print("these classes, k=17: tables with △ or ▽ where nothing differs; real rows marked (3 sd)")
    for uneven in (0.0, 0.4, 0.8):
        for seeds in (3, 5, 10, 20):
            wrong, power = 0, []
            for _ in range(tables):
                d = seeds_against_a_baseline(rng, 17, seeds, uneven)
                wrong += any(v.mark != "≈" for v in verdicts(list(d), [None] * 17))
                if uneven == 0.4:
                    d[:8] += 3.0 / 2**0.5
                    found = verdicts(list(d), [None] * 17)
                    power.append(np.mean([v.mark == "△" for v in found[:8]]))
            told = f" {np.mean(power):.2f}" if power else ""
            where = f"sd of log sd {uneven} S={seeds}"
            print(f"  {where}: {wrong / tables:.3f}{told}", flush=True)


def best_rows(rng: np.random.Generator, tables: int) -> None:
    """Print how often a best row is in the set, and the set's mean size, of twelve rows."""
    print("a best row is in the set; its mean size, of 12 rows")
    width = planned_half_width(Spread(*SPREADS["frozen"]), 5, 25)
    for label, below in (
        ("all equal", np.zeros(12)),
        ("3 best", -np.r_[0, 0, 0, np.arange(1, 10)]),
        ("1 best by 1 half-width", -np.r_[0, np.ones(11)]),
    ):
        held, size = 0, 0
        for _ in range(tables):
            seed, of_class, residual = (one / 2**0.5 for one in SPREADS["frozen"])
            values = (
                width * below[:, None, None]
                + seed * rng.standard_normal((12, 5, 1))
                + of_class * rng.standard_t(6, (12, 1, 25)) / 1.5**0.5
                + residual * rng.standard_normal((12, 5, 25))
            )
            kept = tied_with_best(values, draws=500)
            held, size = held + kept[0], size + kept.sum()
        print(f"  {label}: {held / tables:.3f} {size / tables:.1f}", flush=True)


def galleries(rng: np.random.Generator, sets: int) -> None:
    """Print the coverage of class means and leave-class-out values over sets of classes."""
    print("classes that are each other's gallery: coverage of class means, leave-class-out values")
    for classes in (10, 25, 50):
        both = [[], []]
        for _ in range(sets):
            *embeddings, labels = gallery_of_classes(rng, classes)
            first, second = (class_values(x, labels, ks=[], weighting="query") for x in embeddings)
            both[0].append((first.sums - second.sums)[:, 1] / first.counts)
            both[1].append((first.values - second.values)[:, 1])
        covered = []
        for d in both:
            estimate = crossed(np.array(d)[:, None])
            off = np.abs(estimate.mean - estimate.mean.mean())
            covered.append(f"{np.mean(off <= estimate.half_width()):.3f}")
        print(f"  C={classes}: {' '.join(covered)}", flush=True)


def uneven_classes(rng: np.random.Generator, tables: int) -> None:
    """Print the coverage with classes of uneven size, of the average that a record would choose."""
    print("classes of uneven size: coverage")
    for classes in (25, 98, 150, 500):
        for variation in (0.3, 0.6, 1.0):
            covered = covers_uneven_classes(*uneven_tables(rng, tables, classes, variation))
            print(f"  C={classes} coefficient of variation {variation}: {covered:.3f}", flush=True)


def means_over_sources(rng: np.random.Generator, sets: int) -> None:
    """Print how often the interval of a mean over sources holds the truth, and leaves out 0.

    Then what it holds where nine tables are of five sources that spread twice as much as the tables
    of one, and each table counts as a source of its own.
    """
    print("mean over sources: coverage; intervals without 0 at an effect of 1.5 and 3 sd")

    def without_0(drawn: np.ndarray, sources: Sequence[int]) -> float:
        found = [across_sources(of_tables, sources) for of_tables in drawn]
        return float(np.mean([abs(one.mean) > (one.half_width or 0.0) for one in found]))

    for n in (3, 4, 5, 8, 12):
        found = [
            without_0(effect + rng.standard_normal((sets, n)), range(n)) for effect in (0, 1.5, 3)
        ]
        print(f"  n={n}: {1 - found[0]:.3f}; {found[1]:.2f} {found[2]:.2f}", flush=True)
    drawn = tables_of_sources(rng, sets, NINE_TABLES)
    averaged, counted = (1 - without_0(drawn, of) for of in (NINE_TABLES, range(9)))
    print(f"  9 tables of 5 sources: {averaged:.3f}; as if of 9: {counted:.3f}", flush=True)


def rank_correlations(rng: np.random.Generator, tables: int) -> None:
    """Print how often the jackknife interval of Kendall's τ holds that of the two tables' law."""
    print("Kendall's τ of normal values that correlate: coverage of the jackknife interval")
    for rows in (6, 8, 12, 25):
        told = []
        for rho in (0.0, 0.5, 0.8, 0.95):
            true, covered = 2 / np.pi * np.arcsin(rho), 0
            for x, noise in rng.standard_normal((tables, 2, rows)):
                found = rank_correlation(x, rho * x + (1 - rho**2) ** 0.5 * noise, fewest=6)
                low, high = (found and found.interval) or (1.0, 1.0)  # all alike: it says 1
                covered += low <= true <= high
            told.append(f"ρ={rho}: {covered / tables:.3f}")
        print(f"  {rows} rows: {' '.join(told)}", flush=True)


def picked_seeds(rng: np.random.Generator, tables: int) -> None:
    """Print how often the best 3 of n seeds would be △ where nothing differs (promised: 2.5 %)."""
    print("the best 3 of n seeds: share that a t-test over them would call better")
    for seeds in (3, 5, 10, 20):
        found = stats.ttest_1samp(best_of_more_seeds(rng, tables, seeds), 0, axis=1)
        better = np.mean((found.pvalue <= 0.05) & (found.statistic > 0))
        print(f"  n={seeds}: {better:.3f}", flush=True)


PARTS = {  # how many tables each draws, and with --quick
    coverage: (1000, 100),
    family_wise_error: (400, 20),
    picked_baselines: (100, 10),
    marks_for_seeds: (1200, 60),
    best_rows: (200, 20),
    galleries: (300, 20),
    uneven_classes: (1000, 100),
    means_over_sources: (1000, 100),
    rank_correlations: (600, 60),
    picked_seeds: (10_000, 1000),
}


def main() -> None:
    """Print all of it, or the parts that are named."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--quick", action="store_true", help="fewer tables")
    parts = [part.__name__ for part in PARTS]
    options.add_argument("parts", nargs="*", metavar="PART", help=f"of: {', '.join(parts)}")
    given = options.parse_args()
    if unknown := set(given.parts) - set(parts):
        options.error(f"no part is called {', '.join(sorted(unknown))}")
    start = time.process_time()
    for part, counts in PARTS.items():
        if not given.parts or part.__name__ in given.parts:
            part(np.random.default_rng(0), counts[given.quick])
    print(f"{time.process_time() - start:.0f} s of CPU")


if __name__ == "__main__":
    main()
