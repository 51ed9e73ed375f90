"""No plain step waits for the device, shown on a pretended GPU; numbers are read where due."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pretend_cuda import pretended_gpus
from small import CLASSES, Small, batch, experiment_of

from stt_bench.benchmark.training.finite import NotFiniteError, Watch
from stt_bench.benchmark.training.step import take_step
from stt_bench.losses import CrossBatchMemory, build_loss, loss_names

NAMES = loss_names()
MEMORIES = [
    name
    for name in NAMES
    if (loss := build_loss(name, num_classes=2, embedding_dim=2)).with_memory
    and loss.batch_layout == "any"
]
PHASES = [{"loss": "priming", "steps": 7}]
CASES: dict[str, dict[str, Any]] = {name: {"loss": name} for name in NAMES}
CASES["two-heads"] = {"loss": "center", "softmax_head": True, "loss_weight": 0.01}
CASES["phases"] = {"loss": "hard_triplet", "phases": PHASES}
CASES["adamw"] = {"loss": "softmax", "optimizer": {"name": "adamw"}}
CASES["average"] = {"loss": "softmax", "train": {"ema": 0.9}}
CASES["chunks"] = {"loss": "contrastive", "train": {"chunk": 7}}
CASES["float16"] = {"loss": "softmax", "train": {"precision": "float16"}}
CASES["bfloat16"] = {"loss": "hard_triplet", "train": {"precision": "bfloat16"}}
LONG = ("softmax", "phases")


@pytest.mark.parametrize("name", CASES)
def test_plain_steps_do_not_wait(name: str) -> None:
    given, steps = dict(CASES[name]), 20 if name in LONG else 3
    train = {"steps": 20, **given.pop("train", {})}
    experiment = experiment_of(**given, train=train)
    with pretended_gpus() as seen:
        learner, watch = Small(experiment, torch.float32, torch.device("cuda")), Watch()
        batches = [tuple(one.to("cuda") for one in batch(step)) for step in range(steps)]
        seen.forget()
        for step, (images, labels) in enumerate(batches):
            taken = take_step(learner, experiment, 0, step, images, labels)
            watch.note(step + 1, taken.loss, taken.overflow)
        assert not seen.waits
        watch.look()
        assert sum(seen.waits.values()) == 1


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("name", MEMORIES)
def test_a_memory_waits_after_it_was_loaded_only(name: str, order: str) -> None:
    """Forward alone: backward, autograd fills a diagonal in C++, where the GPU is the CPU."""
    with pretended_gpus() as seen:
        loss = build_loss(name, num_classes=CLASSES, embedding_dim=6)
        memory = CrossBatchMemory(loss, embedding_dim=6, size=40, start_step=2, order=order)
        memory = memory.to("cuda").train()
        rows, labels = torch.randn(20, 6).to("cuda"), batch(0)[1].to("cuda")
        seen.forget()
        for _ in range(6):
            memory(rows, labels)
        assert not seen.waits
        memory.load_state_dict(memory.state_dict())
        for _ in range(3):
            memory(rows, labels)
        assert sum(seen.waits.values()) == 2


def test_the_first_step_is_named() -> None:
    watch, fine, nan = Watch(), torch.zeros(()), torch.tensor(torch.nan)
    for step, (loss, overflow) in enumerate([(fine, fine), (fine, fine + 1), (nan, fine)], start=1):
        watch.note(step, loss, overflow)
    with pytest.raises(NotFiniteError, match="a gradient is not finite at step 2"):
        watch.look()
    watch.look()  # what was looked at is not looked at again
