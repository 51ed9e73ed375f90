"""Further columns of a list go with the items to their embeddings, and are read there by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from stt_bench.benchmark.config.sections import DataConfig
from stt_bench.benchmark.datasets import load_items
from stt_bench.benchmark.datasets.groups import average_groups
from stt_bench.benchmark.datasets.item_rules import as_metadata, metadata_hash, metadata_of
from stt_bench.benchmark.embedding.embed import embed
from stt_bench.benchmark.embedding.external import read_external_set
from stt_bench.benchmark.scoring.evaluate import score
from stt_bench.benchmark.store.embedding_set import EmbeddingSet, read_embedding_set
from stt_bench.benchmark.store.runs import run_of
from stt_bench.benchmark.suite import load_table
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.training.train import train

QUIET = Reporter(quiet=True)
TABLE = """\
title: T
description: T.
data: {name: images, root: ROOT}
input: {size: 16, channels: 1, mean: [0.3], std: [0.37]}
model: {backbone: small_cnn, embedding_dim: 4}
sampler: {p: 2, k: 2}
train: {steps: 0, threads: 1}
evaluation: {clustering: false}
rows: {softmax: {loss: softmax}}
"""
HOSTILE = "=1+1 <b>\u202e | #"


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """Four classes of three images, from cameras c0, c1 and none."""
    lines = ["path,label,camera,id,Remark"]
    rng = np.random.default_rng(0)
    for number in range(12):
        pixels = rng.integers(0, 256, (16, 16), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        camera = ["c0", "c1", ""][number % 3]
        lines.append(f'{number}.png,{number // 3},{camera},x{number},"{HOSTILE}\nsecond"')
    (tmp_path / "list.csv").write_text("\n".join(lines))
    return tmp_path / "list.csv"


def test_from_a_list_to_the_embeddings(listed: Path, tmp_path: Path) -> None:
    table = tmp_path / "t.yaml"
    table.write_text(TABLE.replace("ROOT", str(listed)))
    loaded = load_table(str(table), [])
    run = run_of(loaded, "softmax", 0, tmp_path / "runs")
    train(run, QUIET)
    folder = embed(run, QUIET)
    found = read_embedding_set(folder)
    assert (folder / "items.csv").read_text().startswith("id,label,role,camera,id_,Remark\n")
    assert found.column("camera").tolist() == ["c0", "c1", ""] * 2
    assert found.column("id_").tolist() == [f"x{number}" for number in range(6, 12)]
    assert set(found.column("Remark")) == {"=1+1 <b> | # second"}
    with pytest.raises(BenchError, match="have no column 'kamera': did you mean 'camera'"):
        found.column("kamera")
    score(run, run.facts(), found, QUIET)

    made = (folder / "embeddings.npy").stat().st_mtime_ns
    embed(run, QUIET)
    assert (folder / "embeddings.npy").stat().st_mtime_ns == made
    listed.write_text(listed.read_text().replace("c1", "c7"))
    embed(run, QUIET)  # nothing that was trained on has changed
    assert read_embedding_set(folder).column("camera").tolist() == ["c0", "c7", ""] * 2


def test_no_part_of_the_data_hash(listed: Path) -> None:
    with_them = load_items(DataConfig(name="images", root=str(listed)))
    assert metadata_of(with_them.frame) == ["camera", "id_", "Remark"]
    lines = [line.split(",")[:2] for line in listed.read_text().splitlines() if "," in line]
    listed.write_text("\n".join(map(",".join, lines)))
    without = load_items(DataConfig(name="images", root=str(listed)))
    assert metadata_of(without.frame) == []
    assert with_them.data_hash == without.data_hash
    assert metadata_hash(without.frame) is None
    assert metadata_hash(with_them.frame) is not None


def test_beside_anybodys_embeddings(listed: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.eye(12, 4))
    found = read_external_set(tmp_path / "x.npy", listed)
    assert found.column("camera").tolist() == ["c0", "c1", ""] * 4


def test_some_of_the_items() -> None:
    metadata = pd.DataFrame({"camera": ["a", "b", "c"]})
    texts = np.array(["x", "y", "z"])
    whole = EmbeddingSet(np.eye(3), texts, texts, texts, None, {}, metadata)
    for kept in (np.array([True, False, True]), np.array([0, 2])):
        some = whole.rows(kept)
        assert some.labels.tolist() == ["x", "z"]
        assert some.column("camera").tolist() == ["a", "c"]
    bare = EmbeddingSet(np.eye(3), texts, texts, texts, None, {})
    assert bare.rows(np.array([1])).ids.tolist() == ["y"]
    with pytest.raises(BenchError, match="no column 'camera', and no metadata at all"):
        bare.column("camera")


def test_where_the_frames_of_a_clip_differ_there_is_none() -> None:
    frame = pd.DataFrame(
        {
            "path": list("123"),
            "label": "l",
            "group": list("aab"),
            "c": list("ttt"),
            "d": list("xyz"),
        }
    )
    rows = average_groups(np.eye(3, dtype=np.float32), None, frame, normalize=False)[2]
    assert rows[["c", "d"]].to_numpy().tolist() == [["t", ""], ["t", "z"]]


def test_values_of_any_kind_are_text() -> None:
    values = pd.Series([1, 2.0, 2.5, None, float("nan"), True, "a\n b"], dtype=object)
    assert as_metadata(values).tolist() == ["1", "2", "2.5", "", "", "True", "a b"]
