"""HDF5 of tf_retrieval_baseline's layout, in and out, against h5py itself."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from command_line import Command

from stt_bench.benchmark.store.embedding_set import read_embedding_set


@pytest.fixture
def run(stt_bench: Command, tiny: Path, tmp_path: Path) -> Path:
    done = stt_bench(
        "train", tiny, "--row", "hard", "--runs", tmp_path / "runs", "--set", "train.steps=0",
        "--results", tmp_path / "results", "--set", "evaluation.storage=float16", "-q",
    )  # fmt: skip
    assert done[0] == 0, done
    folder = Path(done[1].strip())
    assert stt_bench("embed", folder, "-q")[0] == 0
    return folder


def theirs(folder: Path, **datasets: object) -> tuple[Path, Path]:
    """Write a file as tf_retrieval_baseline does, of six items in three classes."""
    rng = np.random.default_rng(0)
    content = {"emb": rng.normal(size=(6, 4)).astype(np.float32), **datasets}
    with h5py.File(folder / "x.h5", "w") as file:
        for key, value in content.items():
            if value is not None:
                file[key] = value
    (folder / "x.csv").write_text("".join(f"00{i % 3},images/{i}.jpg\n" for i in range(6)))
    return folder / "x.h5", folder / "x.csv"


def test_export_and_back(stt_bench: Command, run: Path, tmp_path: Path) -> None:
    target = tmp_path / "out/x.h5"
    assert stt_bench("export", run, "--to", target) == (0, f"{target}\n", "")
    own = read_embedding_set(run / "embeddings/test")
    with h5py.File(target) as file:
        assert file["emb"].dtype == np.float32
        np.testing.assert_array_equal(file["emb"][()], own.embeddings.astype(np.float32))
    lines = target.with_suffix(".csv").read_text().splitlines()
    assert lines == [f"{label},{path}" for label, path in zip(own.labels, own.ids, strict=True)]
    array, items = run / "embeddings/test/embeddings.npy", run / "embeddings/test/items.csv"
    scores = [
        stt_bench("eval", "--embeddings", x, "--labels", y)
        for x, y in ((array, items), (target, target.with_suffix(".csv")), (target, items))
    ]
    assert scores[0][0] == 0
    assert scores[0] == scores[1] == scores[2]


def test_export_of_an_embedding_set_is_the_same_file(
    stt_bench: Command, run: Path, tmp_path: Path
) -> None:
    assert stt_bench("export", run, "--to", tmp_path / "a.h5")[0] == 0
    assert stt_bench("export", run / "embeddings/test", "--to", tmp_path / "b.h5")[0] == 0
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_rows_in_another_order_are_found_out(stt_bench: Command, run: Path, tmp_path: Path) -> None:
    assert stt_bench("export", run, "--to", tmp_path / "x.h5")[0] == 0
    labels = tmp_path / "x.csv"
    lines = labels.read_text().splitlines()
    labels.write_text("\n".join([*lines[:3], lines[4], lines[3], *lines[5:]]))
    code, _, said = stt_bench("eval", "--embeddings", tmp_path / "x.h5", "--labels", labels)
    assert code == 2
    assert "not the same items in the same order: entry 4" in said


def test_export_overwrites_only_when_forced(stt_bench: Command, run: Path, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("mine")
    code, _, said = stt_bench("export", run, "--to", tmp_path / "x.h5")
    assert code == 2
    assert "x.csv exists" in said
    assert (tmp_path / "x.csv").read_text() == "mine"
    assert not (tmp_path / "x.h5").exists()
    assert stt_bench("export", run, "--to", tmp_path / "x.h5", "--force")[0] == 0
    assert (tmp_path / "x.csv").read_text() != "mine"


def test_roles_that_the_csv_cannot_hold_are_told(
    stt_bench: Command, run: Path, tmp_path: Path
) -> None:
    from stt_bench.benchmark.system.files import sha256_of, write_json

    folder = run / "embeddings/test"
    items = folder / "items.csv"
    items.write_text(items.read_text().replace(",both", ",query", 1))
    meta = json.loads((folder / "meta.json").read_text())
    write_json(folder / "meta.json", meta | {"items_sha256": sha256_of(items)})
    code, _, said = stt_bench("export", run, "--to", tmp_path / "x.h5", "-q")
    assert code == 0
    assert "no place for the roles" in said


def test_their_files_are_scored(stt_bench: Command, tmp_path: Path) -> None:
    x, y = theirs(
        tmp_path, emb_aug=np.zeros((2, 6, 4)), augmentation_types=np.array([b"center", b"flip"])
    )
    code, shown, _ = stt_bench("eval", "--embeddings", x, "--labels", y, "--ks", "1,2")
    assert code == 0
    rng = np.random.default_rng(0)
    points = rng.normal(size=(6, 4)).astype(np.float32)
    hits = []
    for i in range(6):
        others = [j for j in range(6) if j != i]
        nearest = min(others, key=lambda j: float(np.linalg.norm(points[i] - points[j])))
        hits.append(nearest % 3 == i % 3)
    assert json.loads(shown)["recall@1"] == pytest.approx(np.mean(hits))


@pytest.mark.parametrize("ids", [np.arange(6), "one", [b"a", b"b"]])
def test_a_file_with_other_ids_is_scored(stt_bench: Command, tmp_path: Path, ids: object) -> None:
    x, y = theirs(tmp_path, ids=ids)
    assert stt_bench("eval", "--embeddings", x, "--labels", y)[0] == 0


@pytest.mark.parametrize(
    ("datasets", "said"),
    [
        ({"emb": None, "embs": np.eye(6), "other": [1]}, "no dataset 'emb', it has embs, other"),
        ({"emb": None}, "it has nothing"),
        ({"emb": np.zeros(6)}, "(N, D) numbers are expected"),
        ({"emb": np.full((6, 2), b"a")}, "(N, D) numbers are expected"),
        ({"emb": "text"}, "(N, D) numbers are expected"),
        ({"emb": np.eye(5)}, "has 5 rows but"),
        ({"emb": np.array([[0.0, 1], [np.nan, 0]] * 3)}, "NaN"),
    ],
)
def test_files_that_are_refused(
    stt_bench: Command, tmp_path: Path, datasets: dict[str, object], said: str
) -> None:
    x, y = theirs(tmp_path, **datasets)
    code, _, told = stt_bench("eval", "--embeddings", x, "--labels", y, "--device", "cpu")
    assert code == 2
    assert said in told
    assert str(x) in told
    assert len(told.strip().splitlines()) == 1


def test_a_cut_off_file(stt_bench: Command, tmp_path: Path) -> None:
    x, y = theirs(tmp_path)
    x.write_bytes(x.read_bytes()[:-30])
    code, _, told = stt_bench("eval", "--embeddings", x, "--labels", y)
    assert code == 2
    assert "cannot be read as HDF5" in told


def test_files_that_are_no_hdf5(stt_bench: Command, run: Path, tmp_path: Path) -> None:
    (tmp_path / "x.h5").write_bytes(b"no")
    (tmp_path / "x.csv").write_text("a,0.png\n")
    labels = ["--labels", tmp_path / "x.csv"]
    assert (
        "cannot be read as HDF5" in stt_bench("eval", "--embeddings", tmp_path / "x.h5", *labels)[2]
    )
    assert "no such file" in stt_bench("eval", "--embeddings", tmp_path / "y.h5", *labels)[2]
    assert "name it .h5" in stt_bench("export", run, "--to", tmp_path / "x")[2]
    assert (
        "no train embeddings"
        in stt_bench("export", run, "--to", tmp_path / "z.h5", "--split", "train")[2]
    )
    assert "is not a run" in stt_bench("export", tmp_path, "--to", tmp_path / "z.h5")[2]
