from dataclasses import replace

import numpy as np
import pytest
import torch
from dataset_miniatures import zip_folder
from PIL import Image

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.datasets import batches as batches_module
from stt_bench.benchmark.datasets import prepared_images
from stt_bench.benchmark.datasets.batches import (
    TrainingBatches,
    embedding_batches,
    training_batches,
    worker_count,
)
from stt_bench.benchmark.datasets.image_set import ImageSet
from stt_bench.benchmark.system.errors import BenchError


def experiment(workers: int | str = "auto", **sections) -> Experiment:
    sections = {"input": {"size": 16, "resize": 20, "crop": "random", "flip": True}, **sections}
    sampler = {"p": 2, "k": 3}
    return Experiment.model_validate(
        {
            "data": {"name": "x"},
            "loss": "softmax",
            "sampler": sampler,
            "train": {"workers": workers},
        }
        | sections
    )


@pytest.fixture
def items(load, mini_cub):
    return load("cub50", mini_cub, "classification")


@pytest.fixture
def birds(load, mini_cub):
    return load("cub50", mini_cub)


def assert_same(ours, theirs) -> None:
    ours, theirs = list(ours), list(theirs)
    assert [batch.step for batch in ours] == [batch.step for batch in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)


def test_a_batch(birds):
    batches = list(training_batches(birds, experiment(), 0, 0, 3))
    assert [batch.step for batch in batches] == [0, 1, 2]
    for _, images, labels, weights in batches:
        assert weights is None
        assert images.shape == (6, 3, 16, 16)
        assert images.dtype == torch.uint8
        assert labels.dtype == torch.int64
        assert labels.tolist() in ([0, 0, 0, 1, 1, 1], [1, 1, 1, 0, 0, 0])


def test_labels_belong_to_the_images(birds):
    plain = experiment(input={"size": 16})
    batches = TrainingBatches(birds, plain, 0)
    assert batches.classes == ["001.Albatross", "002.Auklet"]
    frame = birds.split("train")
    whole = ImageSet(birds, frame, plain.input)
    known = {
        whole.batch(np.array([row])).numpy().tobytes(): label
        for row, label in enumerate(frame["label"])
    }
    assert len(known) == 6
    for batch in batches.iterate(0, 5):
        for image, label in zip(batch.images, batch.labels, strict=True):
            assert known[image.numpy().tobytes()] == batches.classes[label]


@pytest.mark.parametrize("sampler", [{"p": 2, "k": 3}, {"name": "uniform", "batch_size": 4}])
def test_a_resumed_run_goes_on_exactly(birds, sampler):
    setup = experiment(sampler=sampler)
    whole = list(training_batches(birds, setup, 3, 0, 8))
    assert_same(whole[5:], training_batches(birds, setup, 3, 5, 8))
    assert len({batch.images.numpy().tobytes() for batch in whole}) == 8
    other = next(training_batches(birds, setup, 4, 0, 1))
    assert not torch.equal(other.images, whole[0].images)


@pytest.mark.parametrize("limit", [1 << 30, 10])
def test_workers_change_nothing(birds, monkeypatch, limit):
    monkeypatch.setattr(prepared_images, "memory_limit", lambda: limit)
    assert_same(
        training_batches(birds, experiment(), 1, 2, 9),
        training_batches(birds, experiment(workers=2), 1, 2, 9),
    )


def test_auto_is_a_number_for_the_machine(monkeypatch):
    def count(cores: int, gpu: bool, costly: bool = True, workers="auto", fork=True) -> int:
        monkeypatch.setattr(batches_module, "usable_cores", lambda: cores)
        monkeypatch.setattr(batches_module, "CAN_FORK", fork)
        device = torch.device("cuda" if gpu else "cpu")
        monkeypatch.setattr(batches_module, "resolve_device", lambda _: device)
        settings = experiment(workers=workers).train
        return worker_count(settings, costly=costly)

    assert [count(cores, gpu=True) for cores in (1, 2, 3, 8, 64)] == [0, 0, 2, 7, 16]
    assert count(64, gpu=True, costly=False) == 0
    assert count(64, gpu=False) == 0
    assert count(1, gpu=False, costly=False, workers=5) == 5
    assert count(64, gpu=True, workers=0) == 0
    assert count(64, gpu=True, workers=5, fork=False) == 0


RESIZED = {"crop": "random_resized"}, {"crop": "random", "resize": 20, "resize_max": 30}


