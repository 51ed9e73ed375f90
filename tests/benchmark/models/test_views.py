"""Views and storage: what is embedded of an image, and in which type it lies on disk."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torchvision.transforms.v2 import functional as vision

from stt_bench.benchmark.config.evaluation_section import EvaluationConfig
from stt_bench.benchmark.datasets import load_items
from stt_bench.benchmark.datasets.transforms import five_crops, prepare
from stt_bench.benchmark.embedding.embed import _stored, embed
from stt_bench.benchmark.leaderboards.report import report
from stt_bench.benchmark.models import build_network
from stt_bench.benchmark.models.views import check_views
from stt_bench.benchmark.scoring.evaluate import evaluate
from stt_bench.benchmark.store.embedding_set import read_embedding_set
from stt_bench.benchmark.store.runs import Run, run_of
from stt_bench.benchmark.suite import load_table, run_table
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.training.learner import new_model
from stt_bench.benchmark.training.train import train

QUIET = Reporter(quiet=True)


def trained(table: Path, *overrides: str, row: str = "two_head") -> Run:
    """Return an untrained network's run on digits of 20 pixels, cropped to 16."""
    chosen = ["train.steps=0", "input.resize=20", *overrides]
    run = run_of(load_table(str(table), chosen, only=[row]), row, 0, table.parent / "runs")
    train(run, QUIET)
    return run


def with_views(run: Run, **evaluation: object) -> Run:
    measured = EvaluationConfig.model_validate(evaluation)
    return dataclasses.replace(
        run, experiment=run.experiment.model_copy(update={"evaluation": measured})
    )


def network_of(run: Run):  # type: ignore[no-untyped-def]
    network, objective = new_model(run.experiment, len(run.facts().classes))
    weights = safetensors.torch.load_file(run.weights)
    for part, module in (("network.", network), ("objective.", objective)):
        module.load_state_dict(
            {k.removeprefix(part): v for k, v in weights.items() if k.startswith(part)}
        )
    return network.eval(), objective.eval()


@pytest.mark.parametrize("aggregate", ["mean", "normalized_mean"])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("crops", ["center", "five", "whole"])
def test_views_are_those_of_a_plain_loop(
    tiny: Path, crops: str, normalize: bool, aggregate: str
) -> None:
    run = trained(tiny, f"model.normalize={str(normalize).lower()}")
    run = with_views(run, crops=crops, flip=True, aggregate=aggregate)
    embedded = read_embedding_set(embed(run, QUIET))
    assert embedded.logits is not None
    items = load_items(run.experiment.data)
    frame = items.split("test")
    network, objective = network_of(run)
    for row in (0, 5, len(frame) - 1):
        image = prepare(items.read(frame["path"][row]), run.experiment.input)
        assert image.shape == (1, 20, 20)
        views = {
            "center": [vision.center_crop(image, [16, 16])],
            "five": list(vision.five_crop(image, [16, 16])),
            "whole": [image],
        }[crops]
        views += [vision.horizontal_flip(view) for view in views]
        total, scores = np.zeros(8), np.zeros(10)
        for view in views:
            with torch.no_grad():
                features, vector = network(view[None])
                scores += objective.logits(features, vector)[0].numpy()
            one = vector[0].double().numpy()
            total += one / np.linalg.norm(one) if aggregate == "normalized_mean" else one
        expected = total / len(views)
        if normalize:
            expected /= np.linalg.norm(expected)
        np.testing.assert_allclose(embedded.embeddings[row], expected, atol=2e-6)
        np.testing.assert_allclose(embedded.logits[row], scores / len(views), atol=2e-5)


def test_five_crops_are_torchvisions_for_images_of_any_shape() -> None:
    rng = np.random.default_rng(0)
    images = [
        torch.from_numpy(rng.integers(0, 256, (3, h, w), np.uint8))
        for h, w in ((12, 12), (12, 17), (19, 13), (12, 30))
    ]
    found = five_crops(images, 11)
    for place, crop in enumerate(found):
        for number, image in enumerate(images):
            assert torch.equal(crop[number], vision.five_crop(image, [11, 11])[place])


def test_plain_embedding_is_the_same_with_its_default_views_named(tiny: Path) -> None:
    run = trained(tiny)
    plain = embed(run, QUIET) / "embeddings.npy"
    before = plain.read_bytes()
    embed(with_views(run, flip=True), QUIET)
    assert plain.read_bytes() != before
    embed(with_views(run, crops="center", flip=False, aggregate="mean"), QUIET)
    assert plain.read_bytes() == before


