"""Health metrics against a plain loop."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from stt_bench.benchmark.training.health import batch_health, gradient_norm, pairs_of


def test_health_is_the_loop_over_pairs() -> None:
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(9, 3)), np.array([0, 0, 0, 1, 1, 2, 2, 2, 3])
    health = batch_health(pairs_of(torch.from_numpy(x), torch.from_numpy(labels)))
    distance = {(i, j): float(np.linalg.norm(x[i] - x[j])) for i in range(9) for j in range(9)}
    pairs = list(itertools.combinations(range(9), 2))
    within = [distance[p] for p in pairs if labels[p[0]] == labels[p[1]]]
    between = [distance[p] for p in pairs if labels[p[0]] != labels[p[1]]]
    anchors = [a for a in range(9) if (labels == labels[a]).sum() > 1]
    hardest_positive = [
        max(distance[a, b] for b in range(9) if b != a and labels[a] == labels[b]) for a in anchors
    ]
    hardest_negative = [
        min(distance[a, b] for b in range(9) if labels[a] != labels[b]) for a in range(9)
    ]
    norm = np.mean([np.linalg.norm(row) for row in x])
    assert health == pytest.approx(
        {
            "mean_norm": norm,
            "distance_within": np.mean(within),
            "distance_between": np.mean(between),
            "hardest_positive": np.mean(hardest_positive),
            "hardest_negative": np.mean(hardest_negative),
            "spread": np.mean(within + between) / norm,
        },
        rel=1e-9,
    )


def test_what_has_no_pair_is_left_out() -> None:
    one_class = batch_health(pairs_of(torch.randn(4, 2), torch.zeros(4, dtype=torch.long)))
    assert "distance_between" not in one_class
    assert "hardest_negative" not in one_class
    singletons = batch_health(pairs_of(torch.randn(4, 2), torch.arange(4)))
    assert "distance_within" not in singletons
    assert "hardest_positive" not in singletons
    assert batch_health(pairs_of(torch.zeros(1, 2), torch.zeros(1))) == {"mean_norm": 0.0}


def test_gradient_norm_is_over_all_parameters() -> None:
    a, b, c = (torch.zeros(2, requires_grad=True) for _ in range(3))
    a.grad, b.grad = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0])
    assert gradient_norm([a, b, c]) == pytest.approx(5.0)
    assert gradient_norm([c]) == 0.0


def test_an_embedding_that_is_not_finite_spoils_only_its_own_pairs() -> None:
    x = torch.tensor([[1.0, 0.0], [3.0, 0.0], [math.inf, 0.0], [4.0, 0.0]])
    health = batch_health(pairs_of(x, torch.tensor([0, 0, 1, 2])))
    assert health["distance_within"] == health["hardest_positive"] == 2.0
    assert math.isinf(health["distance_between"])
