"""Embedding images of no dataset with a trained run, through the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import Command
from PIL import Image

from stt_bench.benchmark.datasets import load_items
from stt_bench.benchmark.store.embedding_set import read_embedding_set
from stt_bench.benchmark.store.runs import open_run


@pytest.fixture
def run(stt_bench: Command, tiny: Path, tmp_path: Path) -> Path:
    done = stt_bench(
        "train", tiny, "--row", "two_head", "--runs", tmp_path / "runs", "--set", "train.steps=0",
        "--results", tmp_path / "results", "--set", "input.resize=18", "-q",
    )  # fmt: skip
    assert done[0] == 0, done
    return Path(done[1].strip())


@pytest.fixture
def photos(run: Path, tmp_path: Path) -> Path:
    """Return a folder of six of the run's own test images, some of them in deeper folders."""
    items = load_items(open_run(run).experiment.data)
    for number, path in enumerate(items.split("test")["path"][:6]):
        file = tmp_path / "photos" / ["", "deep/er", ".hidden", "b"][number % 4] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        items.read(path).save(file)
    (tmp_path / "photos/notes.txt").write_text("no image")
    return tmp_path / "photos"


def test_any_folder_is_embedded_as_the_test_images_are(
    stt_bench: Command, run: Path, photos: Path, tmp_path: Path
) -> None:
    assert stt_bench("embed", run, "-q")[0] == 0
    done = stt_bench("embed", run, "--images", photos, "--to", tmp_path / "x", "-q")
    assert done == (0, f"{tmp_path / 'x'}\n", "")
    found = read_embedding_set(tmp_path / "x")
    assert found.ids.tolist() == ["0.png", "4.png", "b/3.png", "deep/er/1.png", "deep/er/5.png"]
    assert set(found.labels) == {""}
    own = read_embedding_set(run / "embeddings/test").embeddings
    np.testing.assert_allclose(found.embeddings, own[[0, 4, 3, 1, 5]], atol=1e-6)
    code, _, said = stt_bench(
        "eval", "--embeddings", tmp_path / "x/embeddings.npy", "--labels", tmp_path / "x/items.csv"
    )
    assert code == 2
    assert "items.csv:2: the label is empty (5 such)" in said


def test_a_list_brings_its_labels(
    stt_bench: Command, run: Path, photos: Path, tmp_path: Path
) -> None:
    csv_list = photos / "list.csv"
    csv_list.write_text("one,0.png\ntwo,b/3.png\none,deep/er/1.png\ntwo,4.png\n")
    assert stt_bench("embed", run, "--images", csv_list, "--to", tmp_path / "x", "-q")[0] == 0
    found = read_embedding_set(tmp_path / "x")
    assert found.ids.tolist() == ["0.png", "b/3.png", "deep/er/1.png", "4.png"]
    assert found.labels.tolist() == ["one", "two", "one", "two"]
    assert found.logits is None
    code, shown, _ = stt_bench(
        "eval", "--embeddings", tmp_path / "x/embeddings.npy", "--labels", tmp_path / "x/items.csv",
        "--no-clustering",
    )  # fmt: skip
    assert code == 0
    assert json.loads(shown)["queries"] == 4


def test_class_folders_are_labels(
    stt_bench: Command, run: Path, photos: Path, tmp_path: Path
) -> None:
    order = ["embed", run, "--images", photos, "--to", tmp_path / "x"]
    assert f"note: {photos}: the labels are empty, since not all" in stt_bench(*order)[2]
    for name in ("0.png", "4.png"):
        (photos / name).rename(photos / "b" / name)
    (photos / "deep/er").rename(photos / "c")
    (photos / "deep").rmdir()
    code, _, said = stt_bench(*order, "--force")
    assert code == 0, said
    assert f"note: {photos}: the labels are the names of 2 class folders" in said
    found = read_embedding_set(tmp_path / "x")
    assert found.ids.tolist() == ["b/0.png", "b/3.png", "b/4.png", "c/1.png", "c/5.png"]
    assert found.labels.tolist() == ["b", "b", "b", "c", "c"]


def test_columns_of_a_list_are_named(
    stt_bench: Command, run: Path, photos: Path, tmp_path: Path
) -> None:
    csv_list = photos / "list.csv"
    csv_list.write_text("image,sort\n0.png,one\n4.png,two\n")
    order = ["embed", run, "--images", csv_list, "--to", tmp_path / "x", "-q"]
    code, _, said = stt_bench(*order)
    assert code == 2
    assert "the header has image, sort: name it by --columns label=NAME" in said
    assert stt_bench(*order, "--columns", "label=sort")[0] == 0
    assert read_embedding_set(tmp_path / "x").labels.tolist() == ["one", "two"]
    assert "--columns needs --images" in stt_bench("embed", run, "--columns", "label=sort")[2]
    folder = ["embed", run, "--images", photos, "--to", tmp_path / "y", "--columns", "label=sort"]
    assert "photos is a folder: --columns goes with a csv list" in stt_bench(*folder)[2]


