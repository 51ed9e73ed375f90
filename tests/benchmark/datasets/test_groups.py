"""A clip's embedding is the mean of its frames' embeddings, computed one by one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from PIL import Image

from stt_bench.benchmark.datasets import load_items
from stt_bench.benchmark.datasets.groups import average_groups
from stt_bench.benchmark.datasets.image_set import image_set
from stt_bench.benchmark.datasets.transforms import center_crop, prepare
from stt_bench.benchmark.embedding.embed import embed
from stt_bench.benchmark.inspection.neighbors import find_neighbors
from stt_bench.benchmark.inspection.thumbnails import rows_of
from stt_bench.benchmark.scoring.evaluate import evaluate
from stt_bench.benchmark.store.embedding_set import read_embedding_set
from stt_bench.benchmark.store.runs import Run, run_of
from stt_bench.benchmark.suite import load_table
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.training.learner import new_model
from stt_bench.benchmark.training.train import train
from stt_bench.benchmark.training.validation import Selection
from stt_bench.evaluation import retrieval_metrics

QUIET = Reporter(quiet=True)


def test_against_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    groups = ["b", "a", "b", "c", "a", "b"]
    frame = pd.DataFrame(
        {"path": list("123456"), "label": "l", "split": "test", "role": "both", "group": groups}
    )
    frame["label"] = frame["group"].str.upper()
    x = rng.normal(size=(6, 4)).astype(np.float32)
    scores = rng.normal(size=(6, 3)).astype(np.float32)
    for normalize in (False, True):
        means, logits, rows = average_groups(x, scores, frame, normalize=normalize)
        assert rows["path"].tolist() == ["b", "a", "c"]
        assert rows["label"].tolist() == ["B", "A", "C"]
        assert logits is not None
        assert means.dtype == logits.dtype == np.float32
        for row, members in enumerate([(0, 2, 5), (1, 4), (3,)]):
            total, score = np.zeros(4), np.zeros(3)
            for member in members:
                total += x[member] / len(members)
                score += scores[member] / len(members)
            length = np.sqrt((total**2).sum()) if normalize else 1.0
            np.testing.assert_allclose(means[row], total / length, rtol=1e-5)
            np.testing.assert_allclose(logits[row], score, rtol=1e-5)


def test_without_groups_nothing_changes_and_a_zero_mean_stays_finite() -> None:
    x = np.float32([[1, 0], [-1, 0]])
    frame = pd.DataFrame({"path": ["a", "b"], "label": "l", "role": "both"})
    same = average_groups(x, None, frame, normalize=True)
    assert same[0] is x
    assert same[1] is None
    assert same[2] is frame
    means = average_groups(x, None, frame.assign(group="g"), normalize=True)[0]
    np.testing.assert_array_equal(means, [[0, 0]])


@pytest.fixture
def videos(tmp_path: Path, tiny: Path) -> Path:
    """Return tiny.yaml about 12 clips of 2 to 5 frames, of six classes."""
    rng = np.random.default_rng(0)
    lines = ["clip,label"]
    for number in range(12):
        folder = tmp_path / "videos" / f"clip{number:02}"
        folder.mkdir(parents=True)
        for frame in range(2 + number % 4):
            pixels = rng.integers(0, 256, (20, 18), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{frame}.png")
        lines.append(f"clip{number:02},{'abcdef'[number // 2]}")
    (tmp_path / "videos" / "clips.csv").write_text("\n".join(lines))
    data = f"{{name: clips, root: {tmp_path}/videos, options: {{frames: 3}}}}"
    text = tiny.read_text().replace("{name: digits, task: retrieval}", data)
    tiny.write_text(text.replace("p: 4, k: 4", "p: 2, k: 2"))
    return tiny


def one_by_one(run: Run) -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
    """Return each test clip's mean embedding and scores, its frames embedded alone."""
    items = load_items(run.experiment.data)
    network, objective = new_model(run.experiment, len(items.classes))
    weights = safetensors.torch.load_file(run.weights)
    for part, module in (("network.", network), ("objective.", objective)):
        module.load_state_dict(
            {k.removeprefix(part): v for k, v in weights.items() if k.startswith(part)}
        )
        module.eval()
    clips = {}
    for clip in sorted(set(items.split("test")["group"])):
        frames = items.frame.loc[items.frame["group"] == clip, "path"]
        embedded, scores = [], []
        for path in frames:
            image = center_crop(prepare(items.read(path), run.experiment.input), 16)
            with torch.no_grad():
                features, embedding = network(image[None])
                embedded.append(embedding[0].double().numpy())
                logits = objective.logits(features, embedding)
            if logits is not None:
                scores.append(logits[0].double().numpy())
        mean = np.mean(embedded, axis=0)
        if run.experiment.model.normalize:
            mean /= np.linalg.norm(mean)
        clips[clip] = (mean, np.mean(scores, axis=0) if scores else None)
    return clips


