"""What only a real GPU can show: nobody waits, seeds repeat, memory that is full, TF32."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch
from command_line import Command

from stt_bench.benchmark.cli.several import _follow
from stt_bench.benchmark.datasets import load_items
from stt_bench.benchmark.embedding.embed import embed
from stt_bench.benchmark.store.embedding_set import read_embedding_set
from stt_bench.benchmark.store.runs import Run, run_of
from stt_bench.benchmark.suite import load_table
from stt_bench.benchmark.system.devices import set_float32
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.memory import full_memory_told
from stt_bench.benchmark.system.orders import end_orders, watch
from stt_bench.benchmark.system.processes import join_by
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


def trained(tiny: Path, row: str, folder: Path, *settings: str) -> Run:
    run = run_of(load_table(str(tiny), ["train.device=cuda", *settings]), row, 0, folder)
    train(run, QUIET)
    return run


def weights(run: Run) -> dict[str, np.ndarray]:
    return safetensors.numpy.load_file(run.weights)


def assert_close(run: Run, other: Run, rtol: float = 1e-3, atol: float = 1e-4) -> None:
    mine, wanted = weights(run), weights(other)
    for name, value in wanted.items():
        np.testing.assert_allclose(mine[name], value, rtol=rtol, atol=atol, err_msg=name)


@pytest.mark.parametrize(
    "setting",
    ["precision=float32", "precision=bfloat16", "chunk=8", "ema=0.9"],
)
@pytest.mark.parametrize("row", ["softmax", "hard", "two_head", "center"])
def test_a_step_never_waits(tiny: Path, row: str, setting: str) -> None:
    experiment = load_table(str(tiny), [f"train.{setting}"]).rows[row]
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


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_stopped_run_ends_in_the_same_bytes(
    tiny: Path, tmp_path: Path, precision: str, killed_at: Any
) -> None:
    settings = f"train.precision={precision}", "optimizer.schedule=cosine"
    whole = trained(tiny, "two_head", tmp_path / "whole", *settings)
    with killed_at(7):
        trained(tiny, "two_head", tmp_path / "parted", *settings)
    parted = trained(tiny, "two_head", tmp_path / "parted", *settings)
    assert parted.weights.read_bytes() == whole.weights.read_bytes()


def test_processes_that_make_batches_change_no_byte(tiny: Path, tmp_path: Path) -> None:
    runs = [trained(tiny, "two_head", tmp_path / n, f"train.workers={n}") for n in ("0", "2")]
    assert runs[0].weights.read_bytes() == runs[1].weights.read_bytes()


SGD = "optimizer.name=sgd", "optimizer.lr=0.05"


@pytest.mark.parametrize("more", ["train.chunk=5", "train.compile=true"])
def test_the_weights_are_those_of_the_plain_step(
    tiny: Path, tmp_path: Path, more: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = trained(tiny, "two_head", tmp_path / "plain", *SGD)
    assert_close(trained(tiny, "two_head", tmp_path / "other", *SGD, more), plain)
    assert "train.compile" not in capsys.readouterr().err


def test_a_gpu_trains_as_a_cpu_does(tiny: Path, tmp_path: Path) -> None:
    for row in ("softmax", "hard", "two_head", "center"):
        there = trained(tiny, row, tmp_path / "gpu", *SGD)
        assert_close(trained(tiny, row, tmp_path / "cpu", *SGD, "train.device=cpu"), there)


def test_a_table_runs_on_a_gpu(tiny: Path, tmp_path: Path, stt_bench: Command) -> None:
    """Two runs at a time share the GPU."""
    where = ["--runs", tmp_path / "runs", "--results", tmp_path / "results"]
    settings = ["--set", "train.device=cuda", "--set", "train.precision=bfloat16"]
    done = stt_bench("run", tiny, *settings, *where, "--jobs", 2)
    assert done.returncode == 0, done.stderr
    assert torch.cuda.get_device_name() in (tmp_path / "results" / "tiny.md").read_text()


def _work_together(rank: int, port: int, tiny: Path, folder: Path) -> None:
    """Be one of two processes on one GPU: by gloo, since NCCL wants a GPU for each."""
    from torch import distributed

    begin = distributed.init_process_group
    distributed.init_process_group = lambda _, **given: begin("cpu:gloo,cuda:gloo", **given)
    os.environ["LOCAL_RANK"] = "0"
    present = join_by(distributed.TCPStore("127.0.0.1", port), rank, 2)
    watch()
    if present.leads:
        for row in ("center", "two_head"):
            run = trained(tiny, row, folder, *SGD, "sampler.p=3", "train.chunk=5")
            embed(run, QUIET)
        end_orders()
    else:
        _follow()


def test_two_processes_train_as_one(tiny: Path, tmp_path: Path) -> None:
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    spawn = multiprocessing.get_context("spawn")
    given = store.port, tiny, tmp_path / "two"
    children = [spawn.Process(target=_work_together, args=(rank, *given)) for rank in range(2)]
    for child in children:
        child.start()
    for row in ("center", "two_head"):
        alone = trained(tiny, row, tmp_path / "one", *SGD, "sampler.p=3")
        if row == "center":
            for child in children:
                child.join(300)
            assert [child.exitcode for child in children] == [0, 0]
        settings = [*SGD, "sampler.p=3", "train.chunk=5", "train.device=cuda"]
        shared = run_of(load_table(str(tiny), settings), row, 0, tmp_path / "two")
        assert shared.facts().processes == 2
        assert_close(shared, alone)


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
