from collections import Counter
from itertools import groupby

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from stt_bench.benchmark.config.sections import SamplerConfig
from stt_bench.benchmark.datasets.sampler import (
    GroupedSampler,
    Needs,
    PxKSampler,
    UniformSampler,
    build_sampler,
    check_sampler,
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
    assume(p * k <= sum(sizes))
    labels = labels_of(sizes, seed)
    rows = PxKSampler(labels, p, k, seed).batch(step)
    assert rows.shape == (p * k,)
    assert len(set(rows)) == p * k  # an image never stands twice in a batch
    shown = Counter(labels[rows].tolist())
    assert len(shown) >= p
    blocks = [label for label, _ in groupby(labels[rows].tolist())]
    assert len(blocks) == len(shown)  # class by class
    if min(sizes) >= k:
        assert set(shown.values()) == {k}
        assert len(shown) == p
    if len(shown) < len(sizes):  # no class gave more than its share while another gave nothing
        assert max(shown.values()) <= k


def test_small_classes_give_all_they_have_and_others_fill_the_batch():
    labels = np.array([0, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3])
    sampler = PxKSampler(labels, 2, 4, seed=0)
    for step in range(40):
        shown = Counter(labels[sampler.batch(step)].tolist())
        assert sum(shown.values()) == 8
        first_two = list(dict.fromkeys(labels[sampler.batch(step)].tolist()))[:2]
        assert all(shown[label] == min(4, (labels == label).sum()) for label in first_two)


def test_further_images_of_large_classes_fill_what_small_ones_leave():
    labels = np.array([0, 1, 1, 1, 1, 1, 1])
    for step in range(20):
        rows = PxKSampler(labels, 2, 3, seed=0).batch(step)
        assert Counter(labels[rows].tolist()) == {0: 1, 1: 5}
        assert len(set(rows)) == 6


@settings(deadline=None)
@given(SIZES, st.integers(1, 9), st.sampled_from([2, 4]), st.integers(0, 30))
def test_rows_that_a_loss_reads_together_are_of_one_class(sizes, p, together, step):
    groups = sum(size // together for size in sizes)
    usable = [size for size in sizes if size >= together]
    assume(usable)
    p = min(p, len(usable))
    assume(p <= groups)
    labels = labels_of(sizes)
    rows = PxKSampler(labels, p, together, 0, together).batch(step)
    blocks = labels[rows].reshape(-1, together)
    assert (blocks == blocks[:, :1]).all()
    assert len(set(rows)) == len(rows) == p * together


@given(SIZES, st.integers(1, 9), st.integers(0, 3))
def test_a_pass_shows_every_class_once_but_the_rest(sizes, p, seed):
    p = min(p, len(sizes))
    labels = labels_of([size + 1 for size in sizes])
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
    labels = labels_of([10, 10, 5])
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
    with pytest.raises(BenchError, match=r"batch_size is 8, but only 7 items .* to 7 or less"):
        UniformSampler(7, 8, 0)


def test_too_few_images_for_a_batch():
    with pytest.raises(BenchError, match=r"sampler.p × sampler.k is 8, but only 6 items"):
        PxKSampler(labels_of([5, 1]), 2, 4, 0)
    with pytest.raises(BenchError, match=r"only 1 classes with 2 or more items are trained on"):
        PxKSampler(labels_of([5, 1]), 2, 2, 0, together=2)


POSITIVES, NEGATIVES = Needs(positives=True), Needs(negatives=True)


@pytest.mark.parametrize(
    ("config", "needs", "wanted"),
    [
        ({"p": 4, "k": 1}, POSITIVES, "needs positives.* set sampler.k to 2 or more"),
        ({"p": 1, "k": 4}, NEGATIVES, "needs negatives.* set sampler.p to 2 or more"),
        ({"p": 4, "k": 1}, NEGATIVES, None),
        ({"p": 1, "k": 4}, POSITIVES, None),
        ({"p": 2, "k": 2}, Needs(positives=True, negatives=True), None),
        *(
            ({"name": name, "batch_size": 1}, needs, "set sampler.batch_size to 2 or more")
            for name in ("uniform", "grouped")
            for needs in (POSITIVES, NEGATIVES)
        ),
        ({"name": "uniform", "batch_size": 2}, POSITIVES, None),
        ({"p": 1, "k": 1}, Needs(images=2), "needs batches of 2 or more items, .* have 1"),
        ({"p": 1, "k": 4}, Needs(images=8, together=4), "needs batches of 8 .* raise sampler.p"),
        ({"p": 2, "k": 4}, Needs(images=8, together=4), None),
        ({"p": 4, "k": 2}, Needs(together=4), "with k: 4"),
        ({"p": 4, "k": 3}, Needs(together=2), "with an even k"),
        ({"name": "uniform"}, Needs(together=2), "needs 'sampler: {name: pxk}'"),
    ],
)
def test_a_sampler_that_can_never_give_what_a_loss_needs(config, needs, wanted):
    if wanted is None:
        check_sampler(SamplerConfig(**config), needs, "loss")
        return
    with pytest.raises(BenchError, match=f"^loss .*{wanted}") as caught:
        check_sampler(SamplerConfig(**config), needs, "loss")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "sizes", "needs", "wanted"),
    [
        ({"p": 3, "k": 2}, [1] * 9, POSITIVES, "no class has two items"),
        ({"name": "uniform"}, [1] * 99, POSITIVES, "no class has two items"),
        ({"name": "uniform", "batch_size": 4}, [9], NEGATIVES, "all training items are of one"),
        ({"name": "grouped", "batch_size": 4, "buffer": 1}, [8, 4, 8], NEGATIVES, "buffer: 1"),
    ],
)
def test_data_that_can_never_give_what_a_loss_needs(config, sizes, needs, wanted):
    labels = labels_of(sizes)
    with pytest.raises(BenchError, match=wanted):
        build_sampler(SamplerConfig(**config), labels, 0, needs)
    build_sampler(SamplerConfig(**config), labels, 0)  # Softmax, say


def test_a_buffer_or_a_boundary_inside_a_batch_gives_negatives():
    for buffer, sizes in ((2, [8, 4, 8]), (1, [8, 5, 8])):
        labels = labels_of(sizes)
        config = SamplerConfig(name="grouped", batch_size=4, buffer=buffer)
        sampler = build_sampler(config, labels, 0, NEGATIVES)
        assert any(len(set(labels[sampler.batch(step)])) > 1 for step in range(50))


def test_from_a_config():
    labels = labels_of([9] * 9)
    pxk = build_sampler(SamplerConfig(p=3, k=5), labels, 2)
    np.testing.assert_array_equal(pxk.batch(7), PxKSampler(labels, 3, 5, 2).batch(7))
    uniform = build_sampler(SamplerConfig(name="uniform", p=3, k=5), labels, 2)
    np.testing.assert_array_equal(uniform.batch(7), UniformSampler(81, 15, 2).batch(7))
    assert len(build_sampler(SamplerConfig(name="uniform", batch_size=9), labels, 2).batch(0)) == 9
    grouped = build_sampler(SamplerConfig(name="grouped", batch_size=6, buffer=4), labels, 2)
    np.testing.assert_array_equal(grouped.batch(7), GroupedSampler(labels, 6, 4, 2).batch(7))
