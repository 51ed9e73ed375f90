"""Tables in which nothing differs and a mark stands, where seeds share the winner of a search.

Prints, for searches that spread 0, 1, 2 and 4 times as much as their seeds, the share of tables
with any △▽ and any ▲▼: with seeds as draws, and with searches, each by the mean of its seeds. A
minute and a half on one core.
"""

from __future__ import annotations

import argparse

import numpy as np

from stt_bench.benchmark.statistics.verdicts import verdicts

ROWS, SEEDS, SEARCHES, CLASSES, TABLES = 28, 10, 3, 25, 150
OF_SEED, OF_CLASS, RESIDUAL = 0.1, 2.7, 0.8  # standard deviations in points


def main() -> None:
    """Print the shares."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    rng = np.random.default_rng(0)
    study = np.arange(SEEDS) % SEARCHES
    for ratio in (0, 1, 2, 4):
        for draws in ("seeds", "searches"):
            classes = domain = 0
            for _ in range(TABLES):
                own = ratio * OF_SEED * rng.standard_normal((ROWS + 1, SEARCHES))[:, study]
                own += OF_SEED * rng.standard_normal((ROWS + 1, SEEDS))
                gain = own[1:] - own[0]
                of_class = OF_CLASS * rng.standard_normal((ROWS + 1, CLASSES))
                of_class = (of_class[1:] - of_class[0])[:, None, :]
                noise = RESIDUAL * rng.standard_normal((2, ROWS, SEEDS, CLASSES))
                by_class = gain[:, :, None] + of_class + noise[0]
                by_seed = gain + noise[1].mean(axis=-1)
                if draws == "searches":
                    parts = [study == one for one in range(SEARCHES)]
                    by_class = np.stack([by_class[:, part].mean(axis=1) for part in parts], axis=1)
                    by_seed = np.stack([by_seed[:, part].mean(axis=1) for part in parts], axis=1)
                found = verdicts(list(by_seed), [None] * ROWS)
                classes += any(one.mark in ("△", "▽") for one in found)
                found = verdicts(list(by_seed), list(by_class), draws=500)
                domain += any(one.mark in ("▲", "▼") for one in found)
            print(f"{ratio} × {draws}: △▽ {classes / TABLES:.3f}, ▲▼ {domain / TABLES:.3f}")


if __name__ == "__main__":
    main()
