"""A cross-batch memory in a table: read, refused where it does not fit, kept in a checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.suite import load_table
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.training.objective import Objective

TABLE = """data: {name: digits}
sampler: {p: 4, k: 4}
train: {steps: 9}
rows:
  a: {loss: LOSS, memory: MEMORY}
"""


def table(folder: Path, loss: str, memory: str) -> Path:
    path = folder / "tiny.yaml"
    path.write_text(TABLE.replace("LOSS", loss).replace("MEMORY", memory))
    return path


def test_memory_stands_beside_the_loss(tmp_path: Path) -> None:
    text = "{size: 64, start_step: 3, order: after, weight: 0.5}"
    row = load_table(table(tmp_path, "contrastive", text)).rows["a"]
    assert row.memory is not None
    assert row.memory.model_dump() == {
        "size": 64,
        "start_step": 3,
        "order": "after",
        "weight": 0.5,
    }
    default = load_table(table(tmp_path, "supcon", "{}")).rows["a"].memory
    assert default is not None
    assert default.model_dump() == {"size": 8192, "start_step": 0, "order": "before", "weight": 1.0}


@pytest.mark.parametrize(
    ("loss", "memory", "message"),
    [
        ("softmax", "{}", "line 5.*softmax cannot have a memory"),
        ("npairs", "{}", "line 5.*npairs cannot have a memory"),
        ("lifted", "{}", "line 5.*lifted cannot have a memory"),
        (
            "contrastive",
            "{size: 15}",
            r"memory.size \(15\) must not be below the batch \(16",
        ),
        ("contrastive", "{sise: 64}", "did you mean 'size'"),
        ("contrastive", "{order: later}", "memory.order is .later"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, loss: str, memory: str, message: str) -> None:
    with pytest.raises(BenchError, match=message) as caught:
        load_table(table(tmp_path, loss, memory))
    assert "\n" not in str(caught.value)


def test_an_objective_that_is_resumed_ends_in_the_same_bytes() -> None:
    row = {
        "data": {"name": "digits"},
        "loss": {"name": "margin", "sampling": "distance"},
        "memory": {"size": 40, "start_step": 1, "order": "after"},
        "train": {"steps": 9},
    }
    experiment = Experiment.model_validate(row)

    def new() -> Objective:
        return Objective(experiment, num_classes=4, feature_dim=6, embedding_dim=6).train()

    def step(objective: Objective, number: int) -> float:
        torch.manual_seed(number)
        x = torch.randn(16, 6, requires_grad=True)
        total, parts = objective(x, x, torch.arange(16) // 4, number)
        assert set(parts) == {"ranking_loss"}
        return float(total.detach())

    whole = new()
    wanted = [step(whole, number) for number in range(6)]
    first = new()
    assert [step(first, number) for number in range(4)] == wanted[:4]
    second = new()
    second.load_state_dict(first.state_dict())
    assert [step(second, number) for number in (4, 5)] == wanted[4:]
    states = zip(second.state_dict().items(), whole.state_dict().items(), strict=True)
    for (name, mine), (_, theirs) in states:
        assert torch.equal(mine, theirs), name
    assert "memory_loss" in second.diagnostics()
