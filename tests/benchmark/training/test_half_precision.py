"""Half precision: the network's alone, with gradients at their true size; compiled networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from small import Small, batch, experiment_of

from stt_bench.benchmark.store.runs import run_of
from stt_bench.benchmark.suite import load_table
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.training import compiled as compiling
from stt_bench.benchmark.training.objective import Objective
from stt_bench.benchmark.training.step import take_step
from stt_bench.benchmark.training.train import train

TWO_HEADS = {"loss": "hard_triplet", "softmax_head": True, "loss_weight": 0.5}


def taken(precision: str, scale: float | None = None) -> Small:
    experiment = experiment_of("softmax", train={"precision": precision})
    learner = Small(experiment, torch.float32)
    if scale is not None:
        learner.scaler.load_state_dict(learner.scaler.state_dict() | {"scale": scale})
    take_step(learner, experiment, 0, 0, *batch(0))
    return learner


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_losses_see_float32(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the very embeddings that the step gave, the loss is that of a float64 objective."""
    experiment = experiment_of(**TWO_HEADS, train={"precision": precision})
    learner, seen = Small(experiment, torch.float32), []
    forward = Objective.forward
    double = Small(experiment).objective

    def watched(objective: Objective, *args: Any) -> Any:
        seen.append([one.detach() for one in args[:2]])
        return forward(objective, *args)

    monkeypatch.setattr(Objective, "forward", watched)
    step = take_step(learner, experiment, 0, 0, *batch(0))
    features, embeddings = seen[0]
    assert {one.dtype for one in (features, embeddings, step.loss)} == {torch.float32}
    wanted, _ = forward(double, features.double(), embeddings.double(), step.labels, 0)
    torch.testing.assert_close(step.loss.double(), wanted.detach(), rtol=1e-6, atol=1e-6)


def test_the_scale_of_the_loss_is_taken_out_of_the_gradients() -> None:
    """Powers of two change no digit, and gradients are those of float32 to half precision."""
    one, other, whole = taken("float16", 2.0**4), taken("float16", 2.0**10), taken("float32")
    for name, gradient in whole.gradients().items():
        size = gradient.abs().max()
        for half in (one, other):
            assert (half.gradients()[name] - gradient).abs().max() < 0.05 * size, name


@pytest.mark.parametrize("chunk", ["null", "5"])
def test_a_compiled_network_trains_as_the_plain_one(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: str
) -> None:
    """By the backend that needs no compiler; the way through torch.compile is the same."""
    monkeypatch.setattr(compiling, "BACKEND", "eager")
    weights = []
    for more in ([], ["train.compile=true"]):
        table = load_table(str(tiny), ["train.steps=2", f"train.chunk={chunk}", *more])
        run = run_of(table, "hard", 0, tmp_path / str(len(more)))
        train(run, Reporter(quiet=True))
        weights.append(safetensors.torch.load_file(run.weights))
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, msg=name)


def test_without_a_compiler_it_says_so_and_trains(
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        def call(_: Any) -> Any:
            raise RuntimeError("no working C++ compiler\nfound in /usr/bin")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    table = load_table(str(tiny), ["train.steps=2", "train.compile=true"])
    run = run_of(table, "hard", 0, tmp_path)
    train(run, Reporter())
    assert run.is_trained
    said = capsys.readouterr().err
    assert "train.compile: the network cannot be compiled here (no working C++ compiler)" in said
    assert said.count("it trains without") == 1


class Layers(torch.nn.Module):
    """Batch norm and dropout, then what is compiled apart, since a graph ends between them."""

    def __init__(self, last: Any = torch.sin) -> None:
        super().__init__()
        self.first = torch.nn.Sequential(torch.nn.BatchNorm1d(4), torch.nn.Dropout(0.5))
        self.last = last

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        made = self.first(x)
        torch._dynamo.graph_break()
        return made, self.last(made)


def outcome(network: Any, layers: Layers) -> list[torch.Tensor]:
    torch.manual_seed(0)
    made = [*network(torch.arange(12.0).reshape(3, 4)), *network(torch.ones(2, 4))]
    return [*made, torch.rand(2), *layers.state_dict().values()]


def test_a_network_that_cannot_be_compiled_is_that_of_a_training_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The compiler fails at its second graph, when the first has drawn and moved the statistics."""
    graphs: list[Any] = []

    def fails(graph: Any, _: Any) -> Any:
        graphs.append(graph)
        if len(graphs) == 2:
            raise NotImplementedError("cannot lower sin")
        return graph

    monkeypatch.setattr(compiling, "BACKEND", fails)
    torch._dynamo.reset()
    plain, layers, warned = Layers(), Layers(), list[str]()
    wanted = outcome(plain, plain)
    found = outcome(compiling.Compiled(layers, warned.append), layers)
    assert len(graphs) == 2
    assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))
    (told,) = warned
    assert told.startswith("train.compile: the network cannot be compiled here (")
    assert "cannot lower sin" in told


@pytest.mark.parametrize("fails", [True, False])
def test_a_backward_pass_that_cannot_be_compiled_is_one_of_a_training_without(
    monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    from functorch.compile import make_boxed_func
    from torch._dynamo.backends.common import aot_autograd

    def backward(graph: Any, _: Any) -> Any:
        if fails:
            raise NotImplementedError("cannot lower the backward")
        return make_boxed_func(graph)

    backend = aot_autograd(
        fw_compiler=lambda graph, _: make_boxed_func(graph), bw_compiler=backward
    )
    monkeypatch.setattr(compiling, "BACKEND", backend)
    torch._dynamo.reset()
    gradients = []
    warned = list[str]()
    for kind in ("plain", "compiled"):
        layers = Layers()
        call = layers if kind == "plain" else compiling.Compiled(layers, warned.append)
        torch.manual_seed(5)
        for _ in range(2):
            sum(one.sum() for one in call(torch.ones(2, 4))).backward()
        gradients.append([*(one.grad for one in layers.parameters()), *layers.buffers()])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))
    assert [("cannot lower the backward" in told) for told in warned] == [True] * fails


@pytest.mark.parametrize(
    "error", [ValueError("wrong shape"), torch.OutOfMemoryError("CUDA out of memory")]
)
def test_an_error_of_the_network_or_full_memory_is_no_matter_of_compiling(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def last(_: torch.Tensor) -> torch.Tensor:
        calls.append(error)
        raise error

    calls, warned = list[Exception](), list[str]()
    monkeypatch.setattr(torch, "compile", lambda call, **_: call)
    with pytest.raises(type(error), match=str(error)):
        compiling.Compiled(Layers(last), warned.append)(torch.ones(2, 4))
    assert not warned
    assert len(calls) == (2 if isinstance(error, ValueError) else 1)
