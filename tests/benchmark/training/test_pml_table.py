"""A loss of pytorch-metric-learning in a table: checked before anything trains."""

from __future__ import annotations

from pathlib import Path

import pytest

from stt_bench.benchmark.suite import load_table
from stt_bench.benchmark.system.errors import BenchError


def table(folder: Path, loss: str, sampler: str = "{p: 4, k: 4}") -> Path:
    path = folder / "tiny.yaml"
    path.write_text(
        f"data: {{name: digits}}\nsampler: {sampler}\ntrain: {{steps: 9}}\nrows:\n"
        f"  a: {{loss: {loss}, memory: {{size: 64}}}}\n"
    )
    return path


def test_loss_and_miner_with_their_parameters(tmp_path: Path) -> None:
    loss = '{name: "pml:ContrastiveLoss", pos_margin: 0, miner: {name: BatchHardMiner}}'
    row = load_table(table(tmp_path, loss)).rows["a"]
    assert row.loss.params == {"pos_margin": 0, "miner": {"name": "BatchHardMiner"}}


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ('"pml:ContrastivLoss"', "did you mean 'ContrastiveLoss'"),
        ('{name: "pml:CircleLoss", gama: 80}', "did you mean 'gamma'"),
        ('{name: "pml:CircleLoss", miner: BatchHardMinr}', "did you mean 'BatchHardMiner'"),
        ('"pml:ArcFaceLoss"', "pml:ArcFaceLoss cannot have a memory"),
    ],
)
def test_mistakes(tmp_path: Path, loss: str, message: str) -> None:
    with pytest.raises(BenchError, match=f"line 5.*{message}") as caught:
        load_table(table(tmp_path, loss))
    assert "\n" not in str(caught.value)


def test_a_sampler_without_positives_is_refused(tmp_path: Path) -> None:
    path = table(tmp_path, '"pml:TripletMarginLoss"', "{p: 16, k: 1}")
    path.write_text(path.read_text().replace(", memory: {size: 64}", ""))
    with pytest.raises(BenchError, match="pml:TripletMarginLoss needs positives"):
        load_table(path)
