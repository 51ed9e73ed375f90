"""Ranks of lists, against the dense ranks of the exact distances to the whole gallery."""

from __future__ import annotations

import numpy as np
import pytest

from stt_bench.evaluation import nearest
from stt_bench.evaluation.exact import exact_distances
from stt_bench.evaluation.nearest import NO_RANK, NearestItems
from stt_bench.evaluation.space import search_space

RNG = np.random.default_rng(4)
PLAIN = RNG.standard_normal((300, 4))
FAR = PLAIN.copy()
FAR[0] = 1e9  # beside which the others lie within the rounding
SAMPLED = PLAIN.copy()
SAMPLED[::15] *= 1e-3  # those that the sample holds lie near each other
SETS = {
    "plain": PLAIN,
    "sorted along a line": np.sort(RNG.random(300))[:, None],
    "ties and duplicates": np.round(PLAIN),
    "one row many times": np.repeat(PLAIN[:4], 75, axis=0),
    "two clusters that rounding cannot part": 1 + 1e-15 * np.round(3 * PLAIN),
    "an item very far away": FAR,
    "a sample unlike the rest": SAMPLED,
    "all alike": np.ones((300, 2)),
}


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
@pytest.mark.parametrize("depth", [1, 40, 299])
@pytest.mark.parametrize("name", SETS)
def test_ranks_are_those_of_exact_distances(
    name: str, depth: int, distance: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nearest, "SAMPLE", 20)
    monkeypatch.setattr(nearest, "TABLE", 3000)  # ten queries at once
    labels = np.arange(300) % 7
    queries, gallery, _ = search_space(SETS[name], labels, None, None, None, None, distance)
    ranks, items = NearestItems(queries, gallery).ranks(np.arange(300), depth)
    points = queries.rows(slice(None))
    exact = exact_distances(points, points, queries.distance)
    for query in range(300):
        others = np.delete(np.arange(300), query)
        _, expected = np.unique(exact[query, others], return_inverse=True)
        last = np.sort(expected)[depth - 1]
        rank_of = dict(zip(others.tolist(), expected.tolist(), strict=True))
        held = items[query] >= 0
        assert np.all(ranks[query, ~held] == NO_RANK)
        found = ranks[query, held]
        assert np.all(np.diff(found) >= 0)
        within = found <= last
        # All items up to the last certain place, with their ties, and nothing among them.
        assert sorted(items[query, held][within]) == sorted(others[expected <= last])
        assert found[within].tolist() == [rank_of[i] for i in items[query, held][within].tolist()]
