"""Anybody's vectors: read from three formats, trained on, embedded; each fault in one sentence."""

from __future__ import annotations

import base64
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from command_line import Command

from stt_bench.benchmark.compare.look import look
from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.config.sections import DataConfig
from stt_bench.benchmark.datasets import ItemTable, load_items
from stt_bench.benchmark.datasets.vectors import read_vectors
from stt_bench.benchmark.embedding.embed import embed, embed_queries
from stt_bench.benchmark.embedding.external import read_external_set
from stt_bench.benchmark.store.runs import run_of
from stt_bench.benchmark.suite import load_table
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.training.train import train

QUIET = Reporter(quiet=True)
CLASSES, EACH, WIDTH = 8, 6, 5
N = CLASSES * EACH
LIST_OF_PYARROW = (  # 4 rows of [0, 1, 2], [3, 4, 5], ... in a column of fixed-size lists
    "UEFSMRUEFWAVYEwVGBUAEgAAMAAABQGkgD8AAABAAABAQAAAgEAAAKBAAADAQAAA4EAAAABBAAAQQQAAIEEA"
    "ADBBFQAVLhUyLBUYFRAVBhUGHBgEAAAwQRgEAAAAgBYAKAQAADBBGAQAAACAEREAAAAXWAMAAAAFtg0CAAAA"
    "GAMEBRAyVHaYugAAFQQZTDUAGAZzY2hlbWEVAgA1AhgDZW1iFQIVBkw8AAAANQQYBGxpc3QVAgAVCCUCGAdl"
    "bGVtZW50ABYIGRwZHCYAHBUIGTUABhAZOANlbWIEbGlzdAdlbGVtZW50FQIWGBaIAhaMAiaEASYIHBgEAAAw"
    "QRgEAAAAgBYAKAQAADBBGAQAAACAEREAGSwVBBUAFQIAFQAVEBUCADwpJggQGUYAAAAYAAAAFogCFggmCBaM"
    "AgAZHBgMQVJST1c6c2NoZW1hGOwBLy8vLy82Z0FBQUFRQUFBQUFBQUtBQXdBQmdBRkFBZ0FDZ0FBQUFBQkJB"
    "QU1BQUFBQ0FBSUFBQUFCQUFJQUFBQUJBQUFBQUVBQUFBRUFBQUF6UC8vL3dBQUFSQVVBQUFBSUFBQUFBUUFB"
    "QUFCQUFBQUxBQUFBQU1BQUFCbGJXSUFBQUFHQUFnQUJBQUdBQUFBQXdBQUFCQUFGQUFJQUFZQUJ3QU1BQUFB"
    "RUFBUUFBQUFBQUFCQXhBQUFBQWNBQUFBQkFBQUFBQUFBQUFFQUFBQWFYUmxiUUFBQmdBSUFBWUFCZ0FBQUFB"
    "QUFRQT0AGCBwYXJxdWV0LWNwcC1hcnJvdyB2ZXJzaW9uIDI2LjAuMRkcHAAAANsBAABQQVIx"
)

pytestmark = pytest.mark.filterwarnings("ignore:.*infer_string.*")  # fastparquet as it is


def vectors() -> np.ndarray:
    centers = np.repeat(np.eye(CLASSES, WIDTH) * 3, EACH, axis=0)
    return (centers + np.random.default_rng(0).normal(size=(N, WIDTH))).astype(np.float32)


