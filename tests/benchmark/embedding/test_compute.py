"""Embedding on a device: precision, memory layout, and rows that come back in large pieces."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch

from stt_bench.benchmark.config.evaluation_section import EvaluationConfig
from stt_bench.benchmark.datasets import load_items
from stt_bench.benchmark.embedding import compute
from stt_bench.benchmark.embedding.compute import Embedder, Rows
from stt_bench.benchmark.embedding.embed import embed
from stt_bench.benchmark.embedding.forward import forward
from stt_bench.benchmark.store.embedding_set import read_embedding_set
from stt_bench.benchmark.store.runs import run_of
from stt_bench.benchmark.suite import load_table
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.processes import Processes
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.training.learner import new_model
from stt_bench.benchmark.training.train import train

QUIET = Reporter(quiet=True)


@pytest.fixture
def model(tiny: Path):
    experiment = load_table(str(tiny)).rows["softmax"]
    torch.manual_seed(0)
    network, objective = new_model(experiment, 5)
    images = torch.randint(0, 256, (6, 1, 16, 16), dtype=torch.uint8)
    return network.eval(), objective.eval(), images


def test_nothing_said_is_the_plain_network(model) -> None:
    network, objective, images = model
    found, scores = Embedder(network, objective, EvaluationConfig()).embed([images])
    with torch.no_grad():
        features, expected = network(images)
        assert torch.equal(found, expected)
        assert torch.equal(scores, objective.logits(features, expected))


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_is_of_the_network_alone(model, precision: str) -> None:
    network, objective, images = model
    config = EvaluationConfig(precision=precision)
    found, scores = Embedder(network, objective, config).embed([images, images])
    with torch.no_grad(), torch.autocast("cpu", dtype=getattr(torch, precision)):
        features, expected = network(images)
    assert torch.equal(found, expected)
    assert not torch.equal(found, network(images)[1])
    assert found.dtype == scores.dtype == torch.float32
    assert torch.equal(scores, objective.logits(features, expected))


def test_channels_last_is_asked_for() -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    for wanted, device, last in (
        (None, cpu, False),
        (True, cpu, True),
        (None, gpu, True),
        (False, gpu, False),
    ):
        found = compute.layout_of(EvaluationConfig(channels_last=wanted), device)
        assert (found == torch.channels_last) is last


@pytest.mark.parametrize("held", [0, 2**26])
@pytest.mark.parametrize("with_scores", [True, False])
def test_rows_come_back_in_their_places(monkeypatch, held: int, with_scores: bool) -> None:
    monkeypatch.setattr(compute, "HELD", held)
    rng = np.random.default_rng(0)
    x, scores = rng.standard_normal((10, 3)), rng.standard_normal((10, 2))
    found = Rows(10)
    for rows in (slice(0, 4), slice(4, 8), slice(8, 10)):
        logits = torch.from_numpy(scores[rows]) if with_scores else None
        found.add(rows, torch.from_numpy(x[rows]), logits)
    embeddings, logits = found.arrays()
    assert (embeddings == x.astype(np.float32)).all()
    assert (logits is not None) == with_scores
    if with_scores:
        assert (logits == scores.astype(np.float32)).all()


def test_the_precision_is_in_the_protocol_and_makes_another_set(tiny: Path, tmp_path: Path) -> None:
    run = run_of(load_table(str(tiny)), "softmax", 0, tmp_path)
    train(run, QUIET)
    before = read_embedding_set(embed(run, QUIET))
    half = run_of(load_table(str(tiny), ["evaluation.precision=bfloat16"]), "softmax", 0, tmp_path)
    half.save()
    after = read_embedding_set(embed(half, QUIET))
    assert after.meta["protocol_fingerprint"] != before.meta["protocol_fingerprint"]
    assert not np.array_equal(after.embeddings, before.embeddings)
    np.testing.assert_allclose(after.embeddings, before.embeddings, atol=0.1)
    assert "channels_last" not in before.meta
    last = run_of(load_table(str(tiny), ["evaluation.channels_last=true"]), "softmax", 0, tmp_path)
    last.save()
    assert read_embedding_set(embed(last, QUIET)).meta["channels_last"] is True


def test_full_memory_while_embedding_says_what_to_lower(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(load_table(str(tiny)), "softmax", 0, tmp_path)
    train(run, QUIET)

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(Embedder, "embed", full)
    with pytest.raises(BenchError, match=r"tiny/softmax/seed-0: .*full.*evaluation\.batch_size"):
        embed(run, QUIET)


class First(Processes):
    """The first of three processes, whose others are not there."""

    def __init__(self) -> None:
        super().__init__(size=3)
        self.first = nullcontext  # type: ignore[assignment]
        self.merged: list[bool] = []

    def merge(self, array: np.ndarray | None, parts: Sequence[slice]) -> None:
        self.merged.append(array is not None and parts[0].stop < len(array))


def test_several_processes_tell_how_many_images_all_of_them_embed(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = ["train.steps=0", "evaluation.batch_size=100"]
    run = run_of(load_table(str(tiny), changes), "softmax", 0, tmp_path)
    train(run, QUIET)
    capsys.readouterr()
    items, shared_by = load_items(run.experiment.data), First()
    forward(run, run.facts(), items, "test", Reporter(line_every=0), shared_by)
    assert shared_by.merged == [True, True]
    count, told = len(items.split("test")), capsys.readouterr().err
    assert re.findall(r"embed: ([0-9/,]+), 3 processes, took", told) == [f"{count:,}/{count:,}"]
    under_way = re.findall(r"embed: ([0-9,]+)/([0-9,]+), 3 processes, .* left", told)
    assert {whole for _, whole in under_way} == {f"{count:,}"}
