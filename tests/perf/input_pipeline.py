"""How fast images come to the network, and how near that is to what decoder and step allow.

JPEGs of 500 × 375 are made from photos at hand (``--photos``, a folder with JPEGs below it), else
from noise, which takes longer to decode. Four tables, each side by side in this process, best of
the rounds:

- images per second of decoding alone (libjpeg-turbo in Pillow), of decoding and resizing, and of
  batches by threads and by processes, beside what the cores allow;
- crops and flips of images in memory, beside a loop that crops image by image and mirrors the whole
  batch;
- batches of images in memory that are cropped, or resized for each batch, on one core and by
  processes on all of them;
- training from the JPEGs, beside the same steps on one batch that stays on the device. On a CPU the
  decoder needs the cores that train: the bound is 1 ÷ (1 ÷ step + 1 ÷ decoding on all cores). On a
  GPU the bound is the step, and 0.95 of it is asked for.

    python tests/perf/input_pipeline.py [--photos FOLDER] [--device cuda] [--rounds 3] [--brief]
        [--only-memory] [--network timm/resnet50] [--precision float32] [--resize-by torch]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterable
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.config.sections import InputConfig
from stt_bench.benchmark.datasets import ArrayStore, FileStore, ItemTable
from stt_bench.benchmark.datasets.ahead import by_processes, by_threads
from stt_bench.benchmark.datasets.augmentation import Windows, draw_mirrored, gather, mirror
from stt_bench.benchmark.datasets.batches import Batch, TrainingBatches
from stt_bench.benchmark.datasets.image_set import ImageSet
from stt_bench.benchmark.datasets.transfer import on_device, to_device
from stt_bench.benchmark.datasets.transforms import prepare
from stt_bench.benchmark.system.machine import make_deterministic
from stt_bench.benchmark.system.resources import usable_cores
from stt_bench.benchmark.training.learner import Learner
from stt_bench.benchmark.training.step import take_step

WIDTH, HEIGHT, CLASSES = 500, 375, 16


def write_photos(folder: Path, count: int, photos: Path | None) -> ItemTable:
    """Write JPEGs of 500 × 375 and return them as training items of 16 classes."""
    rng, sources = np.random.default_rng(0), sorted(photos.rglob("*.jpg")) if photos else []
    for number in range(count):
        if sources:
            image = Image.open(sources[number * len(sources) // count]).convert("RGB")
            image = image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
        else:
            image = Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8))
        image.save(folder / f"{number}.jpg", quality=90)
    frame = pd.DataFrame(
        {
            "path": [f"{number}.jpg" for number in range(count)],
            "label": [f"{number % CLASSES:02}" for number in range(count)],
            "split": "train",
            "role": "both",
        }
    )
    return ItemTable("photos", frame, FileStore(folder).read, "")


def best(jobs: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Return the most images a second of each job; they take turns."""
    found = dict.fromkeys(jobs, 0.0)
    for _ in range(rounds):
        for name, job in jobs.items():
            found[name] = max(found[name], job())
    return found


def timed(job: Callable[[], int]) -> Callable[[], float]:
    """Return the images a second of a job that says how many it did."""

    def rate() -> float:
        start = time.perf_counter()
        done = job()
        return done / (time.perf_counter() - start)

    return rate


