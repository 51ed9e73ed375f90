"""What a camera rule costs: CPU seconds of 1,000 queries against 20,000 items, beside none.

Each round takes every case once, after one another, and the median ratio to the same metrics
without a rule is printed; synthetic embeddings (`synthetic.py`), six cameras.

    python tests/perf/retrieval_rules.py [--rounds 3] [--dim 512] [--noise 0.9]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from synthetic import embeddings

from stt_bench.evaluation import retrieval_metrics

QUERIES, GALLERY, CLASSES, CAMERAS = 1_000, 20_000, 1_000, 6
ASKED = {
    "recall, MAP@R": ("recall", "r_precision", "map@r", "mrr"),
    "recall, mAP": ("recall", "map"),
    "recall, Precision@K, nDCG@K": ("recall", "precision", "map@k", "ndcg"),
}


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--dim", type=int, default=512)
    options.add_argument("--noise", type=float, default=0.9)
    given = options.parse_args()
    x, y = embeddings(QUERIES + GALLERY, CLASSES, given.dim, given.noise)
    rng = np.random.default_rng(0)
    order, cameras = rng.permutation(len(x)), rng.integers(0, CAMERAS, len(x))
    q, g = order[:QUERIES], order[QUERIES:]
    space = {"gallery": x[g], "gallery_labels": y[g]}
    groups = {"query_groups": cameras[q], "gallery_groups": cameras[g]}
    rules = {"none": {}, "label": groups, "all": {**groups, "groups_apply_to": "all"}}
    rules["several labels"] = {"labels": [[one, one + 7] for one in y[q].tolist()]}
    retrieval_metrics(x[q[:50]], y[q[:50]], **space)
    print("| metrics | rule | CPU seconds | ÷ none |\n|---|---|---|---|")
    for title, metrics in ASKED.items():
        seconds = np.empty((given.rounds, len(rules)))
        for number in np.ndindex(seconds.shape):
            rule = {"labels": y[q], **list(rules.values())[number[1]]}
            start = time.process_time()
            retrieval_metrics(x[q], **rule, **space, metrics=metrics, ks=(1, 5, 10))
            seconds[number] = time.process_time() - start
        ratios = np.median(seconds / seconds[:, :1], axis=0)
        for name, spent, ratio in zip(rules, np.median(seconds, axis=0), ratios, strict=True):
            print(f"| {title} | {name} | {spent:.2f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
