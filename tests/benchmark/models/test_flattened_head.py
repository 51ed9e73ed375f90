"""An embedding head on the flattened map, from the table to the leaderboard."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.embedding.embed import embed
from stt_bench.benchmark.leaderboards.board import Leaderboard
from stt_bench.benchmark.leaderboards.rows import Row
from stt_bench.benchmark.leaderboards.scores import Score
from stt_bench.benchmark.leaderboards.wording import loss_text
from stt_bench.benchmark.store.embedding_set import read_embedding_set
from stt_bench.benchmark.store.protocol import protocol_of
from stt_bench.benchmark.store.runs import Run, run_of
from stt_bench.benchmark.suite import load_table
from stt_bench.benchmark.system.files import read_json
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.training.train import train

QUIET = Reporter(quiet=True)
FACTS = {"data_hash": "d", "initial_weights": "random", "embedding_dim": 8}


def make_run(config: Path, runs: Path, row: str, *overrides: str) -> Run:
    return run_of(load_table(str(config), ["model.features=flattened", *overrides]), row, 0, runs)


def test_training_is_deterministic_and_only_the_embedding_head_sees_the_map(
    tiny: Path, tmp_path: Path
) -> None:
    run = make_run(tiny, tmp_path / "a", "two_head")
    again = make_run(tiny, tmp_path / "b", "two_head")
    for each in (run, again):
        train(each, QUIET)
    assert run.weights.read_bytes() == again.weights.read_bytes()
    shapes = {k: v.shape for k, v in safetensors.torch.load_file(run.weights).items()}
    # 16 pixels, less by three unpadded convolutions of strides 2, 1, 2: 7, 5, 2
    assert shapes["network.head.weight"] == (8, 64 * 2 * 2)
    (classifier,) = [k for k in shapes if k.startswith("objective.") and k.endswith("weight")]
    assert shapes[classifier][1] == 64
    embedded = read_embedding_set(embed(run, QUIET))
    assert embedded.embeddings.shape[1] == read_json(run.training)["embedding_dim"] == 8
    assert embedded.logits is not None
    assert np.ptp(embedded.embeddings, axis=0).min() > 0


def test_the_softmax_row_classifies_the_embedding_of_the_map(tiny: Path, tmp_path: Path) -> None:
    run = make_run(tiny, tmp_path, "softmax", "train.steps=2")
    train(run, QUIET)
    shapes = {k: v.shape for k, v in safetensors.torch.load_file(run.weights).items()}
    (classifier,) = [k for k in shapes if k.startswith("objective.") and k.endswith("weight")]
    assert shapes[classifier][1] == 8


def experiment(**sections: object) -> Experiment:
    settings = {"data": {"name": "digits"}, "loss": "hard_triplet", **sections}
    return Experiment.model_validate(settings)


def row_of(made: Experiment, name: str = "r") -> Row:
    return Row(name, name, made, {"map@r": Score(0.5, None)}, [0], {}, "f", 0.0, 0)


@pytest.mark.parametrize(
    ("model", "text"),
    [
        ({}, "hard_triplet"),
        ({"features": "flattened"}, "hard_triplet, on the flattened map"),
        (
            {"features": "flattened", "head": "fc1024", "normalize": True},
            "hard_triplet, fc1024 head, on the flattened map, unit length",
        ),
        ({"head": "none"}, "hard_triplet, on pooled features"),
    ],
)
def test_the_leaderboard_says_what_the_head_stands_on(model: dict[str, object], text: str) -> None:
    assert loss_text(row_of(experiment(model=model))) == text


def test_the_head_is_no_part_of_the_protocol_but_the_sides_are() -> None:
    plain = protocol_of(experiment(), **FACTS)
    assert protocol_of(experiment(model={"features": "flattened"}), **FACTS) == plain
    fixed = {"size": 224, "resize": 350, "crop": "random"}
    assert protocol_of(experiment(input=fixed), **FACTS)["resize"] == "keep aspect to 350"
    drawn = protocol_of(experiment(input={**fixed, "resize_max": 512}), **FACTS)
    assert drawn["resize"] == "keep aspect to 350–512"
    assert drawn.keys() == plain.keys()


def test_a_row_is_compared_with_softmax_on_the_same_head() -> None:
    pooled = row_of(experiment(loss="softmax"), "pooled")
    flattened = row_of(experiment(loss="softmax", model={"features": "flattened"}), "flattened")
    ours = row_of(experiment(model={"features": "flattened"}), "ours")
    board = Leaderboard("t", "t", "", [pooled, flattened, ours], "f", [], [], "cosine", [])
    assert board.baseline(ours, "map@r").row is flattened
    assert board.baseline(replace(ours, experiment=experiment()), "map@r").row is pooled
    assert replace(board, rows=[pooled, ours]).baseline(ours, "map@r").row is None