def wait(device: torch.device) -> None:
    """Wait until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def show(title: str, rates: dict[str, float], beside: str, shares: Iterable[str]) -> None:
    """Print a table; the shares are of the row named `beside`."""
    print(f"\n{title}\n\n| | images/s | ÷ {beside} |\n|---|---:|---:|")
    for name, rate in rates.items():
        share = f"{rate / rates[beside]:.2f}" if name in shares else ""
        print(f"| {name} | {rate:,.0f} | {share} |")


class Team:
    """Processes that all do the same at once, each as often as there are `rounds` of it."""

    def __init__(self, job: Callable[[int], int], count: int, rounds: int = 8) -> None:
        """Start them; `job` returns how many images it did."""
        self._ends, self._processes, context = [], [], get_context("fork")

        def work(end: Connection) -> None:
            while end.recv():
                end.send(sum(job(number) for number in range(rounds)))

        for _ in range(count):
            ours, theirs = Pipe()
            process = context.Process(target=work, args=(theirs,), daemon=True)
            process.start()
            self._ends.append(ours)
            self._processes.append(process)

    def __call__(self) -> int:
        """Let all do it, and return how many images they did."""
        for end in self._ends:
            end.send(True)
        return sum(end.recv() for end in self._ends)

    def __enter__(self) -> Team:
        """Return the team."""
        return self

    def __exit__(self, *_error: object) -> None:
        """End the processes."""
        for end in self._ends:
            end.send(False)
        for process in self._processes:
            process.join()


def decoding(items: ItemTable, experiment: Experiment, rounds: int) -> float:
    """Compare decoding alone with batches that are made of files; no network.

    Returns:
        The images a second that processes on all cores decode and resize at once.
    """
    paths, cores = items.frame["path"].tolist()[:64], usable_cores()
    steps = range(max(8, 6 * cores))
    batches = TrainingBatches(items, experiment, 0)

    def decode() -> int:
        return sum(items.read(path).width > 0 for path in paths)

    def decode_and_resize() -> int:
        return sum(prepare(items.read(path), experiment.input).ndim > 0 for path in paths)

    def tensors(step: int) -> list[torch.Tensor]:
        return list(batches[step][1:3])

    def part(_number: int) -> int:
        torch.set_num_threads(1)
        return decode_and_resize()

    size = experiment.sampler.images_per_batch
    bound = f"decoded and resized, {cores} cores at once"
    with Team(part, cores) as team:
        rates = best(
            {
                "decoder alone, one core": timed(decode),
                "decoded and resized, one core": timed(decode_and_resize),
                bound: timed(team),
                "batches by threads": timed(lambda: size * len(list(by_threads(tensors, steps)))),
                f"batches by {cores} processes, their start included": timed(
                    lambda: size * len(list(by_processes(tensors, steps, cores)))
                ),
            },
            rounds,
        )
    title = f"From JPEGs, resized by {experiment.input.resize_by}, no network"
    show(title, rates, bound, [name for name in rates if "batches" in name])
    return rates[bound]


def in_memory(rounds: int) -> None:
    """Compare crops and flips of a stack with a loop by image and a choice over the batch."""
    rng, size, count = np.random.default_rng(0), 224, 120
    kept = torch.randint(0, 256, (512, 3, 256, 256), dtype=torch.uint8)
    rows = rng.integers(0, len(kept), count)
    corners = rng.integers(0, 256 - size, (count, 2), endpoint=True)
    windows = Windows(np.hstack([corners, np.full_like(corners, size)]))
    mirrored = draw_mirrored(count, rng)

    def at_once() -> torch.Tensor:
        images = gather(kept, rows, windows, size)
        mirror(images, mirrored)
        return images

    def by_image() -> torch.Tensor:
        chosen = list(kept[torch.from_numpy(rows)])
        crops = [
            image[:, top : top + size, left : left + size]
            for image, (top, left) in zip(chosen, corners.tolist(), strict=True)
        ]
        images = torch.stack(crops)
        return torch.where(torch.from_numpy(mirrored)[:, None, None, None], images.flip(-1), images)

    assert torch.equal(at_once(), by_image())
    jobs = {
        "crops of a stack at once, mirrored images flipped": timed(lambda: len(at_once())),
        "crops image by image, all flipped": timed(lambda: len(by_image())),
    }
    rates = best(jobs, 10 * rounds)
    show("In memory, crops of 224 of 256, half mirrored", rates, [*jobs][1], [*jobs])


def resized_in_memory(rounds: int) -> None:
    """Show batches of 224 px from images in memory, by the augmentation; no network."""
    count, cores = 128, usable_cores()
    pixels = np.random.default_rng(0).integers(0, 256, (count, 375, 500, 3), np.uint8)
    paths = [f"{number}" for number in range(count)]
    labels = [f"{number % CLASSES:02}" for number in range(count)]
    frame = pd.DataFrame({"path": paths, "label": labels, "split": "train", "role": "both"})
    store = ArrayStore(paths, pixels)
    items = ItemTable("photos", frame, store.read, "", store.arrays)
    ways = {
        "random crops of 256 × 341": InputConfig(size=224, resize=256, crop="random"),
        "random_resized crops of 256 × 341": InputConfig(
            size=224, resize=256, crop="random_resized"
        ),
        "crops at 350 to 512 of 512 × 682 (resize_max)": InputConfig(
            size=224, resize=350, resize_max=512, crop="random"
        ),
    }
    jobs: dict[str, Callable[[], float]] = {}

    def add(name: str, config: InputConfig) -> None:
        images = ImageSet(items, frame, config, training=True)
        images.load()

        def batch(number: int) -> list[torch.Tensor]:
            rng = np.random.default_rng(number)
            return [images.batch(rng.integers(0, count, 32), rng)]

        def by_team() -> float:
            made, first = by_processes(batch, range(1 + 34 * cores), cores), 1 + 2 * cores
            for _ in zip(range(first), made, strict=False):
                start = time.perf_counter()
            return 32 * len(list(made)) / (time.perf_counter() - start)

        def alone() -> int:
            return sum(len(batch(number)[0]) for number in range(4))

        jobs[f"{name}, one core"] = timed(alone)
        jobs[f"{name}, by {cores} processes"] = by_team

    for name, config in ways.items():
        add(name, config)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rates = best(jobs, rounds)
    torch.set_num_threads(threads)
    show("In memory, batches of 32 at 224 px", rates, next(iter(jobs)), [*jobs])


def training(
    items: ItemTable,
    experiment: Experiment,
    steps: int,
    rounds: int,
    decoded: float | None,
) -> None:
    """Compare training from files with training on a batch that stays where it is.

    Without `decoded`, the images a second that are decoded and resized, only what `train` does.
    """
    device = torch.device(experiment.train.device)
    learner = Learner(experiment, items, device)
    learner.network.train()
    size = experiment.sampler.images_per_batch

    def train_on(batches: Iterable[Batch]) -> float:
        """Return images/s, the first steps (starting workers, filling pipes) left out."""
        done, first, start = 0, max(1, steps // 4), 0.0
        for step, images, labels, weights in batches:
            take_step(learner, experiment, 0, step, images, labels, weights)
            done += 1
            if done == first:
                wait(device)
                start = time.perf_counter()
        wait(device)
        return size * (done - first) / (time.perf_counter() - start)

    batches, numbers = TrainingBatches(items, experiment, 0), range(steps)
    resident = to_device(batches[0], device)
    train_on([resident] * steps)
    jobs: dict[str, Callable[[], float]] = {
        "one batch on the device": lambda: train_on([resident] * steps),
        "JPEGs, as in `train`": lambda: train_on(on_device(batches.iterate(0, steps), device)),
    }
    if decoded is not None:
        jobs |= {
            "JPEGs, batch and step in turn": lambda: train_on(map(batches.__getitem__, numbers)),
            "JPEGs, read ahead by threads": lambda: train_on(
                by_threads(batches.__getitem__, numbers)
            ),
        }
    rates = best(jobs, rounds)
    bound = "one batch on the device"
    if device.type == "cpu" and decoded is not None:
        bound = "bound: step and decoding share the cores"
        rates[bound] = 1 / (1 / rates["one batch on the device"] + 1 / decoded)
    network, image = experiment.model.backbone, experiment.input
    name = f"{network}, {image.size} px resized by {image.resize_by}, {experiment.train.precision}"
    show(f"Training, {name}, {size} images", rates, bound, [n for n in rates if "JPEGs" in n])


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, help="folder with JPEGs below it")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--network", help="that trains; else timm/resnet50 on a GPU")
    parser.add_argument("--precision", help="in which it trains; else bfloat16 on a GPU")
    parser.add_argument("--resize-by", choices=["pillow", "torch"], default="pillow")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="of a round")
    parser.add_argument("--only-memory", action="store_true", help="only images in memory")
    parser.add_argument("--brief", action="store_true", help="only training, as in `train`")
    given = parser.parse_args()
    gpu = given.device.startswith("cuda")
    network = given.network or ("timm/resnet50" if gpu else "small_cnn")
    precision = given.precision or ("bfloat16" if gpu else "float32")
    make_deterministic(None if gpu else usable_cores())
    experiment = Experiment.model_validate(
        {
            "data": {"name": "photos"},
            "loss": "softmax",
            "input": InputConfig(
                size=224 if gpu else 96,
                resize=256 if gpu else 128,
                resize_by=given.resize_by,
                crop="random",
                flip=True,
            ).model_dump(),
            "model": {"backbone": network, "embedding_dim": 128},
            "sampler": {"p": 16, "k": 8 if gpu else 2},
            "train": {"device": given.device, "precision": precision},
        }
    )
    print(f"{usable_cores()} cores, {torch.get_num_threads()} threads of PyTorch, {given.device}")
    if gpu:
        print(torch.cuda.get_device_name(given.device))
    if given.only_memory:
        resized_in_memory(given.rounds)
        return
    with tempfile.TemporaryDirectory() as folder:
        items = write_photos(Path(folder), 1024 if gpu else 256, given.photos)
        decoded = None
        if not given.brief:
            decoded = decoding(items, experiment, given.rounds)
            in_memory(given.rounds)
            resized_in_memory(given.rounds)
        steps = given.steps or (100 if gpu else 12)
        training(items, experiment, steps, given.rounds, decoded)


if __name__ == "__main__":
    main()