def test_images_that_cannot_be_read_are_counted_and_nothing_is_written(
    stt_bench: Command, run: Path, photos: Path, tmp_path: Path
) -> None:
    (photos / "b/bad.jpg").write_bytes(b"gone")
    (photos / "deep/bad.tif").write_bytes(b"gone")
    code, _, said = stt_bench("embed", run, "--images", photos, "--to", tmp_path / "x", "-q")
    assert code == 2
    begin = f"error: 2 of 7 images cannot be used: {photos}/b/bad.jpg cannot be read as an image ("
    assert said.startswith(begin)
    assert f"; {photos}/deep/bad.tif cannot be read as an image (" in said
    ending = r"; all are listed in (.*/loose-[0-9a-f]{12}\.txt): replace or remove them\n$"
    listed = re.search(ending, said)
    assert listed is not None
    assert len(Path(listed[1]).read_text().splitlines()) == 2
    Image.new("F", (9, 9)).save(photos / "deep/float.tif")
    code, _, said = stt_bench("embed", run, "--images", photos, "--to", tmp_path / "x", "-q")
    assert code == 2
    assert said.startswith("error: image deep/float.tif: 32-bit float pixels have no known range")
    assert not (tmp_path / "x").exists()


def test_work_done_is_kept(stt_bench: Command, run: Path, photos: Path, tmp_path: Path) -> None:
    order = ["embed", run, "--images", photos, "--to", tmp_path / "x", "-q"]
    assert stt_bench(*order)[0] == 0
    array = tmp_path / "x/embeddings.npy"
    before = array.stat().st_mtime_ns
    assert stt_bench(*order)[0] == 0
    assert array.stat().st_mtime_ns == before
    (photos / "0.png").unlink()
    code, _, said = stt_bench(*order)
    assert code == 2
    assert "holds other files or embeddings" in said
    assert array.stat().st_mtime_ns == before
    assert stt_bench(*order, "--force")[0] == 0
    assert len(np.load(array)) == 4


def test_the_mirror_image_of_a_symmetric_image_is_no_other_view(
    stt_bench: Command, run: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    for name, symmetric in (("even", True), ("odd", False)):
        pixels = rng.integers(0, 256, (18, 18), np.uint8)
        pixels[:, 9:] = pixels[:, 8::-1] if symmetric else pixels[:, 9:]
        (tmp_path / "mirror").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "mirror" / f"{name}.png")
    found = {}
    for flip in (False, True):
        config = json.loads((run / "run.json").read_text())
        config["experiment"]["evaluation"]["flip"] = flip
        (run / "run.json").write_text(json.dumps(config))
        folder = tmp_path / f"flip-{flip}"
        assert stt_bench("embed", run, "--images", tmp_path / "mirror", "--to", folder)[0] == 0
        found[flip] = np.load(folder / "embeddings.npy")
    np.testing.assert_allclose(found[True][0], found[False][0], atol=1e-6)
    assert np.abs(found[True][1] - found[False][1]).max() > 1e-3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--images", "tests/losses"], "--images and --to together"),
        (["--to", "x"], "--images and --to together"),
        (["--images", "tests/losses", "--to", "x", "--split", "train"], "without --split"),
        (["--images", "tests/losses", "--to", "x"], "tests/losses holds no images"),
        (
            ["--images", "nowhere", "--to", "x"],
            "nowhere does not exist: name a folder of images, or a csv",
        ),
    ],
)
def test_mistakes(stt_bench: Command, run: Path, arguments: list[str], said: str) -> None:
    code, _, told = stt_bench("embed", run, *arguments)
    assert code == 2
    assert said in told
    assert len(told.strip().splitlines()) == 1


def test_an_image_listed_twice(stt_bench: Command, run: Path, photos: Path) -> None:
    pd.DataFrame({"label": ["a", "b"], "path": ["0.png", "0.png"]}).to_csv(photos / "l.csv")
    (photos / "l.csv").write_text("a,0.png\nb,0.png\n")
    code, _, said = stt_bench("embed", run, "--images", photos / "l.csv", "--to", photos / "x")
    assert code == 2
    assert "0.png is listed twice" in said