def test_evaluate_refuses_embeddings_of_other_views(tiny: Path, tmp_path: Path) -> None:
    run = trained(tiny)
    embed(run, QUIET)
    flipped = with_views(run, flip=True)
    with pytest.raises(BenchError, match="embedded otherwise"):
        evaluate(flipped, tmp_path, QUIET)
    embed(flipped, QUIET)
    assert evaluate(flipped, tmp_path, QUIET).protocol["views"] == "center crop, flip, mean"


def test_whole_images_are_refused_before_training_where_the_backbone_cannot_take_them(
    tiny: Path,
) -> None:
    with pytest.raises(BenchError, match=r"images of 48 pixels.*use crops: five"):
        trained(
            tiny, "model.backbone=timm/vit_tiny_patch16_224", "input.size=32", "input.resize=48",
            "evaluation.crops=whole",
        )  # fmt: skip
    assert not list(tiny.parent.glob("runs/**/model.safetensors"))


def test_the_check_of_whole_images_leaves_the_network_as_it_was(tiny: Path) -> None:
    run = trained(tiny, "model.backbone=resnet18", "model.freeze_batch_norm=true", "input.size=32",
                  "input.resize=64", "evaluation.crops=whole")  # fmt: skip
    torch.manual_seed(0)
    network = build_network(run.experiment.model, run.experiment.input)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    check_views(network, run.experiment)
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["evaluation.crops=five"], "five needs input.resize above 16"),
        (["evaluation.crops=whole", "input.resize=16"], "whole needs input.resize above 16"),
        (["evaluation.aggregate=normalized_mean"], "needs flip: true or crops: five"),
        (["evaluation.crops=fiv"], "did you mean 'five'"),
        (["evaluation.storage=float17"], "did you mean 'float16'"),
    ],
)
def test_views_that_cannot_be(tiny: Path, overrides: list[str], said: str) -> None:
    with pytest.raises(BenchError, match=said):
        load_table(str(tiny), overrides, only=["hard"])


def test_a_leaderboard_tells_which_rows_have_other_views(tiny: Path, tmp_path: Path) -> None:
    text = tiny.read_text().replace("steps: 12", "steps: 0")
    text = text.replace("size: 16", "size: 16, resize: 20")
    tiny.write_text(text + "    evaluation: {crops: five, storage: float16}\n")
    outcome = run_table(
        load_table(str(tiny)), rows=["softmax", "hard", "center"], seeds=None,
        runs=tmp_path / "runs", results=tmp_path, force=False, reporter=QUIET,
    )  # fmt: skip
    assert not outcome.failed
    report(tmp_path)
    page = (tmp_path / "tiny.md").read_text()
    assert "views five crop, mean (others: default); storage float16 (others: default)" in page


def test_half_precision_is_stored_and_measured_as_stored(tiny: Path, tmp_path: Path) -> None:
    run = trained(tiny)
    full = np.load(embed(run, QUIET) / "embeddings.npy")
    half = with_views(run, storage="float16", distance="euclidean")
    embedded = read_embedding_set(embed(half, QUIET))
    assert full.dtype == np.float32
    assert embedded.embeddings.dtype == np.float16
    np.testing.assert_array_equal(embedded.embeddings, full.astype(np.float16))
    record = evaluate(half, tmp_path, QUIET)
    assert record.protocol["storage"] == "float16"
    squares = ((embedded.embeddings.astype(float)[:, None] - embedded.embeddings) ** 2).sum(2)
    np.fill_diagonal(squares, np.inf)
    nearest = squares.min(axis=1, keepdims=True) == squares  # equally near ones count by share
    same = embedded.labels[:, None] == embedded.labels
    expected = ((nearest & same).sum(1) / nearest.sum(1)).mean()
    assert record.metrics["recall@1"] == pytest.approx(expected, abs=1e-12)


def test_what_half_precision_cannot_hold() -> None:
    edge = np.array([[65504.0, -65519.0, np.inf, np.nan]], dtype=np.float32)
    assert _stored(edge, "float16").tolist()[0][:3] == [65504.0, -65504.0, np.inf]
    assert _stored(edge, "float32") is edge
    with pytest.raises(BenchError, match=r"65520, beyond float16's 65504: set it to float32"):
        _stored(np.array([[0.0, -65520.0]], dtype=np.float32), "float16")
