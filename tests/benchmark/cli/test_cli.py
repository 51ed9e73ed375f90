"""The command line as a user meets it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from command_line import ROOT, Done, exit_code_of, killed_after_a_checkpoint


def test_stage_by_stage_equals_run(
    stt_bench: Callable[..., Done], tiny: Path, tmp_path: Path
) -> None:
    places = ["--results", str(tmp_path / "results")]
    runs = ["--runs", str(tmp_path / "runs")]
    trained = stt_bench("train", str(tiny), "--row", "hard", "--seed", "3", "--quiet", *runs)
    assert trained.returncode == 0, trained.stderr
    folder = trained.stdout.strip()
    assert folder == str(tmp_path / "runs/tiny/hard/seed-3")
    embedded = stt_bench("embed", folder, "--quiet")
    assert embedded.stdout.strip() == f"{folder}/embeddings/test"
    evaluated = stt_bench("eval", folder, "--quiet", *places)
    metrics = json.loads(evaluated.stdout)
    again = stt_bench("eval", folder, "--backend", "faiss-cpu", "--intervals", *places)
    assert "with faiss-cpu flat" in again.stderr
    other = json.loads(again.stdout)
    assert other.pop("intervals").keys() >= {"recall@1", "map@r", "mrr"}
    assert other == metrics
    whole = stt_bench(
        "run", str(tiny), "--rows", "hard", "--seeds", "3", "--quiet",
        "--runs", str(tmp_path / "other"), "--results", str(tmp_path / "other-results"),
    )  # fmt: skip
    assert whole.returncode == 0, whole.stderr
    record = json.loads((tmp_path / "other-results/records/tiny/hard/seed-3.json").read_text())
    found = record["other_distance"]
    other = {"distance": found["distance"], **found["metrics"]}
    assert metrics == {"distance": "cosine", **record["metrics"], "other_distance": other}


def test_run_prints_the_leaderboard_and_its_file(
    stt_bench: Callable[..., Done], tiny: Path, tmp_path: Path
) -> None:
    done = stt_bench(
        "run", str(tiny), "--rows", "softmax", "--runs", str(tmp_path / "runs"),
        "--results", str(tmp_path / "results"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Softmax" in done.stdout
    assert done.stdout.strip().endswith(str(tmp_path / "results/tiny.md"))
    assert "R@1" in (tmp_path / "results/tiny.md").read_text()


def test_anybodys_embeddings_are_scored(stt_bench: Callable[..., Done], tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.repeat(np.eye(5), 2, axis=0))
    (tmp_path / "y.csv").write_text("\n".join("aabbccddee"))
    done = stt_bench(
        "eval", "--embeddings", str(tmp_path / "x.npy"), "--labels", str(tmp_path / "y.csv"),
        "--ks", "1,3", "--no-clustering",
    )  # fmt: skip
    metrics = json.loads(done.stdout)
    assert metrics["recall@1"] == metrics["map@r"] == metrics["mrr"] == 1.0
    assert "recall@3" in metrics
    assert "nmi" not in metrics


def test_anybodys_embeddings_have_intervals_and_scores_of_classes(
    stt_bench: Callable[..., Done], tmp_path: Path
) -> None:
    x, y, classes = tmp_path / "x.npy", tmp_path / "y.csv", tmp_path / "classes.csv"
    labels = list("aaabbbbcc")
    np.save(x, np.array([[0, 1, 2, 10, 11, 12, 13, 15, 90]]).T)
    y.write_text("\n".join(labels))
    given = ("eval", "--embeddings", x, "--labels", y, "--no-clustering")
    given = (*given, "--distance", "euclidean")
    done = stt_bench(
        *given, "--intervals", "--per-class", classes, "--backend", "faiss-cpu", "--memory", 1
    )
    metrics = json.loads(done.stdout)
    low, high = metrics["intervals"]["recall@1"]
    assert low < metrics["recall@1"] == 8 / 9 < high
    table = pd.read_csv(classes, index_col="label")
    assert table["recall@1"].to_dict() == {"a": 1.0, "b": 1.0, "c": 0.5}
    assert table["queries"].to_dict() == {"a": 3, "b": 4, "c": 2}

    plain = json.loads(stt_bench(*given).stdout)
    assert plain == {key: value for key, value in metrics.items() if key != "intervals"}
    some = json.loads(stt_bench(*given, "--queries", 4).stdout)
    assert (some["rules"], some["queries"], some["sampled_from"]) == ({"queries": 4}, 4, 9)
    rough = json.loads(stt_bench(*given, "--approximate", "hnsw", "--queries", 5).stdout)
    assert rough["sample"] == 5
    assert (rough["approximate"], rough.keys() & {"cells", "probes"}) == ("hnsw", set())
    listed = stt_bench(*given, "--approximate", "ivf", "--probes", 3).stdout
    assert '"approximate": "ivf"' in listed
    for count in ('"queries": 9,', '"sample": 9,', '"cells": 1,', '"probes": 1'):
        assert count in listed
    assert rough["error_recall@1"] == 0.0
    assert {key: rough[key] for key in plain if key.startswith("recall")} == {
        key: value for key, value in plain.items() if key.startswith("recall")
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "digit_retrieval"], "did you mean 'digits_retrieval'"),
        (["run", "digits_retrieval", "--rows", "hrd"], "no row 'hrd'"),
        (["run", "digits_retrieval", "--seeds", "x"], "--seeds"),
        (["run", "digits_retrieval", "--seeds", "4294967296"], "integers from 0 to 4294967295"),
        (["run", "digits_retrieval", "--seeds", "-1"], "integers from 0"),
        (["run", "digits_retrieval", "--seeds", ""], "--seeds ''"),
        (["run", "digits_retrieval", "--rows", ","], "--rows ','"),
        (["run", "digits_retrieval", "configs/digits_retrieval.yaml"], "share their results"),
        (["run", "digits_retrieval", "--rows", ""], "--rows ''"),
        (["run", "digits_retrieval", "--set", "optimizer.lr=1e300"], "--set optimizer.lr"),
        (["run", "digits_retrieval", "--set", "loss.margin"], "write it as field=value"),
        (["run", "digits_retrieval", "--set", "train=3"], "--set train"),
        (["run", "digits_retrieval", "--set", "rows.softmax.loss=lifted"], "unknown field 'rows'"),
        (["list", "losses", "tripplet"], "has 'tripplet' in it"),
        (["eval", "nowhere", "--ks", "1"], "need --embeddings"),
        (["eval", "nowhere", "--no-clustering"], "need --embeddings"),
        (["eval", "--embeddings", "a", "--labels", "b", "--ks", "0"], "--ks"),
        (["eval", "--embeddings", "a", "--labels", "b", "--ks", "1,,2"], "--ks"),
        (["eval", "--embeddings", "a", "--labels", "b", "--ks", "9" * 5000], "--ks"),
        (["eval", "--embeddings", "a", "--labels", "b", "--ks", "4294967296"], "--ks: ks.0"),
        (["eval", "--embeddings", "a", "--labels", "b", "--memory", "99999999999"], "--memory"),
        (["eval", "--embeddings", "a", "--labels", "b", "--backend", "fais-cpu"], "'faiss-cpu'"),
        (["run", "digits_retrieval", "--set", "optimiser.lr=1"], "did you mean 'optimizer'"),
        (["embed", "nowhere"], "is not a run"),
        (["neighbors", "nowhere", "a.png"], "is not a run"),
        (["map", "nowhere", "--to", "map.jpg"], "name it map.png"),
        (["timing", "--losses", ","], "--losses"),
        (["eval"], "give either"),
        (["eval", "--embeddings", "a.npy", "--labels", "b.csv"], "no such file"),
        (["eval", "nowhere", "--approximate", "ivf"], "--approximate needs --embeddings"),
        (
            [
                "eval",
                "--embeddings",
                "a.npy",
                "--labels",
                "b.csv",
                "--approximate",
                "ivf",
                "--intervals",
            ],
            "--approximate goes without",
        ),
        (["eval", "nowhere", "--per-class", "."], "name a file FILE.csv"),
        (["report", "--results", "nowhere"], "no records"),
        (["--plugin", "nowhere.py", "list", "losses"], "there is no such file"),
        (["train", "digits_retrieval", "--row", "npairs", "--set", "train.device=gpu"], "device"),
    ],
)
def test_a_mistake_ends_in_one_sentence(
    stt_bench: Callable[..., Done], arguments: list[str], said: str
) -> None:
    done = stt_bench(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.strip().splitlines()) == 1


def test_lists(stt_bench: Callable[..., Done], tmp_path: Path) -> None:
    losses = stt_bench("list", "losses").stdout
    assert "hard_triplet" in losses
    assert "margin=1.0" in losses
    assert "fashion_mnist" in stt_bench("list", "datasets").stdout
    assert "digits_retrieval" in stt_bench("list", "tables").stdout
    backbones = stt_bench("list", "backbones", "resnet50").stdout.split()
    assert "resnet50" in backbones
    assert all("resnet50" in name for name in backbones)


def test_a_plugin_adds_a_loss(
    stt_bench: Callable[..., Done], tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        "from stt_bench.losses import RankingLoss, register_loss\n"
        "@register_loss('mine')\n"
        "class Mine(RankingLoss):\n"
        "    def __init__(self, *, power: float = 2.0):\n"
        "        super().__init__()\n"
        "        self.power = power\n"
        "    def compute(self, embeddings, labels):\n"
        "        return embeddings.abs().pow(self.power).mean(), {}\n"
    )
    tiny.write_text(tiny.read_text() + "  mine:\n    loss: {name: mine, power: 4.0}\n")
    done = stt_bench(
        "--plugin", str(plugin), "train", str(tiny), "--row", "mine", "--runs", str(tmp_path), "-q"
    )
    assert done.returncode == 0, done.stderr
    assert "power=2.0" in stt_bench("list", "losses", "mine").stdout


def test_losses_are_listed_without_importing_them(stt_bench: Callable[..., Done]) -> None:
    code = (
        "import sys; sys.argv = ['stt-bench', 'list', 'losses']\n"
        "from stt_bench.benchmark.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'pandas', 'scipy', 'numpy'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    listed = stt_bench("list", "losses").stdout  # here they are imported
    assert listed == done.stdout
    assert re.search(r"^npairs +l2_weight=0.002$", listed, re.MULTILINE)


def test_help_teaches_and_imports_nothing_heavy(stt_bench: Callable[..., Done]) -> None:
    commands = ("run", "train", "embed", "export", "eval", "report", "list")
    for command in (*commands, "neighbors", "distance", "map", "timing"):
        shown = stt_bench(command, "--help")
        assert shown.returncode == 0
        assert f"stt-bench {command}" in shown.stdout  # an example
    code = (
        "import sys; sys.argv = ['stt-bench', '--help']\n"
        "from stt_bench.benchmark.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'pandas', 'sklearn', 'numpy', 'faiss', 'pydantic'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_after_kill_9_the_same_command_gives_the_same_embeddings(
    stt_bench: Callable[..., Done], tiny: Path, tmp_path: Path
) -> None:
    command = ["run", str(tiny), "--rows", "softmax,hard", "--quiet"]

    def places(name: str) -> list[str]:
        return [*command, "--runs", str(tmp_path / name), "--results", str(tmp_path / f"{name}r")]

    assert stt_bench(*places("whole")).returncode == 0
    killer = killed_after_a_checkpoint(tmp_path, "hard")
    assert exit_code_of(*killer, *places("parted")) == -signal.SIGKILL
    run = tmp_path / "parted/tiny/hard/seed-0"
    assert torch.load(run / "checkpoint.pt", weights_only=True)["step"] == 5
    assert not (run / "training.json").exists()
    done = tmp_path / "partedr/records/tiny/softmax/seed-0.json"
    before = done.stat().st_mtime_ns
    assert stt_bench(*places("parted")).returncode == 0
    assert done.stat().st_mtime_ns == before
    for row in ("softmax", "hard"):
        place = f"tiny/{row}/seed-0/embeddings/test/embeddings.npy"
        assert (tmp_path / "parted" / place).read_bytes() == (
            tmp_path / "whole" / place
        ).read_bytes()


def test_interrupt_is_told_and_how_to_continue(
    stt_bench: Callable[..., Done], tiny: Path, tmp_path: Path, at_step: Any
) -> None:
    command = ["run", str(tiny), "--rows", "hard", "--runs", str(tmp_path / "runs"), "--quiet"]
    command += ["--results", str(tmp_path / "r"), "--force"]
    with at_step(6, lambda _: signal.raise_signal(signal.SIGINT)):
        done = stt_bench(*command)
    assert done.returncode == 130
    assert "stopped at step 7" in done.stderr
    assert "without --force, continues" in done.stderr
    assert (tmp_path / "runs/tiny/hard/seed-0/checkpoint.pt").exists()
