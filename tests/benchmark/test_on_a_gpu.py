"""What only a real GPU can show: nobody waits, seeds repeat, memory that is full, TF32.

None of it has been run yet: no GPU was at hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from stt_bench.benchmark.datasets import load_items
from stt_bench.benchmark.embedding.embed import embed
from stt_bench.benchmark.store.embedding_set import read_embedding_set
from stt_bench.benchmark.store.runs import run_of
from stt_bench.benchmark.suite import load_table
from stt_bench.benchmark.system.devices import set_float32
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.memory import full_memory_told
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.training.learner import Learner
from stt_bench.benchmark.training.step import take_step
from stt_bench.benchmark.training.train import train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here"),
]
QUIET = Reporter(quiet=True)
SECTIONS = ("train", "evaluation")


@contextmanager
def waiting_refused() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("row", ["softmax", "hard", "two_head", "center"])
def test_a_step_never_waits(tiny: Path, row: str, precision: str) -> None:
    experiment = load_table(str(tiny), [f"train.precision={precision}"]).rows[row]
    learner = Learner(experiment, load_items(experiment.data), torch.device("cuda"))
    images = torch.randint(0, 256, (16, 1, 16, 16), dtype=torch.uint8, device="cuda")
    labels = (torch.arange(16, device="cuda")) // 4
    take_step(learner, experiment, 0, 0, images, labels)  # the first sets things up
    with waiting_refused():
        take_step(learner, experiment, 0, 1, images, labels)


@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16", "float16"])
def test_the_same_seed_embeds_the_same(tiny: Path, tmp_path: Path, precision: str) -> None:
    settings = ["train.device=cuda", *(f"{one}.precision={precision}" for one in SECTIONS)]
    found = []
    for folder in ("a", "b"):
        run = run_of(load_table(str(tiny), settings), "two_head", 0, tmp_path / folder)
        train(run, QUIET)
        found.append(np.array(read_embedding_set(embed(run, QUIET)).embeddings))
    assert found[0].tobytes() == found[1].tobytes()


def test_full_memory_is_told_and_given_back() -> None:
    free, _ = torch.cuda.mem_get_info()

    def too_much() -> None:
        kept = [torch.empty(free // 2, dtype=torch.uint8, device="cuda") for _ in range(3)]
        pytest.fail(f"{len(kept)} halves of what is free fit")

    told = r"the GPU's memory is full \([0-9.]+ GiB more were asked for, of .* in all\)"
    with pytest.raises(BenchError, match=told), full_memory_told("t", "train"):
        too_much()
    again, _ = torch.cuda.mem_get_info()
    assert again > 0.9 * free


def test_float32_is_float32() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(8, 64, 16, 16, generator=generator)
    weight = torch.randn(64, 64, 3, 3, generator=generator)
    exact = torch.nn.functional.conv2d(x.double(), weight.double())
    set_float32(tf32=False)
    found = torch.nn.functional.conv2d(x.cuda(), weight.cuda()).cpu().double()
    # 576 products of 24 bits each: far below the 2⁻¹¹ of TF32.
    assert ((found - exact).abs().max() / exact.abs().max()) < 2.0**-18
