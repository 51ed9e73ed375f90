"""External embeddings and csvs of labels, as they come: measured as meant, or one sentence."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from command_line import Command

from stt_bench.benchmark.embedding.external import read_external_set
from stt_bench.benchmark.system import hdf5
from stt_bench.benchmark.system.arrays import read_array
from stt_bench.benchmark.system.errors import BenchError

ROWS = 80


@pytest.fixture
def points(tmp_path: Path) -> np.ndarray:
    """80 items of 8 classes, the second half to be tested."""
    array = np.random.default_rng(0).normal(size=(ROWS, 4)) + np.arange(ROWS)[:, None] % 8
    np.save(tmp_path / "x.npy", array)
    return array


def write(folder: Path, header: str, line: Callable[[int], str]) -> Path:
    (folder / "y.csv").write_text("\n".join([header, *map(line, range(ROWS))]))
    return folder / "y.csv"


def recall_at_1(points: np.ndarray, queries: list[int], gallery: list[int]) -> float:
    """Return the share of queries whose nearest other item of the gallery is of their class."""
    hits = []
    for query in queries:
        others = [row for row in gallery if row != query]
        nearest = min(others, key=lambda row: float(np.sum((points[row] - points[query]) ** 2)))
        hits.append(nearest % 8 == query % 8)
    return float(np.mean(hits))


LISTS: dict[str, tuple[str, Callable[[int], str], range, range]] = {
    "own": (
        "path,label,split,role",
        lambda i: f"{i}.jpg,{i % 8},{'train' if i < 40 else 'test'},both",
        range(40, 80),
        range(40, 80),
    ),
    "of re-identification, without paths": (  # `pid` is no slip of `id`
        "pid;camid;split",
        lambda i: f"{i % 8};{i % 3};{'train' if i < 40 else 'test'}",
        range(40, 80),
        range(40, 80),
    ),
    "own, with roles": (
        "path,label,split,role",
        lambda i: (
            f"{i}.jpg,{i % 8},{'train' if i < 40 else 'test'},"
            + ("both" if i < 40 else "query" if i < 50 else "gallery")
        ),
        range(40, 50),
        range(50, 80),
    ),
    "OML": (
        "label,path,split,is_query,is_gallery,x_1",
        lambda i: (
            f"{i % 8},{i}.jpg," + ("train,,,0" if i < 40 else f"validation,{i < 50},{i >= 50},0")
        ),
        range(40, 50),
        range(50, 80),
    ),
    "a flag of the split": (
        "label,is_train,split_of_them",
        lambda i: f"{i % 8},{i < 40},x",
        range(40, 80),
        range(40, 80),
    ),
    "flags without a split": (
        "label,is_query,is_gallery",
        lambda i: f"{i % 8},{int(i < 20)},{int(i < 70)}",
        range(20),
        range(70),
    ),
}


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("alone", [False, True])
def test_split_and_roles_are_those_of_the_csv(
    stt_bench: Command, points: np.ndarray, tmp_path: Path, name: str, alone: bool
) -> None:
    header, line, queries, gallery = LISTS[name]
    labels = write(tmp_path, header, line)
    if alone:  # the embeddings of what is measured, the csv of all
        np.save(tmp_path / "x.npy", points[sorted({*queries, *gallery})])
    code, out, said = stt_bench(
        "eval",
        "--embeddings",
        tmp_path / "x.npy",
        "--labels",
        labels,
        "--no-clustering",
        "--distance",
        "euclidean",
    )
    assert code == 0, said
    measured = json.loads(out)
    assert measured["queries"] == len(queries)
    assert measured["recall@1"] == pytest.approx(recall_at_1(points, [*queries], [*gallery]))
    if "split" in header:  # in that of the flag, too
        assert "40 test items measured, 40 train items not" in " ".join(said.split())


def test_unknown_columns_are_named(stt_bench: Command, points: np.ndarray, tmp_path: Path) -> None:
    labels = write(tmp_path, "label,colour,x_1", lambda i: f"{i % 8},red,7")
    code, _, said = stt_bench("eval", "--embeddings", tmp_path / "x.npy", "--labels", labels)
    assert code == 0
    assert "further columns are kept as metadata: colour, x_1" in " ".join(said.split())


@pytest.mark.parametrize(
    ("header", "line", "message"),
    [
        ("label,split", lambda i: "a,train", "no test items"),
        ("label", lambda i: "a", "all items that can be found are of the class 'a'"),
        ("label,role", lambda i: f"{i % 8},query" if i else "3,gallery", "are of the class '3'"),
        ("label,split", lambda i: f"{i % 8},tset", r"y.csv:2: split 'tset' .* mean 'test'"),
        (
            "label,spilt",
            lambda i: f"{i % 8},test",
            r"y.csv:1: column 'spilt': did you mean 'split'",
        ),
    ],
)
def test_lists_that_are_refused(
    points: np.ndarray, tmp_path: Path, header: str, line: Callable[[int], str], message: str
) -> None:
    labels = write(tmp_path, header, line)
    with pytest.raises(BenchError, match=message):
        read_external_set(tmp_path / "x.npy", labels)


def test_the_numbers_of_rows_are_told(points: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", points[:7])
    labels = write(tmp_path, *LISTS["own"][:2])
    with pytest.raises(BenchError, match=r"has 7 rows but .* has 80 labels, 40 of them to be meas"):
        read_external_set(tmp_path / "x.npy", labels)


def test_a_header_of_another_name_is_told(points: np.ndarray, tmp_path: Path) -> None:
    labels = write(tmp_path, "kind", lambda i: f"{i % 8}")
    with pytest.raises(BenchError, match=r"80 rows but .* 81 labels.*the first label, 'kind', is"):
        read_external_set(tmp_path / "x.npy", labels)


def test_the_ids_of_an_h5_are_those_of_the_test_items(points: np.ndarray, tmp_path: Path) -> None:
    labels = write(tmp_path, *LISTS["own"][:2])
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["emb"], file["ids"] = points, [f"{i}.jpg" for i in range(ROWS)]
    found = read_external_set(tmp_path / "x.h5", labels)
    assert found.ids.tolist() == [f"{i}.jpg" for i in range(40, 80)]
    np.testing.assert_array_equal(found.embeddings, points[40:])


@pytest.mark.parametrize("dtype", [">f8", "<f8", "f2", ">i4", "u1"])
def test_numbers_keep_their_type(tmp_path: Path, dtype: str) -> None:
    array = np.arange(6).reshape(3, 2).astype(dtype)
    np.save(tmp_path / "x.npy", array)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["emb"] = array
    for found in (read_array(tmp_path / "x.npy"), hdf5.read_hdf5(tmp_path / "x.h5")[0]):
        np.testing.assert_array_equal(found, array)
        assert found.dtype == np.dtype(dtype).newbyteorder("=")


@pytest.mark.parametrize("chunks", [None, (16, 2)])
def test_embeddings_far_from_the_origin_keep_their_order(
    stt_bench: Command, points: np.ndarray, tmp_path: Path, chunks: tuple[int, int] | None
) -> None:
    """Distances do not change by a shift; float32 knows only multiples of 8 near 1e8."""
    labels = write(tmp_path, "label", lambda i: f"{i % 8}")
    np.save(tmp_path / "far.npy", points + 1e8)
    with h5py.File(tmp_path / "far.h5", "w") as file:
        file.create_dataset("emb", data=points + 1e8, chunks=chunks)
    rows = list(range(ROWS))
    for name in ("far.npy", "far.h5"):
        code, out, _ = stt_bench(
            "eval", "--embeddings", tmp_path / name, "--labels", labels, "--distance", "euclidean"
        )
        assert code == 0
        assert json.loads(out)["recall@1"] == pytest.approx(recall_at_1(points, rows, rows))


def save_npz(path: Path) -> None:
    with path.open("wb") as stream:
        np.savez(stream, a=np.eye(3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            save_npz,
            r"x.npy: is a zip archive \(as .npz and .pt are\), no NumPy array file: save",
        ),
        (lambda path: path.write_bytes(b"\xff\xd8\xff\xe0"), "x.npy: is a JPEG image, no NumPy"),
        (lambda path: path.write_bytes(pickle.dumps([1])), r"x.npy: is no NumPy array file"),
        (lambda path: path.write_text("0.1,0.2\n"), r"x.npy: is no NumPy array file"),
        (lambda path: path.write_bytes(b""), r"x.npy: is no NumPy array file"),
        (lambda path: path.mkdir(), r"x.npy is a folder: name the .npy"),
        (lambda path: path.write_bytes(b"\x93NUMPY"), "cannot be read as a NumPy array"),
        (lambda path: np.save(path, np.array([[None]])), "it holds Python objects, not numbers"),
        (lambda path: np.save(path, np.zeros(3)), r"holds float64 of shape \(3,\); \(N, D\)"),
        (lambda path: np.save(path, np.zeros((2, 2, 2))), r"holds float64 of shape \(2, 2, 2\)"),
        (lambda path: np.save(path, np.zeros((2, 2), complex)), "holds complex128 of shape"),
        (lambda path: np.save(path, np.zeros((2, 2), bool)), r"holds bool .*astype\('uint8'\)"),
        (lambda path: np.save(path, np.array([["a"]])), "holds <U1 of shape"),
        (lambda path: np.save(path, np.zeros((0, 4))), r"an empty array of shape \(0, 4\)"),
        (lambda path: np.save(path, np.zeros((4, 0))), r"an empty array of shape \(4, 0\)"),
    ],
)
def test_files_that_are_no_embeddings(
    tmp_path: Path, make: Callable[[Path], object], message: str
) -> None:
    make(tmp_path / "x.npy")
    with pytest.raises(BenchError, match=message) as told:
        read_array(tmp_path / "x.npy")
    assert "\n" not in str(told.value)
    assert "allow_pickle" not in str(told.value)


def test_a_cut_off_array(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((100, 100)))
    (tmp_path / "x.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:-8])
    with pytest.raises(BenchError, match="cannot be read as a NumPy array"):
        read_array(tmp_path / "x.npy")


def test_an_h5_in_one_piece_is_opened_in_place(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["emb"] = np.arange(6.0).reshape(3, 2)
    found, _ = hdf5.read_hdf5(tmp_path / "x.h5")
    assert isinstance(found, np.memmap)
    assert found.tolist() == [[0, 1], [2, 3], [4, 5]]


@pytest.fixture
def six(tmp_path: Path) -> tuple[str, ...]:
    """Return the arguments of eval of six items, of which four are of the test split."""
    lines = [
        "sort,split",
        *(f"c{number % 2},{['train', 'test', 'test'][number % 3]}" for number in range(6)),
    ]
    (tmp_path / "y.csv").write_text("\n".join(lines) + "\n")
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(6, 4)))
    return ("eval", "--embeddings", str(tmp_path / "x.npy"), "--labels", str(tmp_path / "y.csv"))


def test_the_file_at_fault_is_named_and_the_option_that_mends_it(
    stt_bench: Command, six: tuple[str, ...], tmp_path: Path
) -> None:
    labels = tmp_path / "y.csv"
    code, _, said = stt_bench(*six)
    assert code == 2
    assert f"{labels}:1: no column is known as the label, " in said
    assert said.endswith("name it by --columns label=NAME\n")
    said = stt_bench(*six, "--columns", "label=sorte")[2]
    assert f"{labels}: --columns label=sorte: did you mean 'sort'?" in said
    for option in ("--query-groups", "--junk"):
        said = stt_bench(*six, "--columns", "label=sort", option, "camera")[2]
        assert f"error: {labels}: the items have no column 'camera'" in said
    labels.write_text(labels.read_text().replace("sort,", "label,bad,").replace(",t", ",odd,t"))
    said = stt_bench(*six, "--junk", "bad")[2]
    assert f"error: {labels}: junk: item '2' has bad 'odd': write true or false" in said
    labels.write_text("\n".join("abcdef"))
    assert f"error: {labels}: No query has a positive" in stt_bench(*six)[2]


def test_items_of_no_group_are_told(
    stt_bench: Command, six: tuple[str, ...], tmp_path: Path
) -> None:
    labels = tmp_path / "y.csv"
    header, *lines = labels.read_text().splitlines()
    cells = ["one", "", "two", "", "one", ""]  # the first and the fourth are not measured
    listed = [f"{line},{cell}" for line, cell in zip(lines, cells, strict=True)]
    labels.write_text("\n".join([f"{header},camera", *listed]))
    code, _, said = stt_bench(*six, "--columns", "label=sort", "--query-groups", "camera")
    assert code == 0, said
    assert f"note: {labels}: camera is empty of item '2' and 1 more: without a group" in said


def test_rows_that_are_no_numbers_are_told_as_in_the_file(
    stt_bench: Command, six: tuple[str, ...], tmp_path: Path
) -> None:
    vectors = np.load(tmp_path / "x.npy")
    vectors[[0, 4, 5], 1] = np.nan  # of which the first is not measured
    np.save(tmp_path / "x.npy", vectors)
    code, _, said = stt_bench(*six, "--columns", "label=sort")
    assert code == 2
    assert (
        f"{tmp_path}/x.npy: values are NaN or infinite in 2 of 4 rows, the first is row 5" in said
    )
    assert "row 5, X[4] in NumPy: compute such rows anew, or leave them and their labels" in said


@pytest.mark.parametrize("name", ["x.h5", "x.parquet"])
def test_what_else_a_file_is(
    stt_bench: Command, six: tuple[str, ...], tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_bytes(b"\xff\xd8\xff\xe0" * 9)
    said = stt_bench(*six, "--embeddings", str(tmp_path / name))[2]
    assert re.search(rf"{name}: cannot be read as \w+( embeddings)?, it is a JPEG image \(", said)


@pytest.mark.parametrize("options", [{"chunks": (2, 3)}, {"compression": "gzip"}])
@pytest.mark.parametrize("dtype", ["f4", ">f8"])
def test_an_h5_in_chunks_is_unpacked_by_slices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, object], dtype: str
) -> None:
    array = np.random.default_rng(0).normal(size=(11, 5)).astype(dtype)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("emb", data=array, **options)
    np.testing.assert_array_equal(hdf5.read_hdf5(tmp_path / "x.h5")[0], array)
    monkeypatch.setattr(hdf5, "_SLICE", 100)
    found, _ = hdf5.read_hdf5(tmp_path / "x.h5")
    assert isinstance(found, np.memmap)
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("shape", [(10**13, 512), (10**13,), (2, 10**14)])
def test_an_h5_larger_than_the_disk_is_refused_unread(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("emb", shape, "f4", chunks=tuple(min(n, 1000) for n in shape))
    with pytest.raises(BenchError, match=r"GiB in chunks, is unpacked into|\(N, D\) numbers"):
        hdf5.read_hdf5(tmp_path / "x.h5")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"y.csv is empty: a csv of labels has a header"),
        (b"a\ncaf\xe9\n", r"y.csv:2: byte 0xe9 is not UTF-8: save the file as UTF-8, or convert"),
        (None, "y.csv is a folder: name a csv file"),
    ],
)
def test_labels_that_cannot_be_read(
    points: np.ndarray, tmp_path: Path, content: bytes | None, message: str
) -> None:
    labels = tmp_path / "y.csv"
    labels.mkdir() if content is None else labels.write_bytes(content)
    with pytest.raises(BenchError, match=message):
        read_external_set(tmp_path / "x.npy", labels)


def test_columns_by_name(stt_bench: Command, points: np.ndarray, tmp_path: Path) -> None:
    labels = write(tmp_path, "kind,colour", lambda i: f"{i % 8},red")
    arguments = ["eval", "--embeddings", tmp_path / "x.npy", "--labels", labels, "--no-clustering"]
    code, _, said = stt_bench(*arguments)
    assert code == 2
    code, out, said = stt_bench(*arguments, "--columns", "label=kind", "--distance", "euclidean")
    assert code == 0, said
    rows = list(range(ROWS))
    assert json.loads(out)["recall@1"] == pytest.approx(recall_at_1(points, rows, rows))
    assert "kept as metadata: colour" in " ".join(said.split())


def test_the_array_of_a_file_of_several(
    stt_bench: Command, points: np.ndarray, tmp_path: Path
) -> None:
    labels = write(tmp_path, "label", lambda i: str(i % 8))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["train"], file["test"] = points[::-1], points
    common = ("--labels", labels, "--no-clustering", "--distance", "euclidean")
    code, _, said = stt_bench("eval", "--embeddings", tmp_path / "x.h5", *common)
    assert code == 2
    assert "has no dataset 'emb', it has test, train" in " ".join(said.split())
    code, out, said = stt_bench(
        "eval", "--embeddings", tmp_path / "x.h5", "--array", "test", *common
    )
    assert code == 0, said
    every = [*range(ROWS)]
    assert json.loads(out)["recall@1"] == pytest.approx(recall_at_1(points, every, every))
    code, _, said = stt_bench(
        "eval", "--embeddings", tmp_path / "x.npy", "--array", "test", *common
    )
    assert code == 2
    assert "holds one array" in said
    for option in (("--array", "test"), ("--columns", "label=kind")):
        code, _, said = stt_bench("eval", tmp_path, *option)
        assert code == 2
        assert "--array and --columns need --embeddings" in said
