from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stt_bench.benchmark.config.sections import SamplerConfig
from stt_bench.benchmark.datasets.sampler import (
    GroupedSampler,
    PxKSampler,
    UniformSampler,
    build_sampler,
    through_buffer,
)
from stt_bench.benchmark.system.errors import BenchError

SIZES = st.lists(st.integers(1, 9), min_size=1, max_size=9)


def labels_of(sizes: list[int], seed: int = 0) -> np.ndarray:
    """Return shuffled labels with gaps between the class numbers."""
    labels = np.repeat(3 * np.arange(len(sizes)) + 2, sizes)
    return np.random.default_rng(seed).permutation(labels)


@settings(deadline=None)
@given(SIZES, st.integers(1, 9), st.integers(1, 7), st.integers(0, 3), st.integers(0, 30))
def test_pxk_batch(sizes, p, k, seed, step):
    p = min(p, len(sizes))
    labels = labels_of(sizes, seed)
    rows = PxKSampler(labels, p, k, seed).batch(step)
    assert rows.shape == (p * k,)
    blocks = labels[rows].reshape(p, k)
    assert (blocks == blocks[:, :1]).all()
    assert len(set(blocks[:, 0])) == p
    for block in rows.reshape(p, k):
        n = (labels == labels[block[0]]).sum()
        times = [*Counter(block.tolist()).values()]
        times += [0] * (n - len(times))
        assert set(times) <= {k // n, -(-k // n)}


@given(SIZES, st.integers(1, 9), st.integers(0, 3))
def test_a_pass_shows_every_class_once_but_the_rest(sizes, p, seed):
    p = min(p, len(sizes))
    labels = labels_of(sizes)
    sampler = PxKSampler(labels, p, 2, seed)
    batches = len(sizes) // p
    for turn in range(3):
        shown = [labels[sampler.batch(turn * batches + i)][::2] for i in range(batches)]
        assert len(set(np.concatenate(shown))) == batches * p


def test_other_classes_are_dropped_in_each_pass():
    labels = labels_of([3] * 7)
    sampler = PxKSampler(labels, 3, 2, seed=0)
    dropped = [
        (
            set(labels)
            - set(labels[np.concatenate([sampler.batch(2 * t), sampler.batch(2 * t + 1)])])
        )
        for t in range(60)
    ]
    assert {len(left) for left in dropped} == {1}
    assert set().union(*dropped) == set(labels)


def test_the_images_of_a_class_are_drawn_uniformly():
    labels = labels_of([10, 10, 3])
    sampler = PxKSampler(labels, 3, 5, seed=1)
    drawn = Counter(np.concatenate([sampler.batch(step) for step in range(2000)]).tolist())
    for row, label in enumerate(labels):
        share = drawn[row] / 2000 * (labels == label).sum() / 5
        assert share == pytest.approx(1, abs=0.08)


SAMPLERS = [
    PxKSampler(labels_of([5, 4, 3, 2, 1]), 2, 3, seed=4),
    UniformSampler(17, 5, seed=4),
    UniformSampler(6, 6, seed=4),
]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_batch_is_a_function_of_the_step(sampler):
    forward = [sampler.batch(step) for step in range(40)]
    for step in np.random.default_rng(0).permutation(40):
        again = sampler.batch(int(step))
        np.testing.assert_array_equal(again, forward[step])
        again[:] = -1  # a batch is the caller's
    assert len({batch.tobytes() for batch in forward}) > 30


def test_the_seed_matters():
    labels = labels_of([5] * 8)
    for build in (lambda s: PxKSampler(labels, 3, 2, s), lambda s: UniformSampler(40, 6, s)):
        assert not np.array_equal(build(0).batch(0), build(1).batch(0))


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 3))
def test_uniform_is_a_stream_of_permutations(n, batch_size, seed):
    batch_size = min(n, batch_size)
    sampler = UniformSampler(n, batch_size, seed)
    steps = -(-3 * n // batch_size)
    batches = [sampler.batch(step) for step in range(steps)]
    assert {len(batch) for batch in batches} == {batch_size}
    passes = np.concatenate(batches)[: 3 * n].reshape(3, n)
    np.testing.assert_array_equal(np.sort(passes), np.tile(np.arange(n), (3, 1)))
    if n > 10:
        assert not np.array_equal(passes[0], passes[1])


class Middle:
    """A generator that always draws the middle slot and permutes nothing."""

    def integers(self, low: int, high: int, size: int) -> np.ndarray:
        return np.full(size, high // 2)

    def permutation(self, rows: list[int]) -> np.ndarray:
        return np.array(rows)


def test_a_shuffle_buffer_by_hand():
    # Held 0 1 2; the middle goes out and the next row takes its place: 1, then 3, then 4.
    drawn = through_buffer(np.arange(6), 3, Middle())  # type: ignore[arg-type]
    assert drawn.tolist() == [1, 3, 4, 0, 5, 2]


@settings(deadline=None)
@given(SIZES, st.integers(1, 12), st.integers(1, 12), st.integers(0, 3))
def test_grouped_is_a_stream_of_passes_in_class_order(sizes, batch_size, buffer, seed):
    labels = labels_of(sizes, seed)
    n = len(labels)
    batch_size = min(n, batch_size)
    sampler = GroupedSampler(labels, batch_size, buffer, seed)
    batches = [sampler.batch(step) for step in range(-(-3 * n // batch_size))]
    passes = np.concatenate(batches)[: 3 * n].reshape(3, n)
    np.testing.assert_array_equal(np.sort(passes), np.tile(np.arange(n), (3, 1)))
    in_order = np.argsort(labels, kind="stable")
    for rows in passes:  # a row never comes out more than a buffer before its turn
        assert (np.argsort(rows)[in_order] >= np.arange(n) - buffer + 1).all()
    # any step may be the first that is asked for
    fresh = GroupedSampler(labels, batch_size, buffer, seed)
    np.testing.assert_array_equal(fresh.batch(len(batches) - 1), batches[-1])


def test_grouped_batches_of_the_fashion_study_hold_one_class():
    """10 classes of 4,800 files, batches of 64, a buffer of 100: 90 % hold one class only."""
    labels = np.repeat(np.arange(10), 4_800)
    sampler = GroupedSampler(labels, 64, 100, seed=0)
    found = Counter(len(set(labels[sampler.batch(step)])) for step in range(2_250))
    assert set(found) == {1, 2}
    assert 0.89 < found[1] / 2_250 < 0.92


def test_errors():
    with pytest.raises(BenchError, match=r"sampler.p is 4, but only 3 classes .* to 3 or less"):
        PxKSampler(labels_of([2, 2, 2]), 4, 2, 0)
    with pytest.raises(BenchError, match=r"batch_size is 8, but only 7 images .* to 7 or less"):
        UniformSampler(7, 8, 0)


def test_from_a_config():
    labels = labels_of([9] * 9)
    pxk = build_sampler(SamplerConfig(p=3, k=5), labels, 2)
    np.testing.assert_array_equal(pxk.batch(7), PxKSampler(labels, 3, 5, 2).batch(7))
    uniform = build_sampler(SamplerConfig(name="uniform", p=3, k=5), labels, 2)
    np.testing.assert_array_equal(uniform.batch(7), UniformSampler(81, 15, 2).batch(7))
    assert len(build_sampler(SamplerConfig(name="uniform", batch_size=9), labels, 2).batch(0)) == 9
    grouped = build_sampler(SamplerConfig(name="grouped", batch_size=6, buffer=4), labels, 2)
    np.testing.assert_array_equal(grouped.batch(7), GroupedSampler(labels, 6, 4, 2).batch(7))
