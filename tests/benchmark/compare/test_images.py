"""Comparisons of images: folders and lists, broken files, copies, hostile names."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch
from command_line import Command
from small_comparisons import compared, write_vectors

from stt_bench.benchmark.compare import compare as comparing
from stt_bench.benchmark.compare import look as looking
from stt_bench.benchmark.compare import prices
from stt_bench.benchmark.compare.look import Layout, look
from stt_bench.benchmark.compare.measure import measure
from stt_bench.benchmark.compare.setting import Wish, network_for_images, sizes_to_try
from stt_bench.benchmark.compare.split import divide
from stt_bench.benchmark.compare.table import table_text
from stt_bench.benchmark.config.sections import DataConfig
from stt_bench.benchmark.config.yaml_lines import read_yaml
from stt_bench.benchmark.datasets.items import load_items
from stt_bench.benchmark.suite import load_table
from stt_bench.benchmark.system.errors import BenchError

HOSTILE = "=cmd|' /C calc'!A0 <b>{x: [y]}, \u202e\"#"


def drawings(folder: Path, classes: int = 8, each: int = 4) -> Path:
    """Write bundled drawings as folders CLASS/IMAGE; one class has a name that is no harm."""
    items = load_items(DataConfig(name="omniglot_mini"))
    chosen = sorted(set(items.frame["label"]))[::24][:classes]
    for number, label in enumerate(chosen):
        name = HOSTILE.replace("/", "⁄") if number == 1 else f"letter {number}"
        (folder / name).mkdir(parents=True)
        paths = items.frame.loc[items.frame["label"] == label, "path"]
        for place, path in enumerate(paths[:each]):
            items.read(path).save(folder / name / f"{place}.png")
    return folder


@pytest.fixture
def untuned(tuned_alone: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a comparison end where the data have been looked at."""
    monkeypatch.setattr(comparing._Work, "tune", lambda _work: None)