@pytest.mark.parametrize("more", [*RESIZED, {"crop": "random", "resize": 20}, {"crop": "center"}])
def test_processes_make_batches_of_images_in_memory_where_these_are_resized(
    birds, monkeypatch, more
):
    """Of a GPU with cores to spare; they read the images where they lie."""
    setup = experiment(input={"size": 16, "flip": True, **more})
    expected = list(training_batches(birds, setup, 1, 2, 7))
    forked = []

    def by_processes(make, steps, count):
        forked.append(count)
        monkeypatch.setattr(ImageSet, "_decode", None)  # nothing may be read again
        return in_processes(make, steps, 2)

    in_processes = batches_module.by_processes
    monkeypatch.setattr(batches_module, "by_processes", by_processes)
    monkeypatch.setattr(batches_module, "usable_cores", lambda: 8)
    monkeypatch.setattr(batches_module, "resolve_device", lambda _: torch.device("cuda"))
    assert_same(training_batches(birds, setup, 1, 2, 7), expected)
    assert forked == ([7] if more in RESIZED else [])


@pytest.mark.parametrize("gpu", [False, True])
def test_files_are_read_ahead_where_a_gpu_works(birds, monkeypatch, gpu):
    monkeypatch.setattr(prepared_images, "memory_limit", lambda: 10)
    expected = list(training_batches(birds, experiment(), 1, 0, 6))
    views = ImageSet(birds, birds.frame, experiment().input)
    embedded = [found for _, [found] in embedding_batches(views, 4)]
    ahead = []

    def by_threads(make, numbers):
        ahead.append(numbers)
        return batches_by_threads(make, numbers)

    batches_by_threads = batches_module.by_threads
    monkeypatch.setattr(batches_module, "by_threads", by_threads)
    monkeypatch.setattr("torch.cuda.is_initialized", lambda: gpu)
    assert_same(training_batches(birds, experiment(), 1, 0, 6), expected)
    again = [found for _, [found] in embedding_batches(views, 4)]
    assert all(map(torch.equal, again, embedded))
    assert len(ahead) == 2 * gpu


def test_workers_read_one_zip(load, mini_omniglot, tmp_path, monkeypatch):
    items = load("omniglot", zip_folder(mini_omniglot, tmp_path / "omniglot.zip"))
    monkeypatch.setattr(prepared_images, "memory_limit", lambda: 10)
    assert_same(
        training_batches(items, experiment(), 1, 0, 20),
        training_batches(items, experiment(workers=2), 1, 0, 20),
    )


@pytest.mark.parametrize("workers", ["auto", 1])
def test_the_global_generator_is_left_alone(birds, workers):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    list(training_batches(birds, experiment(workers), 0, 0, 2))
    assert torch.equal(torch.get_rng_state(), before)


def test_nothing_to_do(birds):
    assert list(training_batches(birds, experiment(), 0, 5, 5)) == []


def test_progress(birds):
    calls = []
    training_batches(birds, experiment(), 0, 0, 1, lambda *call: calls.append(call))
    assert calls == [(6, 6)]


def test_sampler_errors_come_at_once(birds):
    with pytest.raises(BenchError, match=r"sampler.p is 8, but only 2 classes are trained on"):
        training_batches(birds, experiment(sampler={"p": 8}), 0, 0, 1)


@pytest.mark.parametrize("workers", ["auto", 1])
def test_an_image_that_breaks_later_is_one_sentence(birds, monkeypatch, workers, mini_cub):
    monkeypatch.setattr(prepared_images, "memory_limit", lambda: 10)
    batches = TrainingBatches(birds, experiment(workers), 0)
    for path in birds.split("train")["path"]:
        (mini_cub / "CUB_200_2011" / path).write_bytes(b"gone")
    with pytest.raises(BenchError, match=r"cannot be read as an image") as told:
        list(batches.iterate(0, 2))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("size", [1, 5, 8, 100])
def test_embedding_batches_go_through_the_frame_in_order(items, size):
    frame = items.split("test")
    config = experiment().input
    images = ImageSet(items, frame, config)
    batches = list(embedding_batches(images, size))
    assert [row for rows, _ in batches for row in range(len(frame))[rows]] == list(range(8))
    assert all(len(image) == rows.stop - rows.start for rows, [image] in batches)
    whole = torch.cat([image for _, [image] in batches])
    assert torch.equal(whole, torch.cat([images.batch(np.array([row])) for row in range(8)]))


@pytest.mark.data
def test_images_of_an_array_are_not_decoded_one_by_one(real):
    def refuse(path: str) -> Image.Image:
        raise AssertionError(f"{path} was decoded")

    items = replace(real("fashion_mnist", "classification"), read=refuse)
    setup = experiment(
        input={"size": 28, "channels": 1}, sampler={"name": "uniform", "batch_size": 64}
    )
    batches = TrainingBatches(items, setup, 0)
    batches.images.load()
    assert batches[0].images.shape == (64, 1, 28, 28)