@pytest.mark.parametrize(
    ("row", "overrides"),
    [("hard", []), ("hard", ["model.normalize=true"]), ("two_head", ["sampler.p=4"])],
)
def test_a_clips_embedding(videos: Path, tmp_path: Path, row: str, overrides: list[str]) -> None:
    table = load_table(str(videos), overrides, only=[row])
    run = run_of(table, row, 0, tmp_path / "runs")
    train(run, QUIET)
    embedded = read_embedding_set(embed(run, QUIET))
    expected = one_by_one(run)
    assert embedded.ids.tolist() == sorted(expected)
    assert len(embedded.ids) == 6
    for number, clip in enumerate(embedded.ids):
        mean, scores = expected[clip]
        np.testing.assert_allclose(embedded.embeddings[number], mean, atol=1e-5)
        if embedded.logits is not None:
            np.testing.assert_allclose(embedded.logits[number], scores, atol=1e-5)
    assert (embedded.logits is not None) == (row == "two_head")
    if row == "hard":
        assert evaluate(run, tmp_path / "results", QUIET).metrics["queries"] == 6
    again = (run.embeddings() / "embeddings.npy").stat().st_mtime_ns
    embed(run, QUIET)
    assert (run.embeddings() / "embeddings.npy").stat().st_mtime_ns == again


def test_validation_scores_clips_and_not_their_frames(videos: Path, tmp_path: Path) -> None:
    table = load_table(str(videos), ["data.validation=0.5", "train.validate_every=2"])
    items = load_items(table.rows["softmax"].data)
    part = items.split("validation")
    assert part["group"].nunique() < len(part)
    network, objective = new_model(table.rows["softmax"], len(items.classes))
    selection = Selection(table.rows["softmax"], items, torch.device("cpu"))
    value = selection.look(2, network, objective)
    network.eval()
    images = image_set(items, "validation", table.rows["softmax"].input, training=False)
    with torch.no_grad():
        frames = network(images.batch(np.arange(len(images))))[1].numpy()
    clips = list(dict.fromkeys(part["group"]))
    means = np.stack([frames[(part["group"] == clip).to_numpy()].mean(axis=0) for clip in clips])
    labels = [part.loc[part["group"] == clip, "label"].iloc[0] for clip in clips]
    assert value == pytest.approx(retrieval_metrics(means, labels, ks=(1,))["map@r"])
    single = part.drop_duplicates("label")["group"]
    lone = items.frame[(items.frame["split"] != "validation") | items.frame["group"].isin(single)]
    with pytest.raises(BenchError, match="no two items of one class"):  # though a clip has frames
        Selection(table.rows["softmax"], replace(items, frame=lone), torch.device("cpu"))


def test_tools_show_the_first_frame_of_a_clip(videos: Path, tmp_path: Path) -> None:
    run = run_of(load_table(str(videos)), "softmax", 0, tmp_path / "runs")
    train(run, QUIET)
    test = load_items(run.experiment.data).split("test")
    clips = list(dict.fromkeys(test["group"]))
    firsts = [test.loc[test["group"] == clip, "path"].iloc[0] for clip in clips]
    assert test["path"].iloc[rows_of(clips, test)].tolist() == firsts
    found = find_neighbors(
        run, [firsts[0]], QUIET, k=99, split="test", to=tmp_path / "neighbors.png"
    )
    assert set(found["id"]) == set(clips) - {clips[0]}  # a frame does not find its own clip
    with pytest.raises(BenchError, match=f"'{clips[0]}' is an item of several images"):
        find_neighbors(run, [clips[0]], QUIET, k=1, split="test", to=tmp_path / "neighbors.png")