def test_images_that_do_not_fit_into_memory_are_one_sentence(
    untuned: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(prices, "build_network", full)
    with pytest.raises(BenchError, match=r"timed: the GPU's memory is full .*--size") as told:
        compared(drawings(tmp_path / "x"), tmp_path / "out", backbone="small_cnn", size=16)
    assert "\n" not in str(told.value)


def test_a_folder_with_broken_files_is_compared_without_them(untuned: None, tmp_path: Path) -> None:
    data = drawings(tmp_path / "drawings")
    whole = (data / "letter 0" / "0.png").read_bytes()
    (data / "letter 0" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (data / "letter 0" / "empty.png").touch()
    compared(data, tmp_path / "out", backbone="small_cnn", size=16)
    items = pd.read_csv(tmp_path / "out" / "items.csv")
    assert len(items) == 32
    assert set(items["label"]) == {path.name for path in data.iterdir()}
    told = "\n".join((tmp_path / "out" / "compare.json").read_text().splitlines())
    assert "cut.png" in told
    assert "empty.png" in told
    table = load_table(str(tmp_path / "out" / "out.yaml"))
    assert table.rows["softmax"].data.name == "images"
    assert table.rows["softmax"].model.freeze == []
    assert set(table.rows["untrained"].model.model_dump()["head"]) == set("none")


def test_what_is_found_in_a_folder_is_told(tmp_path: Path) -> None:
    data = drawings(tmp_path / "drawings", classes=6)
    (data / "alone").mkdir()
    (data / "letter 0" / "0.png").rename(data / "alone" / "0.png")
    (data / "letter 0" / "broken.jpg").write_text("no image")
    found = look(data)
    told = "\n".join(found.lines)
    assert "24 images, shorter side 28 to 28 pixels" in told
    assert "7 classes of 1 to 4 items, median 4" in told
    assert "1 class with a single item, with none to be found: alone" in told
    assert "1 image left out, unreadable" in told
    assert found.side == 28
    assert "\u202e" not in told


def test_what_does_not_show_in_the_data_can_be_said(tmp_path: Path, stt_bench: Command) -> None:
    data = drawings(tmp_path / "drawings", classes=6)
    files = sorted(data.glob("*/*.png"))
    listed = tmp_path / "lists" / "list.csv"
    listed.parent.mkdir()
    photos = [str(file.relative_to(tmp_path)) for file in files]
    letters = [str(number // 4) for number in range(24)]
    colours = [number % 3 for number in range(24)]
    columns = {"photo": photos, "colour": colours, "letter": letters}
    pd.DataFrame(columns).to_csv(listed, index=False)
    refused = stt_bench("compare", listed, "--dry-run")
    assert refused.returncode == 2
    assert "name it by --columns label=NAME" in refused.stderr
    said = Layout({"path": "photo", "label": "letter"}, images_root=tmp_path)
    frame = look(listed, layout=said).frame
    assert frame["path"].tolist() == [str(file) for file in files]
    assert frame["label"].tolist() == letters

    for top in "ab":
        drawings(tmp_path / "nested" / top, classes=6)
    assert set(look(tmp_path / "nested", layout=Layout(classes="top")).frame["label"]) == {"a", "b"}
    assert look(tmp_path / "nested", layout=Layout(classes="leaf")).frame["label"].nunique() == 12


def test_of_vectors_only_the_columns_can_be_said(tmp_path: Path, stt_bench: Command) -> None:
    vectors = write_vectors(tmp_path, telling=False)
    csv = vectors.with_suffix(".csv")
    kinds = csv.read_text().splitlines()[1:]
    csv.write_text("\n".join(["kind,more", *(f"{kind},x" for kind in kinds)]))
    found = look(vectors, layout=Layout({"label": "kind"}))
    assert found.frame["label"].tolist() == kinds
    done = stt_bench("compare", vectors, "--boxes", "whole")
    assert done.returncode == 2
    assert "holds vectors: of their csv --columns can be said alone" in done.stderr


def test_where_no_image_can_be_read_that_is_told(tmp_path: Path, stt_bench: Command) -> None:
    for name in "abcdef":
        (tmp_path / "photos" / name).mkdir(parents=True)
        (tmp_path / "photos" / name / "1.jpg").write_text("no image")
    done = stt_bench("compare", tmp_path / "photos", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "none of 6 images can be read" in done.stderr
    done = stt_bench("compare", tmp_path / "photos", "--labels", "x.csv")
    assert "--labels goes with a file of vectors" in done.stderr


def test_a_network_without_weights_trains_whole_and_one_with_them_is_frozen_without_a_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for cuda, trains in ((False, "head"), (True, "all")):
        monkeypatch.setattr("torch.cuda.is_available", lambda cuda=cuda: cuda)
        assert network_for_images(Wish()).trains == trains
        assert network_for_images(Wish(trains="head")).trains == "head"
        assert network_for_images(Wish(trains="all")).trains == "all"
        assert network_for_images(Wish(backbone="small_cnn")).trains == "all"
    with pytest.raises(BenchError, match="would learn from random features"):
        network_for_images(Wish(backbone="small_cnn", trains="head"))
    with pytest.raises(BenchError, match="no backbone is named 'small_cn'"):
        network_for_images(Wish(backbone="small_cn"))


@pytest.mark.parametrize(
    ("side", "wanted"), [(500, 224), (200, 224), (150, 160), (128, 128), (28, 64)]
)
def test_images_are_made_no_larger_than_they_are(side: int, wanted: int) -> None:
    sizes = sizes_to_try(network_for_images(Wish()), Wish(), side)
    assert sizes[0] == wanted
    assert sizes[-1] == 64
    assert sizes_to_try(network_for_images(Wish()), Wish(size=99), side) == [99]


def test_weights_that_cannot_be_had_are_told_with_a_way_out(
    tmp_path: Path, stt_bench: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = drawings(tmp_path / "drawings", classes=6)
    monkeypatch.setenv("STT_BENCH_DATA", str(tmp_path))

    def offline(*_args: object, **_options: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("timm.create_model", offline)
    monkeypatch.chdir(tmp_path)
    done = stt_bench("compare", data, "--dry-run")
    assert done.returncode == 2
    assert "could not be fetched (OSError: no network)" in done.stderr
    assert "--weights" in done.stderr
    assert "--backbone small_cnn trains a small network from nothing" in done.stderr


def test_any_text_stays_text_in_the_table(tmp_path: Path) -> None:
    file = tmp_path / "table.yaml"
    content = {
        "title": f"{HOSTILE}: which",
        "seeds": [0, 1],
        "data": {"name": "images", "root": "/a b/{c}: #d, yes", "options": {"items": "no"}},
        "tuning": {"studies": 3, "share": 0.5, "flag": True, "none": None},
        "rows": {"softmax": {"label": "yes", "loss": "softmax"}},
    }
    file.write_text(table_text(content, "Made"), encoding="utf-8")
    assert read_yaml(file)[0] == content


def test_a_network_that_trains_whole_is_priced_by_its_images(tmp_path: Path) -> None:
    found = look(drawings(tmp_path / "drawings"))
    frame = divide(found.frame).frame
    measured = measure(found, frame, Wish(backbone="small_cnn", size=16), 600.0)
    assert min(measured.prices) > 0
    assert measured.sections["input"] == {"size": 16, "crop": "random", "flip": True}
    assert "all of it trains" in measured.told


@pytest.mark.gpu
def test_with_a_gpu_the_whole_network_trains(tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    found = look(drawings(tmp_path / "drawings"))
    wish = Wish(backbone="timm/tf_efficientnet_lite0", weights="none", size=64)
    measured = measure(found, divide(found.frame).frame, wish, 600.0)
    assert measured.network.trains == "all"
    assert "on the GPU" in measured.network.why


def test_a_parquet_file_without_labels_is_a_list_of_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "list.parquet"
    pd.DataFrame({"path": ["a.png"], "label": ["owl"]}).to_parquet(file)
    monkeypatch.setattr(looking, "_images", lambda data, _layout: data)
    assert look(file) == file
    (tmp_path / "list.csv").write_text("label\n")
    monkeypatch.setattr(looking, "_vectors", lambda *given: given)
    assert look(file) == (file, None, None, None)
