"""What a step of each loss costs: forward and backward, beside a peer, a bare distance, a roofline.

At the first size every loss takes turns with its counterpart in pytorch-metric-learning, at the
second with a bare pairwise distance in float32 (forward and backward); all times are medians. At
the third the table has the memory that a step adds at its peak, on a CPU each loss in a process of
its own.
Batches are classes of 8 rows of length about 1, with D = 512. The peer's N-pairs loss reads one
pair of each class, ours all pairs of rows, so a second line has classes of two rows, where both do
the same work. A loss without a counterpart has "—"; so have `ntxent`, whose counterpart holds every
positive pair beside every negative one, gigabytes at the first size, and `smooth_ap`, whose
counterpart computes something else. That of `lifted` takes a minute a step, is timed once, and is
left out by `--skip-lifted-peer`.

    python tests/perf/loss_cost.py [--device cpu] [--threads 2] [--sizes 512 1024 4096]

On CUDA there is a roofline column for the losses that hold a distance matrix: the least time of
their step at the second size, from the rates this device was just measured to have. The model:
2·B²·D operations for each matrix product (one in float64 forward, and one in float32 backward
unless the backward pass is over selected rows only), at the rate of a large product; and each
B × B matrix written once and read once (float64 products forward, and distances unless rows are
only chosen; the gradient, and the weights made of it, backward), at the rate of a large copy.
Sorting is not in it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from pytorch_metric_learning import distances as peer_distances
from pytorch_metric_learning import losses as peer_losses
from pytorch_metric_learning import miners as peer_miners
from pytorch_metric_learning import reducers as peer_reducers

from stt_bench.benchmark.system.devices import device_name
from stt_bench.benchmark.system.machine import peak_memory_mib, restart_peak_memory
from stt_bench.benchmark.timing.stopwatch import take_turns
from stt_bench.losses import build_loss, loss_names

DIM = 512
CLASS_SIZE = 8
BACKWARD_PRODUCT = {  # for the losses that hold a distance matrix: has the backward pass one?
    **dict.fromkeys(("hard_triplet", "priming"), False),
    **dict.fromkeys(("batch_all_triplet", "contrastive", "lifted", "semi_hard_triplet"), True),
    **dict.fromkeys(("multi_similarity", "supcon", "ntxent", "circle", "easy_positive"), True),
}

# Freed at once, so that the C library keeps what is freed later, as it does in any training. Else
# every tensor of a step is new memory, and both sides are timed at the system's zeroing of pages.
KEPT = 31 * 2**18  # numbers; 31 MiB, just below what glibc gives back at once

Step = Callable[[], float]


class Rates(NamedTuple):
    """Operations a second in float64 and float32, and bytes copied a second."""

    float64: float
    float32: float
    copied: float


Function = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def peers() -> dict[str, Function]:
    """Return the counterparts of pytorch-metric-learning, by the name of our loss."""
    plain = peer_distances.LpDistance(normalize_embeddings=False)
    squared = peer_distances.LpDistance(power=2)
    hard = peer_losses.TripletMarginLoss(margin=1.0, distance=plain)
    hard_miner = peer_miners.BatchHardMiner(distance=plain)
    semi = peer_losses.TripletMarginLoss(margin=0.2, distance=squared)
    semi_miner = peer_miners.TripletMarginMiner(0.2, "semihard", distance=squared)
    similar, easy = peer_losses.MultiSimilarityLoss(), peer_losses.NTXentLoss(temperature=0.1)
    similar_miner = peer_miners.MultiSimilarityMiner(epsilon=0.1)
    easy_miner = peer_miners.BatchEasyHardMiner(pos_strategy="easy", neg_strategy="hard")
    return {
        "hard_triplet": lambda x, y: hard(x, y, hard_miner(x, y)),
        "semi_hard_triplet": lambda x, y: semi(x, y, semi_miner(x, y)),
        "batch_all_triplet": peer_losses.TripletMarginLoss(
            margin=0.5, distance=plain, reducer=peer_reducers.AvgNonZeroReducer()
        ),
        "lifted": peer_losses.LiftedStructureLoss(distance=plain),
        "npairs": peer_losses.NPairsLoss(
            distance=peer_distances.DotProductSimilarity(normalize_embeddings=False)
        ),
        "angular": peer_losses.AngularLoss(alpha=45),
        "contrastive": peer_losses.ContrastiveLoss(),
        "multi_similarity": lambda x, y: similar(x, y, similar_miner(x, y)),
        "supcon": peer_losses.SupConLoss(),
        "circle": peer_losses.CircleLoss(),
        "easy_positive": lambda x, y: easy(x, y, easy_miner(x, y)),
    }


def bare(x: torch.Tensor, _labels: torch.Tensor) -> torch.Tensor:
    """Return the sum of all distances, in the fewest operations."""
    lengths = x.square().sum(1)
    squares = lengths[:, None] + lengths - 2 * x @ x.T
    return squares.clamp(min=1e-12).sqrt().sum()


def timed(function: Function, size: int, device: torch.device, members: int = CLASS_SIZE) -> Step:
    """Return a forward and backward pass of one batch that says how many seconds it took."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(size, DIM, generator=generator) / DIM**0.5
    x = x.to(device).requires_grad_()
    y = (torch.arange(size) // members).to(device)

    def step() -> float:
        x.grad = None
        wait(device)
        start = time.perf_counter()
        function(x, y).backward()
        wait(device)
        return time.perf_counter() - start

    return step


def ours(name: str, size: int, device: torch.device, members: int = CLASS_SIZE) -> Step:
    """Return the step of one of our losses, with its defaults."""
    loss = build_loss(name, num_classes=size // members, embedding_dim=DIM)
    return timed(loss.to(device), size, device, members)


def wait(device: torch.device) -> None:
    """Wait until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def milliseconds(steps: list[Step], repeats: int) -> list[float]:
    """Return the median of each step; the steps take turns, after two rounds to warm up."""
    rng = np.random.default_rng(0)
    take_turns(steps, 2, rng)
    return [1e3 * float(value) for value in np.median(take_turns(steps, repeats, rng), 0)]


def beside_peer(
    name: str,
    size: int,
    device: torch.device,
    repeats: int,
    skip: bool = False,
    members: int = CLASS_SIZE,
) -> list[str]:
    """Return our time, the counterpart's, and how many times ours the counterpart's is."""
    step = ours(name, size, device, members)
    peer = peers().get(name)
    if peer is None or (name == "lifted" and skip):
        return [f"{milliseconds([step], repeats)[0]:.2f}", "—", "—"]
    peer_step = timed(peer, size, device, members)
    try:
        if name == "lifted":
            mine, theirs = milliseconds([step], repeats)[0], 1e3 * peer_step()
        else:
            mine, theirs = milliseconds([step, peer_step], repeats)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise
        return [f"{milliseconds([step], repeats)[0]:.2f}", "out of memory", "—"]
    return [f"{mine:.2f}", f"{theirs:.2f}", f"{theirs / mine:.1f}×"]


def beside_bare(
    name: str, size: int, device: torch.device, repeats: int, rates: Rates | None
) -> list[str]:
    """Return our time, how many times the bare distance that is, and on CUDA the roofline."""
    steps = [ours(name, size, device), timed(bare, size, device)]
    mine, least = milliseconds(steps, repeats)
    cells = [f"{mine:.2f}", f"{mine / least:.1f}×"]
    if rates is not None:
        cells.append(f"{roofline(name, size, rates):.2f}" if name in BACKWARD_PRODUCT else "—")
    return cells


def roofline(name: str, size: int, rates: Rates) -> float:
    """Return the least milliseconds of a step, by the model at the top of this file."""
    product, pairs = 2 * size**2 * DIM, size**2
    seconds = product / rates.float64 + pairs * 2 * 8 / rates.copied
    if BACKWARD_PRODUCT[name]:
        seconds += pairs * 2 * 4 / rates.copied  # the distances
        seconds += product / rates.float32 + pairs * 2 * (4 + 4) / rates.copied
    return 1e3 * seconds


def device_rates(device: torch.device) -> Rates:
    """Measure the operations of a large matrix product and the bytes of a large copy, a second."""
    matrix = torch.randn(4096, 4096, dtype=torch.float64, device=device)
    single = matrix.float()
    target = torch.empty_like(matrix)

    def seconds(action: Callable[[], object]) -> Step:
        def step() -> float:
            wait(device)
            start = time.perf_counter()
            action()
            wait(device)
            return time.perf_counter() - start

        return step

    wide, narrow, copy = milliseconds(
        [
            seconds(lambda: matrix @ matrix),
            seconds(lambda: single @ single),
            seconds(lambda: target.copy_(matrix)),
        ],
        15,
    )
    operations = 2 * 4096**3
    return Rates(
        operations / (1e-3 * wide), operations / (1e-3 * narrow), 2 * matrix.nbytes / (1e-3 * copy)
    )


def peak(name: str, given: argparse.Namespace) -> str:
    """Return the GiB that a step adds at its peak; a CPU's in a process of its own."""
    if given.device != "cpu":
        try:
            return added_at_peak(name, given.sizes[2], torch.device(given.device))
        except torch.OutOfMemoryError:
            return "out of memory"
    command = [sys.executable, __file__, "--peak-of", name, "--device", given.device]
    sizes = ["--sizes", *map(str, given.sizes), "--threads", str(given.threads)]
    done = subprocess.run(command + sizes, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else "out of memory"


def added_at_peak(name: str, size: int, device: torch.device) -> str:
    """Return the GiB that a step adds to what there was before it."""
    ours(name, CLASS_SIZE * 2, device)()  # what the libraries take once is not the step's
    step = ours(name, size, device)
    restart_peak_memory(device)
    before = peak_memory_mib(device)
    step()
    return f"{(peak_memory_mib(device) - before) / 2**10:.2f}"


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--device", default="cpu")
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--sizes", type=int, nargs=3, default=(512, 1024, 4096))
    options.add_argument("--repeats", type=int, default=15)
    options.add_argument("--losses", nargs="+", default=loss_names(), choices=loss_names())
    options.add_argument("--skip-lifted-peer", action="store_true")
    options.add_argument("--peak-of", help=argparse.SUPPRESS)
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    torch.ones(KEPT)
    device = torch.device(given.device)
    first, second, third = given.sizes
    if given.peak_of:
        print(added_at_peak(given.peak_of, third, device))
        return
    header = ["loss", f"ms, B = {first}", "peer ms", "peer ÷ ours", f"ms, B = {second}", "÷ bare"]
    rates = device_rates(device) if device.type == "cuda" else None
    if rates is not None:
        header.append("roofline ms")
        print(
            f"measured: {rates.float64 / 1e12:.1f} TFLOP/s in float64, "
            f"{rates.float32 / 1e12:.1f} in float32, {rates.copied / 1e9:.0f} GB/s\n"
        )
    header.append(f"peak GiB, B = {third}")
    print(f"{device_name(device)}, {given.threads} threads, torch {torch.__version__}\n")
    print(f"| {' | '.join(header)} |\n|---|{'---:|' * (len(header) - 1)}")
    for name in given.losses:
        cells = beside_peer(name, first, device, given.repeats, given.skip_lifted_peer)
        cells += beside_bare(name, second, device, given.repeats, rates)
        print(f"| {' | '.join([name, *cells, peak(name, given)])} |", flush=True)
        if name == "npairs":
            same = beside_peer(name, first, device, given.repeats, members=2)
            blank = [""] * (len(header) - 4)
            print(f"| {' | '.join(['npairs, classes of two', *same, *blank])} |", flush=True)


if __name__ == "__main__":
    main()
