"""timing: its statistics by hand, what it measures, and its page."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from stt_bench.benchmark.cli.main import main
from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.leaderboards.report import report
from stt_bench.benchmark.suite import load_table, run_table
from stt_bench.benchmark.system import plugins
from stt_bench.benchmark.system.errors import BenchError, NewerError
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.timing import measure as measuring
from stt_bench.benchmark.timing.measure import measure
from stt_bench.benchmark.timing.page import check_timing, draw_timing, markdown
from stt_bench.benchmark.timing.results import BackboneTiming, Timing, Variant, paired_ratio
from stt_bench.benchmark.timing.stopwatch import Stopwatch, experiment_of, take_turns

QUIET = Reporter(quiet=True)
SMALL = ["--backbones", "small_cnn", "--losses", "hard_triplet", "--quiet"]


def test_a_ratio_is_the_geometric_mean_with_students_interval() -> None:
    two = paired_ratio([2.0, 24.0], [1.0, 3.0])  # ratios 2 and 8
    assert two.mean == pytest.approx(4)
    half = 12.7062 * math.log(4) / 2  # logs differ by ln 4: standard error ln 4 / 2
    assert two.low == pytest.approx(4 * math.exp(-half), rel=1e-4)
    assert two.high == pytest.approx(4 * math.exp(half), rel=1e-4)
    three = paired_ratio([1.1, 1.0, 0.9], [1.0, 1.0, 1.0])
    logs = [math.log(1.1), 0.0, math.log(0.9)]
    mean = sum(logs) / 3
    error = math.sqrt(sum((x - mean) ** 2 for x in logs) / 2 / 3)
    assert three.mean == pytest.approx(math.exp(mean))
    assert three.low == pytest.approx(math.exp(mean - 4.30265 * error), rel=1e-5)
    assert three.high == pytest.approx(math.exp(mean + 4.30265 * error), rel=1e-5)


def test_drift_of_the_machine_cancels() -> None:
    drift = np.array([1.0, 5.0, 2.0, 9.0])
    ratio = paired_ratio(list(1.1 * drift), list(drift))
    assert (ratio.mean, ratio.low, ratio.high) == pytest.approx((1.1, 1.1, 1.1))
    same = paired_ratio([2.0, 2.0], [1.0, 1.0])
    assert (same.mean, same.low, same.high) == pytest.approx((2, 2, 2))


def test_every_round_has_every_action_once_in_changing_order() -> None:
    calls: list[int] = []

    def action(number: int) -> float:
        calls.append(number)
        return 100.0 * number + len(calls)

    actions = [lambda n=n: action(n) for n in range(4)]  # type: ignore[misc]
    seen: list[int] = []
    table = take_turns(actions, 6, np.random.default_rng(3), seen.append)
    orders = [tuple(calls[4 * r : 4 * r + 4]) for r in range(6)]
    assert all(sorted(order) == [0, 1, 2, 3] for order in orders)
    assert len(set(orders)) > 2
    for r, order in enumerate(orders):
        for n in range(4):
            assert table[r, n] == 100 * n + 4 * r + order.index(n) + 1
    assert seen == [1, 2, 3, 4, 5, 6]
    calls.clear()
    take_turns(actions, 6, np.random.default_rng(3))
    assert [tuple(calls[4 * r : 4 * r + 4]) for r in range(6)] == orders


def test_softmax_has_no_second_head_and_the_others_have() -> None:
    cpu = torch.device("cpu")
    alone = Stopwatch(experiment_of("small_cnn", "softmax", 16), 8, cpu)
    two = Stopwatch(experiment_of("small_cnn", "hard_triplet", 16), 8, cpu)
    weights = {name: sum(p.numel() for p in module.network.parameters()) for name, module in
               (("alone", alone), ("two", two))}  # fmt: skip
    assert weights["two"] - weights["alone"] == 64 * 256 + 256
    assert two.labels.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    with torch.no_grad():
        features, embeddings = two.network(two.images)
        scores = two.objective.logits(features, embeddings)
    assert scores is not None
    assert scores.shape == (8, 102)
    assert embeddings.shape == (8, 256)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(8))


def test_a_step_trains_and_inference_does_not() -> None:
    watch = Stopwatch(experiment_of("small_cnn", "center", 16), 8, torch.device("cpu"))

    def state() -> list[torch.Tensor]:
        modules = (watch.network, watch.objective)
        return [t.clone() for module in modules for t in module.state_dict().values()]

    before = state()
    assert watch.infer() > 0
    assert all(torch.equal(a, b) for a, b in zip(before, state(), strict=True))
    assert watch.train() > 0
    changed = [not torch.equal(a, b) for a, b in zip(before, state(), strict=True)]
    assert sum(changed) == len(changed) - 2  # all but mean and std of the images


def test_the_page_shows_medians_and_ratios() -> None:
    timing = Timing(
        command="stt-bench timing",
        device="a machine",
        threads=2,
        batch=32,
        size=128,
        steps=3,
        seed=0,
        versions={"torch": "2"},
        backbones=[
            BackboneTiming(
                backbone="net",
                variants=[
                    Variant(
                        loss="softmax",
                        train_seconds=[1.0, 2.0, 4.0],
                        inference_seconds=[0.5, 0.5, 0.5],
                        peak_memory_mib=1234.4,
                    ),
                    Variant(
                        loss="center",
                        train_seconds=[1.5, 3.0, 6.0],
                        inference_seconds=[0.5, 0.25, 1.0],
                        peak_memory_mib=None,
                    ),
                ],
            )
        ],
    )
    page = markdown(timing)
    assert "| net | softmax | 2.0000 | – | 0.5000 | – | 1,234 |" in page
    ratio = 4.30265 * math.log(2) / math.sqrt(3)
    low, high = math.exp(-ratio), math.exp(ratio)
    assert (
        "| net | softmax + center | 3.0000 | 1.500 (1.500 to 1.500) | 0.5000 "
        f"| 1.000 ({low:.3f} to {high:.3f}) | not measured |"
    ) in page
    assert "a machine, 2 thread(s), PyTorch 2" in page
    assert "*0.187 (+12.9 %)*" in page.partition("## Published numbers")[2]
    assert "0.187" not in page.partition("## Published numbers")[0]


def test_names_of_others_stay_text_on_the_page_and_in_the_figure(tmp_path: Path) -> None:
    hostile = "a|b<i>`$x$`"
    variant = Variant(
        loss="softmax", train_seconds=[1, 2], inference_seconds=[1, 2], peak_memory_mib=None
    )
    timing = Timing(
        command="stt-bench timing ```",
        device=hostile,
        threads=1,
        batch=8,
        size=16,
        steps=2,
        seed=0,
        versions={"torch": hostile},
        backbones=[
            BackboneTiming(
                backbone=hostile,
                variants=[variant, variant.model_copy(update={"loss": f"_{hostile}"})],
            )
        ],
    )
    page = markdown(timing)
    assert "<i>" not in page
    assert page.count("a\\|b&lt;i&gt;\\`&#36;x&#36;\\`") == 5
    assert "````\nstt-bench timing ```\n````" in page
    draw_timing(timing, tmp_path / "timing.png")
    assert (tmp_path / "timing.png").stat().st_size > 1000


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["stt-bench", "timing", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0)


def test_a_timing_of_a_newer_version_stays(tmp_path: Path) -> None:
    file = tmp_path / "timing" / "timing.json"
    file.parent.mkdir()
    file.write_text('{"schema_version": 2}')
    with pytest.raises(NewerError, match="schema_version is 2, this version reads 1"):
        check_timing(tmp_path)
    check_timing(tmp_path, force=True)


def test_from_the_command_to_the_page_and_the_index(
    monkeypatch: pytest.MonkeyPatch, tiny: Path, tmp_path: Path
) -> None:
    """The memory is found in a folder full of modules of one's own, and of a loss of one's own."""
    for name in ("losses", "benchmark", "stt_bench", "random", "json"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from here')\n")
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation/__init__.py").write_text("raise SystemExit('imported from here')\n")
    monkeypatch.chdir(tmp_path)
    results = tmp_path / "results"
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        "from stt_bench.losses import HardTripletLoss, register_loss\n"
        "register_loss('mine')(lambda: HardTripletLoss())\n"
    )
    monkeypatch.setattr(plugins, "_loaded", [])
    plugins.import_plugin(plugin, 97)
    in_own_process = measuring.peak_of_own_process

    def peak(experiment: Experiment, *others: Any) -> float:
        return 77.7 if experiment.is_softmax else in_own_process(experiment, *others)

    monkeypatch.setattr(measuring, "peak_of_own_process", peak)  # one process is enough
    sizes = ["--batch", "64", "--size", "96", "--steps", "2"]
    where = ["--losses", "mine", "--to", str(results)]
    assert call(monkeypatch, *SMALL, *sizes, *where) == 0
    told = json.loads((results / "timing/timing.json").read_text())
    assert told["command"].endswith("--batch 64 --size 96 --steps 2 --device auto")
    (backbone,) = told["backbones"]
    assert [v["loss"] for v in backbone["variants"]] == ["softmax", "mine"]
    page = (results / "timing.md").read_text()
    for variant in backbone["variants"]:
        assert len(variant["train_seconds"]) == len(variant["inference_seconds"]) == 2
        assert min(variant["train_seconds"] + variant["inference_seconds"]) > 0
        assert f"| {sum(variant['train_seconds']) / 2:.4f} |" in page
        # the activations of 64 images alone take 37 MB
        assert 30 < variant["peak_memory_mib"] < 600
    with Image.open(results / "timing.png") as picture:
        assert picture.width > 300
    table = load_table(str(tiny))
    run_table(
        table, rows=["softmax"], seeds=None, runs=tmp_path / "runs", results=results,
        force=False, reporter=QUIET,
    )  # fmt: skip
    report(results)
    assert "(timing.md)" in (results / "README.md").read_text()
    (results / "timing.md").unlink()
    report(results)
    assert "(timing.md)" not in (results / "README.md").read_text()


def test_each_time_is_that_of_its_variant_and_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    def mark(watch: Stopwatch) -> float:
        return float(watch.network.embedding_dim + 1000 * watch.network.training)

    def train(watch: Stopwatch) -> float:
        watch.network.train()
        return mark(watch)

    def infer(watch: Stopwatch) -> float:
        watch.network.eval()
        return mark(watch)

    monkeypatch.setattr(Stopwatch, "train", train)
    monkeypatch.setattr(Stopwatch, "infer", infer)
    timing = measure(
        ["small_cnn"], ["lifted"], QUIET, batch=8, size=16, steps=3, device="cpu", memory=False
    )
    softmax, lifted = timing.backbones[0].variants
    assert (softmax.loss, lifted.loss) == ("softmax", "lifted")
    assert (softmax.train_seconds, softmax.inference_seconds) == ([1064.0] * 3, [64.0] * 3)
    assert (lifted.train_seconds, lifted.inference_seconds) == ([1256.0] * 3, [256.0] * 3)
    assert softmax.peak_memory_mib is None


def test_a_memory_that_was_not_measured_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = iter([(1, "", "Traceback\nRuntimeError: no such GPU\n"), (-9, "", ""), (0, "", "")])

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, *next(answers))

    monkeypatch.setattr(subprocess, "run", run)
    timing = measure(
        ["small_cnn"], ["lifted", "npairs"], QUIET,
        batch=8, size=16, steps=2, device="cpu", memory=True,
    )  # fmt: skip
    assert [v.peak_memory_mib for v in timing.backbones[0].variants] == [None] * 3
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3
    assert said[0].endswith("small_cnn with softmax: the process that measures memory failed: "
                            "RuntimeError: no such GPU")  # fmt: skip
    assert said[1].endswith("with lifted: the process that measures memory failed: "
                            "it ended with code -9")  # fmt: skip
    assert "ended with code 0" in said[2]


def test_ctrl_c_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def interrupted(_watch: Stopwatch) -> float:
        raise KeyboardInterrupt

    monkeypatch.setattr(Stopwatch, "infer", interrupted)
    assert call(monkeypatch, *SMALL, "--no-memory", "--size", "16", "--to", str(tmp_path)) == 130
    said = capsys.readouterr().err
    assert said == "stopped: nothing was written; the same command starts again\n"
    assert not list(tmp_path.iterdir())


def test_full_memory_is_told_with_the_options_whoever_tells_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object) -> None:
        raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`")

    monkeypatch.setattr(measuring, "_times", full)
    told = "small_cnn, 2 networks at once: the GPU's memory is full: lower --batch or --size"
    with pytest.raises(BenchError, match=told):
        measure(
            ["small_cnn"], ["lifted"], QUIET, batch=8, size=16, steps=2, device="cpu", memory=False
        )


@pytest.mark.parametrize(
    ("backbone", "loss", "batch", "device", "said"),
    [
        ("small_cnn", "hard_tripet", 8, "cpu", "did you mean 'hard_triplet'"),
        ("small_cnn", "softmax", 8, "cpu", "no ranking loss"),
        ("small_cnm", "center", 8, "cpu", "did you mean 'small_cnn'"),
        ("small_cnn", "center", 30, "cpu", "--batch 30"),
        ("small_cnn", "center", 8, "gpu", "--device 'gpu' is unknown"),
    ],
)
def test_wrong_names_and_sizes_are_told(
    backbone: str, loss: str, batch: int, device: str, said: str
) -> None:
    with pytest.raises(BenchError, match=said):
        measure(
            [backbone], [loss], QUIET, batch=batch, size=16, steps=2, device=device, memory=False
        )
