"""Value, number of terms and active share against the loops."""

from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loops.center import moved_centers
from loss_cases import CASES, DIM, IDS, LOOPS, NUM_CLASSES, by_loop, make

from stt_bench.losses import distances

LABELS = st.lists(st.integers(0, NUM_CLASSES - 1), min_size=1, max_size=11)
PAIRED = st.lists(st.integers(0, NUM_CLASSES - 1), min_size=1, max_size=6).map(
    lambda classes: [label for label in classes for _ in range(2)]
)
BLOCKS = st.permutations(range(NUM_CLASSES)).map(
    lambda classes: [label for label in classes for _ in range(4)]
)
ONE_CLASS = st.integers(1, 8).map(lambda size: [1] * size)
SINGLETONS = st.permutations(range(NUM_CLASSES))
LATTICE = st.tuples(*[st.integers(-2, 2)] * 3, st.integers(0, 2))  # three coordinates, a label


@st.composite
def batches(draw):
    """Random embeddings of every size with exact duplicates; labels of every completeness."""
    labels = draw(st.one_of(LABELS, PAIRED, BLOCKS, ONE_CLASS, SINGLETONS))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = rng.normal(size=(len(labels), DIM)) * draw(st.sampled_from([1.0, 0.3, 3.0, 1e-4, 1e4]))
    for row in draw(st.lists(st.integers(0, len(labels) - 1), max_size=3)):
        x[row] = x[0]
    return x, np.array(labels)


@pytest.mark.parametrize(("name", "params"), CASES, ids=IDS)
@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(drawn=batches(), strip=st.sampled_from([1, 3, distances.STRIP]))
def test_agrees_with_loops(name, params, drawn, strip):
    x, y = drawn
    loss = make(name, params)
    with mock.patch.object(distances, "STRIP", strip):
        value = loss(torch.from_numpy(x), torch.from_numpy(y)).item()
    wanted, terms, active = by_loop(loss, params, x, y)
    assert value == pytest.approx(wanted, rel=1e-9, abs=1e-9)
    assert loss.diagnostics["terms"].item() == terms
    smooth = active is None or isinstance(params.get("margin"), str)
    assert ("active" in loss.diagnostics) is not smooth
    if not smooth:
        assert loss.diagnostics["active"].item() == pytest.approx(active, abs=1e-12)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(drawn=batches(), alpha=st.sampled_from([0.0, 0.5, 1.0]), normalize=st.booleans())
def test_center_moves_as_in_loops(drawn, alpha, normalize):
    x, y = drawn
    loss = make("center", {"alpha": alpha, "normalize": normalize, "init": "normal"}).train()
    wanted = moved_centers(x, y, loss.centers.numpy().copy(), alpha, normalize)
    loss(torch.from_numpy(x), torch.from_numpy(y))
    np.testing.assert_allclose(loss.centers.numpy(), wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("distance", ["squared_euclidean", "cityblock"])
@settings(max_examples=80, deadline=None, derandomize=True, database=None)
@given(
    points=st.lists(LATTICE, min_size=2, max_size=10),
    shift=st.sampled_from([0, 1000]),
    per=st.sampled_from(["pair", "anchor"]),
)
def test_ties_are_ties(points, shift, per, distance, dtype):
    """On a lattice many distances are equal: rounding must not decide which is the larger."""
    x = np.array([p[:3] for p in points], dtype=float) + shift
    y = np.array([p[3] for p in points])
    xt, yt = torch.from_numpy(x).to(dtype), torch.from_numpy(y)
    semi = {"normalize": False, "distance": distance, "per": per, "margin": 1}
    all_triplets = {"distance": distance, "margin": 2}
    for name, params in (("semi_hard_triplet", semi), ("batch_all_triplet", all_triplets)):
        loss = make(name, params)
        value = loss(xt, yt).item()
        wanted, terms, active = LOOPS[name].loop(x, y, **params)
        assert value == pytest.approx(wanted, rel=1e-6, abs=1e-6)
        assert loss.diagnostics["terms"].item() == terms
        assert loss.diagnostics["active"].item() == pytest.approx(active, abs=1e-6)