def items_csv() -> pd.DataFrame:
    label = np.repeat([f"c{i}" for i in range(CLASSES)], EACH)
    return pd.DataFrame({"label": label, "split": ["train"] * (N // 2) + ["test"] * (N // 2)})


def save(file: Path, x: np.ndarray) -> Path:
    if file.suffix == ".npy":
        np.save(file, x)
    elif file.suffix == ".h5":
        with h5py.File(file, "w") as h5:
            h5["emb"] = x
    else:
        pd.DataFrame(x, columns=[f"f{i}" for i in range(x.shape[1])]).assign(name="x").to_parquet(
            file
        )
    return file


def load(
    file: Path, csv: pd.DataFrame | None = None, task: str = "retrieval", **options: Any
) -> ItemTable:
    (items_csv() if csv is None else csv).to_csv(file.parent / "items.csv", index=False)
    options = {"items": "items.csv", **options}
    return load_items(DataConfig(name="features", root=str(file), task=task, options=options))


def seen(items: ItemTable) -> np.ndarray:
    assert items.vectors is not None
    return items.vectors.vectors[[items.vectors.rows[path] for path in items.frame["path"]]]


@pytest.mark.parametrize(
    ("suffix", "dtype"),
    [  # fastparquet writes no float16
        *product(["npy", "h5", "parquet"], ["float32", "float64"]),
        *product(["npy", "h5"], ["float16"]),
    ],
)
def test_formats_and_types(tmp_path: Path, suffix: str, dtype: str) -> None:
    x = vectors().astype(dtype)
    items = load(save(tmp_path / f"x.{suffix}", x))
    np.testing.assert_array_equal(seen(items), x)
    assert items.width == WIDTH


def test_the_format_is_not_part_of_the_data(tmp_path: Path) -> None:
    hashes = {
        load(save(tmp_path / f"x.{suffix}", vectors())).data_hash
        for suffix in ("npy", "h5", "parquet")
    }
    assert len(hashes) == 1
    changed = vectors()
    changed[7, 3] = np.nextafter(changed[7, 3], 1)
    assert load(save(tmp_path / "y.npy", changed)).data_hash not in hashes


def test_lists_of_a_parquet_file(tmp_path: Path) -> None:
    file = tmp_path / "x.parquet"
    file.write_bytes(base64.b64decode(LIST_OF_PYARROW))
    csv = pd.DataFrame({"label": list("abab"), "split": ["train"] * 2 + ["test"] * 2})
    found = seen(load(file, csv, "classification"))
    np.testing.assert_array_equal(found, np.arange(12).reshape(4, 3))


def test_columns_that_say_what_an_item_is_are_no_numbers(tmp_path: Path) -> None:
    """The label, read as a coordinate, would give the answer away."""
    frame = pd.DataFrame(vectors(), columns=[f"f{i}" for i in range(WIDTH)])
    label = np.repeat(np.arange(CLASSES), EACH)
    file = tmp_path / "x.parquet"
    frame.assign(label=label, camera=label % 2).to_parquet(file)
    items = load(file)
    assert items.width == WIDTH
    assert items.notes == (f"{file}: no part of the vectors: label, camera",)
    np.testing.assert_array_equal(seen(items), vectors())
    (tmp_path / "own").mkdir()
    one = look(file.rename(tmp_path / "own" / "x.parquet"))
    assert one.width == WIDTH
    assert list(one.frame["label"]) == [str(number) for number in label]
    scored = read_external_set(tmp_path / "own" / "x.parquet", tmp_path / "own" / "x.parquet")
    np.testing.assert_array_equal(scored.embeddings, vectors())
    assert scored.labels.tolist() == list(one.frame["label"])
    assert list(scored.metadata) == ["camera"]
    assert {"camera"} == set(one.frame) & {"camera", "f0"}
    plain = pd.DataFrame({"length": [1.0, 2, 3], "width": [2.0, 3, 4], "class_id": [0, 1, 0]})
    plain.to_parquet(file)
    assert read_vectors(file, None).columns == ("length", "width")


def test_lists_of_lists_are_told(tmp_path: Path) -> None:
    file = tmp_path / "x.parquet"
    ragged = pd.DataFrame({"emb": [[[1.0], [2.0, 3.0]]] * N})
    ragged.to_parquet(file, object_encoding="json")
    with pytest.raises(BenchError, match="the column 'emb' holds lists of lists: one list of"):
        load(file)


def test_a_named_dataset(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as h5:
        h5["a/mine"] = vectors()
    np.testing.assert_array_equal(seen(load(tmp_path / "x.h5", array="a/mine")), vectors())


def test_rows_by_number(tmp_path: Path) -> None:
    """A csv in another order, of some of the vectors, finds its own by the column row."""
    order = np.random.default_rng(1).permutation(N)[: N - 3]
    csv = items_csv().iloc[order].assign(row=order, id=[f"item{i}" for i in order])
    items = load(save(tmp_path / "x.npy", vectors()), csv)
    np.testing.assert_array_equal(seen(items), vectors()[order])
    assert items.frame["path"].tolist() == [f"item{i}" for i in order]
    assert "3 of 48 vectors are not used: no row names them" in items.notes


def test_roles_and_groups(tmp_path: Path) -> None:
    role = np.where(np.arange(N) < N // 2, "both", np.where(np.arange(N) % 2, "query", "gallery"))
    group = [f"g{i // 2}" for i in range(N)]
    items = load(save(tmp_path / "x.npy", vectors()), items_csv().assign(group=group))
    assert set(items.frame["group"]) == set(group)
    items = load(save(tmp_path / "x.npy", vectors()), items_csv().assign(role=role))
    assert items.frame["role"].tolist() == role.tolist()


def bad_value(value: float) -> np.ndarray:
    x = vectors().astype(np.float64)
    x[30, 2] = x[41, 0] = value
    return x


FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "nan": (
        lambda p: load(save(p / "x.npy", bad_value(np.nan))),
        r"x\.npy: values are no float32 numbers in 2 of 48 rows, the first is row 31, X\[30\] in "
        "NumPy, with nan: compute such rows anew",
    ),
    "infinite": (lambda p: load(save(p / "x.h5", bad_value(-np.inf))), r"row 31, .* with -inf"),
    "beyond float32": (
        lambda p: load(save(p / "x.npy", bad_value(1e39))), r"row 31, .* with 1e\+39"
    ),
    "lengths": (
        lambda p: load(save(p / "x.npy", vectors()[:-1])),
        r"items\.csv has 48 items and .*x\.npy 47 vectors: row i of the one",
    ),
    "no label": (
        lambda p: load(save(p / "x.npy", vectors()), items_csv().drop(columns="label")),
        r"items\.csv:1: no column is known as the label, the header has split: name it by columns",
    ),
    "no split": (
        lambda p: load(save(p / "x.npy", vectors()), items_csv().drop(columns="split")),
        r"items\.csv:1: no column is known as the split, the header has label: name it by columns",
    ),
    "wrong split": (
        lambda p: load(
            save(p / "x.npy", vectors()), items_csv().replace({"split": {"train": "tain"}})
        ),
        r"items\.csv:2: split 'tain' is not valid: did you mean 'train'\?",
    ),
    "one split": (
        lambda p: load(save(p / "x.npy", vectors()), items_csv().assign(split="train")),
        r"items\.csv: there are no test items by its own split: write test in the column split for "
        "whole classes$",
    ),
    "row beyond": (
        lambda p: load(save(p / "x.npy", vectors()), items_csv().assign(row=range(1, N + 1))),
        r"item 48 has the row '48': give one from 0 to 47",
    ),
    "row of many digits": (
        lambda p: load(
            save(p / "x.npy", vectors()), items_csv().assign(row=["9" * 5000, *range(N - 1)])
        ),
        r"item 1 has the row '9{40}': give one from 0 to 47",
    ),
    "row twice": (
        lambda p: load(save(p / "x.npy", vectors()), items_csv().assign(row=[0, *range(N - 1)])),
        r"row 0 is there twice",
    ),
    "id twice": (
        lambda p: load(save(p / "x.npy", vectors()), items_csv().assign(id="a")),
        r"the id a is there twice",
    ),
    "no items": (
        lambda p: load_items(DataConfig(name="features", root=str(save(p / "x.npy", vectors())))),
        r"dataset 'features' needs the option items",
    ),
    "no root": (
        lambda p: load_items(DataConfig(name="features", options={"items": "items.csv"})),
        r"dataset 'features' needs data\.root, the file of the vectors",
    ),
    "no such file": (lambda p: load(p / "x.npy"), r"data\.root .*x\.npy does not exist"),
    "a folder": (lambda p: load(p), r"is a folder: name the \.npy, \.h5 or \.parquet file"),
    "another format": (
        lambda p: load(Path(np.savetxt(p / "x.txt", vectors()) or p / "x.txt")),
        r"x\.txt: vectors are read from \.npy, \.h5, \.hdf5, \.parquet",
    ),
    "no such dataset": (
        lambda p: load(save(p / "x.h5", vectors()), array="mine"),
        r"has no dataset 'mine', it has emb",
    ),
    "no such column": (
        lambda p: load(save(p / "x.parquet", vectors()), array="mine"),
        r"has no column 'mine', it has f0, f1",
    ),
    "no parquet": (
        lambda p: load(Path((p / "x.parquet").write_text("x") and p / "x.parquet")),
        r"x\.parquet: cannot be read as Parquet",
    ),
    "one dimension": (
        lambda p: load(save(p / "x.npy", vectors()[:, 0])), r"\(N, D\) numbers are expected"
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_one_sentence(tmp_path: Path, fault: str) -> None:
    act, told = FAULTS[fault]
    with pytest.raises(BenchError, match=told) as error:
        act(tmp_path)
    assert "\n" not in str(error.value)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    save(tmp_path / "x.npy", vectors())
    items_csv().to_csv(tmp_path / "items.csv", index=False)
    path = tmp_path / "mine.yaml"
    path.write_text(
        f"""\
title: Mine
data: {{name: features, root: {tmp_path / "x.npy"}, options: {{items: items.csv}}}}
model: {{backbone: identity, embedding_dim: 3}}
sampler: {{name: pxk, p: 3, k: 3}}
train: {{steps: 20, log_every: 10, threads: 1}}
optimizer: {{name: sgd, lr: 0.01, momentum: 0}}
evaluation: {{ks: [1], restarts: 1}}
rows:
  untrained: {{loss: softmax, model: {{head: none}}, train: {{steps: 0}}}}
  softmax: {{loss: softmax}}
  mlp: {{loss: triplet, model: {{head: mlp}}}}
  two: {{loss: triplet, softmax_head: true}}
  identity: {{loss: contrastive, model: {{head_start: identity}}, train: {{steps: 0}}}}
""".replace("loss: triplet", "loss: batch_all_triplet")
    )
    return path


def test_a_table_runs_from_the_command_line(
    stt_bench: Command, table: Path, tmp_path: Path
) -> None:
    folders = ["--runs", tmp_path / "runs", "--results", tmp_path / "results"]
    idle = "in two the classifier of softmax_head stands on frozen features: it teaches the head no"
    planned = stt_bench("run", table, *folders, "--seeds", "0", "--dry-run")
    assert f"  {idle}" in planned.stdout
    done = stt_bench("run", table, *folders, "-q")
    assert done.returncode == 0, done
    assert done.stderr.count(idle) == 1
    embedded = np.load(tmp_path / "runs/mine/untrained/seed-0/embeddings/test/embeddings.npy")
    np.testing.assert_array_equal(embedded, vectors()[N // 2 :])
    embedded = np.load(tmp_path / "runs/mine/identity/seed-0/embeddings/test/embeddings.npy")
    np.testing.assert_allclose(embedded, vectors()[N // 2 :, :3], rtol=1e-6)


def test_vectors_are_not_called_images(table: Path, stt_bench: Command) -> None:
    done = stt_bench("run", table, "--dry-run", "--set", "sampler.p=99")
    assert f": {N} vectors, " in done.stdout
    assert "image" not in done.stdout


@pytest.mark.parametrize("weighted", [False, True])
def test_training_is_gradient_descent_on_the_vectors(
    table: Path, tmp_path: Path, weighted: bool
) -> None:
    """Against a hand-written loop: softmax on a linear head, plain SGD, full batches."""
    counted = torch.ones(N // 2, dtype=torch.float64)
    if weighted:
        counted = torch.arange(N // 2).double() % 5
        both = [*counted.tolist(), *[""] * (N // 2)]
        items_csv().assign(weight=both).to_csv(tmp_path / "items.csv", index=False)
    settings = ["sampler.name=uniform", f"sampler.batch_size={N // 2}", "optimizer.lr=0.1"]
    start, end = (
        run_of(load_table(str(table), [*settings, f"train.steps={steps}"]), "softmax", 0,
               tmp_path / f"{steps}")
        for steps in (0, 15)
    )  # fmt: skip
    for run in (start, end):
        train(run, QUIET)
    before, after = (safetensors.torch.load_file(run.weights) for run in (start, end))
    names = [name for name in before if not torch.equal(before[name], after[name])]
    assert len(names) == 4
    weights = {name: before[name].double().requires_grad_() for name in names}
    x = torch.from_numpy(vectors()[: N // 2]).double()
    y = torch.from_numpy(np.repeat(np.arange(CLASSES // 2), EACH))
    classifier = next(name for name in names if "objective" in name and "weight" in name)
    for _ in range(15):
        hidden = x @ weights["network.head.weight"].T + weights["network.head.bias"]
        scores = hidden @ weights[classifier].T + weights[classifier.replace("weight", "bias")]
        each = torch.nn.functional.cross_entropy(scores, y, reduction="none")
        loss = (counted * each).sum() / counted.sum()
        gradients = torch.autograd.grad(loss, list(weights.values()))
        for weight, gradient in zip(weights.values(), gradients, strict=True):
            weight.data -= 0.1 * gradient
    for name, weight in weights.items():
        torch.testing.assert_close(after[name].double(), weight.detach(), atol=1e-5, rtol=1e-4)


def test_no_images_where_vectors_are_and_the_reverse(
    stt_bench: Command, table: Path, tmp_path: Path
) -> None:
    run = run_of(load_table(str(table)), "softmax", 0, tmp_path / "runs")
    train(run, QUIET)
    embed(run, QUIET)
    with pytest.raises(BenchError, match="was trained on vectors: it takes no images"):
        embed_queries(run, {})
    for command in (
        ["map", run.folder, "--thumbnails"],
        ["neighbors", run.folder, "0000003"],
        ["distance", run.folder, "0000003", "0000004"],
        ["embed", run.folder, "--images", tmp_path, "--to", tmp_path / "to"],
    ):
        done = stt_bench(*command)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.endswith(" on vectors: it takes no images, and there is none to show\n")
        assert done.stderr.count("\n") == 1
    with pytest.raises(BenchError, match="takes images: use backbone: identity"):
        load_table(str(table), ["model.backbone=small_cnn"])
    with pytest.raises(BenchError, match=r"input is of images, and backbone: identity takes"):
        load_table(str(table), ["input.size=32"])
    other = load_table(str(table), ["data.name=digits", "data.root=null", "data.options={}"])
    with pytest.raises(BenchError, match="identity takes vectors, and dataset 'digits' has images"):
        train(run_of(other, "softmax", 0, tmp_path / "other"), QUIET)


def test_an_identity_start_needs_enough_features(table: Path, tmp_path: Path) -> None:
    wide = load_table(str(table), ["model.embedding_dim=6"])
    with pytest.raises(BenchError, match=r"identity gives no more than the 5 features"):
        train(run_of(wide, "identity", 0, tmp_path / "runs"), QUIET)
    with pytest.raises(ValueError, match="head_start: pca needs head: linear, not mlp"):
        Experiment.model_validate(
            {"data": {"name": "digits"}, "loss": "softmax",
             "model": {"head": "mlp", "head_start": "pca"}}
        )  # fmt: skip
