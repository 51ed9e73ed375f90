"""Steps that the loss scaler skips, counted against a plain loop."""

import errno
import json
import math
import threading

import pytest
import torch
from torch import nn

from stt_bench.benchmark.store.facts import Training
from stt_bench.benchmark.store.runs import run_of
from stt_bench.benchmark.suite import load_table
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.training import scaling
from stt_bench.benchmark.training.log import TrainingLog
from stt_bench.benchmark.training.scaling import LossScaler, many
from stt_bench.benchmark.training.train import train

CPU = torch.device("cpu")


def steps(scaler, gradients, weight, optimizer):
    for gradient in gradients:
        optimizer.zero_grad()
        scaler.scale((weight * gradient).sum()).backward()
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()


def test_skipped_steps_are_counted_and_kept():
    weight = nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    scaler = LossScaler(CPU, enabled=True)
    gradients = [1.0, torch.inf, 2.0, torch.nan, torch.inf, 3.0]
    steps(scaler, gradients, weight, optimizer)
    assert scaler.skipped == 3
    assert weight.tolist() == [-6.0, -6.0]  # those of the finite gradients alone
    later = LossScaler(CPU, enabled=True)
    later.load_state_dict(scaler.state_dict())
    steps(later, [torch.inf, 1.0], weight, optimizer)
    assert later.skipped == 4
    assert later.get_scale() == scaler.get_scale() / 2


def test_a_scale_that_has_come_to_nothing_counts_too():
    scaler = LossScaler(CPU, enabled=True)
    weight = nn.Parameter(torch.zeros(1))
    steps(scaler, [torch.inf] * 200, weight, torch.optim.SGD([weight], lr=1.0))
    assert scaler.skipped == 200
    assert many(200, 3999)
    assert not many(200, 4000)
    assert not many(10, 10)
    assert not many(None, 10)


def test_without_float16_nothing_is_counted():
    scaler = LossScaler(CPU, enabled=False)
    weight = nn.Parameter(torch.zeros(1))
    steps(scaler, [1.0], weight, torch.optim.SGD([weight], lr=1.0))
    assert scaler.skipped is None
    assert scaler.state_dict() == {}
    scaler.load_state_dict({})


def test_a_checkpoint_of_before_steps_were_counted_continues():
    scaler = LossScaler(CPU, enabled=True)
    weight = nn.Parameter(torch.zeros(1))
    steps(scaler, [torch.inf], weight, torch.optim.SGD([weight], lr=1.0))
    state = {name: one for name, one in scaler.state_dict().items() if name != "skipped"}
    later = LossScaler(CPU, enabled=True)
    later.load_state_dict(state)
    assert later.skipped == 0


def _strict(text):
    """Read JSON as its standard says: without NaN and Infinity."""
    return json.loads(text, parse_constant=lambda constant: pytest.fail(f"{constant} in JSON"))


def test_skipped_steps_are_told(tiny, tmp_path, at_step, monkeypatch, capfd):
    monkeypatch.setattr(scaling, "MANY", (0, 0.0))

    def overflow(objective):
        weight = objective.softmax.linear.weight
        handle = weight.register_hook(lambda gradient: [handle.remove(), gradient * torch.inf][1])

    table = load_table(str(tiny), ["train.precision=float16", "train.log_every=1"])
    run = run_of(table, "softmax", 0, tmp_path)
    with at_step(3, overflow):
        facts = train(run, Reporter(quiet=True))
    entries = [_strict(line) for line in run.metrics.read_text().splitlines()]
    assert [entry["skipped_steps"] for entry in entries] == [0] * 3 + [1] * 9
    assert entries[3]["gradient_norm"] is None
    assert all(math.isfinite(entry["gradient_norm"]) for entry in entries[4:])
    assert _strict(run.training.read_text())["skipped_steps"] == facts.skipped_steps == 1
    warnings = [line for line in capfd.readouterr().err.splitlines() if "float16 skips" in line]
    assert len(warnings) == 1
    assert "use train.precision: bfloat16" in warnings[0]


def test_what_cannot_skip_says_nothing_of_it(tiny, tmp_path):
    run = run_of(load_table(str(tiny)), "softmax", 0, tmp_path)
    train(run, Reporter(quiet=True))
    assert "skipped" not in run.metrics.read_text() + run.training.read_text()
    written = json.loads(run.training.read_text())
    told = {name: written[name] for name in Training.model_fields if name in written}
    assert Training.model_validate(told).model_dump(mode="json") == told


def test_a_log_is_json_also_where_an_earlier_version_wrote_none(tiny, tmp_path):
    run = run_of(load_table(str(tiny)), "softmax", 0, tmp_path)
    run.save()
    run.metrics.write_text('{"step": 1, "loss": 2.50}\n{"step": 2, "loss": 3.0, "a": Infinity}\n')
    with TrainingLog(run, 2, Reporter(quiet=True)) as log:
        log.write({"step": 3, "loss": 1.0, "a": math.nan, "b": -math.inf})
    first, *others = run.metrics.read_text().splitlines()
    assert first == '{"step": 1, "loss": 2.50}'  # as it was
    assert [_strict(line) for line in others] == [
        {"step": 2, "loss": 3.0, "a": None},
        {"step": 3, "loss": 1.0, "a": None, "b": None},
    ]


@pytest.mark.parametrize("also_here", [False, True])
def test_a_full_disk_in_the_thread_of_tensorboard_is_told_once(
    also_here, tiny, tmp_path, monkeypatch
):
    """While the log is opened, too; what the thread meets, the next write of ours tells."""

    class FullDisk:
        def __init__(self, *_args, **_settings):
            thread = threading.Thread(target=self.fail)
            thread.start()
            thread.join()
            if also_here:
                self.fail()

        def fail(self):
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self):
            self.fail()

    monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter", FullDisk)
    run = run_of(load_table(str(tiny)), "softmax", 0, tmp_path)
    run.save()
    printed = []
    monkeypatch.setattr(threading, "excepthook", printed.append)
    with pytest.raises(BenchError, match="tensorboard"), TrainingLog(run, 0, Reporter(quiet=True)):
        pass
    assert printed == []
    threading.excepthook("again as before")
    assert printed == ["again as before"]
