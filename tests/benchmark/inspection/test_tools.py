"""neighbors, distance and map, on short runs, against plain NumPy on the stored embeddings."""

from __future__ import annotations

import csv
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from google.protobuf import text_format
from PIL import Image
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

from stt_bench.benchmark.datasets import load_items
from stt_bench.benchmark.datasets.image_set import image_set
from stt_bench.benchmark.embedding.embed import embed
from stt_bench.benchmark.inspection import maps, neighbors
from stt_bench.benchmark.inspection.maps import class_colours, place_thumbnails
from stt_bench.benchmark.inspection.neighbors import Query, find_neighbors, nearest
from stt_bench.benchmark.inspection.projection import Method, project
from stt_bench.benchmark.inspection.thumbnails import thumbnail_side, thumbnails
from stt_bench.benchmark.inspection.two_images import distances_between, distances_of_two
from stt_bench.benchmark.store.embedding_set import EmbeddingSet, read_embedding_set
from stt_bench.benchmark.store.runs import Run, run_of
from stt_bench.benchmark.suite import load_table
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.training.train import train

QUIET = Reporter(quiet=True)
PHOTOS = """\
title: Photos
data: {{name: images, root: {root}}}
input: {{size: 16, resize: 20, channels: 3, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}}
model: {{backbone: small_cnn, embedding_dim: 8}}
sampler: {{p: 2, k: 2}}
train: {{steps: 2, threads: 1}}
rows:
  softmax: {{loss: softmax}}
"""


def trained(root: Path, text: str, row: str, *overrides: str) -> Run:
    (root / "table.yaml").write_text(text)
    run = run_of(load_table(str(root / "table.yaml"), overrides), row, 0, root / "runs")
    train(run, QUIET)
    return run


@pytest.fixture(scope="module", params=["euclidean", "cosine"])
def digits(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a run on digits that is evaluated by the one and the other distance."""
    text = request.getfixturevalue("tiny_text")
    folder = tmp_path_factory.mktemp("digits")
    return trained(folder, text, "hard", f"evaluation.distance={request.param}")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a run on image files, two of which (d/2.png and d/3.png) are the same picture."""
    root = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for name in "abcd":
        (root / "in" / name).mkdir(parents=True)
        for number in range(4):
            pixels = rng.integers(0, 255, (24, 30, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "in" / name / f"{number}.png")
    shutil.copy(root / "in/d/2.png", root / "in/d/3.png")
    return trained(root, PHOTOS.format(root=root / "in"), "softmax")


def recommend(run: Run, names: list[str], **options: Any) -> pd.DataFrame:
    defaults = {"k": 10, "split": "test", "to": run.folder / "neighbors.png"}
    return find_neighbors(run, names, QUIET, **(defaults | options))


def draw_map(run: Run, **options: Any) -> list[Path]:
    defaults = {"method": "pca", "split": "test", "sample": 5000, "with_thumbnails": False}
    defaults |= {"seed": 0, "to": None, "force": False}
    return maps.draw_map(run, QUIET, **(defaults | options))


def stored(run: Run) -> EmbeddingSet:
    return read_embedding_set(embed(run, QUIET))


def plain_distance(x: np.ndarray, y: np.ndarray, distance: str) -> float:
    a, b = [float(v) for v in x], [float(v) for v in y]
    if distance == "euclidean":
        return math.sqrt(sum((p - q) ** 2 for p, q in zip(a, b, strict=True)))
    dot = sum(p * q for p, q in zip(a, b, strict=True))
    return 1 - dot / math.sqrt(sum(p * p for p in a)) / math.sqrt(sum(q * q for q in b))


def test_neighbors_are_the_nearest_of_the_stored_embeddings(digits: Run, tmp_path: Path) -> None:
    embedded = stored(digits)
    queries = [3, 40, len(embedded.ids) - 1]
    found = recommend(digits, list(embedded.ids[queries]), k=6, to=tmp_path / "neighbors.png")
    assert list(found["query"].unique()) == list(embedded.ids[queries])
    for query in queries:
        distances = [
            (plain_distance(embedded.embeddings[query], row, digits.experiment.evaluation.distance))
            for row in embedded.embeddings
        ]
        order = sorted((d, i) for i, d in enumerate(distances) if i != query)[:6]
        part = found[found["query"] == embedded.ids[query]]
        assert part["rank"].tolist() == [1, 2, 3, 4, 5, 6]
        assert part["id"].tolist() == [embedded.ids[i] for _, i in order]
        assert part["label"].tolist() == [embedded.labels[i] for _, i in order]
        np.testing.assert_allclose(part["distance"], [d for d, _ in order], rtol=1e-4, atol=1e-6)
    with Image.open(tmp_path / "neighbors.png") as picture:
        assert picture.info["Software"] == "stt-bench"  # no version of matplotlib
        assert picture.width > picture.height  # 7 columns, 3 rows


def test_the_picture_of_many_is_bounded_and_the_table_is_not(
    photos: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbors, "_DRAWN", 2)
    names = list(stored(photos).ids[:3])
    found = recommend(photos, names, k=4, to=tmp_path / "many.png")
    assert len(found) == 12
    with Image.open(tmp_path / "many.png") as picture:
        assert abs(picture.width - 3 * 1.2 * 120) <= 1  # older matplotlibs cut off, newer round
        assert picture.height < 3 * 1.55 * 120


def test_a_training_item_is_searched_among_the_test_items(digits: Run) -> None:
    own = load_items(digits.experiment.data).split("train")["path"][0]
    found = recommend(digits, [own], k=2)
    assert set(found["id"]) <= set(stored(digits).ids)
    assert (digits.folder / "neighbors.png").exists()
    among_its_own = recommend(digits, [own], k=3, split="train")
    assert own not in set(among_its_own["id"])


def test_a_query_is_left_out_by_identity_and_its_twin_is_not(photos: Run) -> None:
    for own, twin in (("d/2.png", "d/3.png"), ("d/3.png", "d/2.png")):
        found = recommend(photos, [own], k=100)
        assert own not in set(found["id"])
        assert len(found) == len(stored(photos).ids) - 1
        assert found["id"][0] == twin
        assert found["distance"][0] == pytest.approx(0, abs=1e-5)


def test_a_file_is_an_item_if_it_is_that_file_only(photos: Run, tmp_path: Path) -> None:
    root = Path(str(photos.experiment.data.root))
    by_file = recommend(photos, [str(root / "d/0.png")], k=3)
    by_id = recommend(photos, ["d/0.png"], k=3)
    pd.testing.assert_frame_equal(by_file.drop(columns="query"), by_id.drop(columns="query"))
    (tmp_path / "d").mkdir()
    shutil.copy(root / "d/1.png", tmp_path / "d/0.png")  # named as an item, but another picture
    shutil.copy(root / "d/0.png", tmp_path / "copy.png")
    found = recommend(photos, [str(tmp_path / "copy.png")], k=1)
    assert found["id"].tolist() == ["d/0.png"]
    assert found["distance"][0] == pytest.approx(0, abs=1e-5)
    found = recommend(photos, [str(tmp_path / "d/0.png")], k=100)
    assert found["id"][0] == "d/1.png"
    assert set(found["id"]) == set(stored(photos).ids)


def test_only_items_that_may_be_answers_are_searched() -> None:
    embedded = EmbeddingSet(
        embeddings=np.array([[0.0, 0], [1, 0], [0, 1], [3, 4]], dtype=np.float32),
        labels=np.array(["a", "a", "b", "b"]),
        ids=np.array(["q", "g1", "g2", "g3"]),
        roles=np.array(["query", "gallery", "both", "gallery"]),
        logits=None,
        meta={},
    )
    image = Image.new("L", (2, 2))
    queries = [Query("q", image, "q", "a"), Query("g2", image, "g2", "b")]
    vectors = np.array([[0.0, 0], [0, 1]], dtype=np.float32)
    found = nearest(queries, vectors, embedded, "euclidean", 5)
    assert found["id"].tolist() == ["g1", "g2", "g3", "g1", "g3"]  # equal ones in table order
    np.testing.assert_allclose(found["distance"], [1, 1, 5, math.sqrt(2), math.sqrt(18)])


def test_distances_of_two_items_are_those_of_the_stored_embeddings(
    photos: Run, tmp_path: Path
) -> None:
    embedded = stored(photos)
    rows = dict(zip(embedded.ids, np.asarray(embedded.embeddings), strict=True))
    told = distances_of_two(photos, "c/0.png", "d/1.png")
    left, right = rows["c/0.png"], rows["d/1.png"]
    assert told == pytest.approx(
        {
            "euclidean": plain_distance(left, right, "euclidean"),
            "cosine": plain_distance(left, right, "cosine"),
            "norm_1": np.linalg.norm(left),
            "norm_2": np.linalg.norm(right),
        },
        rel=1e-4,
    )
    assert told["euclidean"] > 1e-3
    root = Path(str(photos.experiment.data.root))
    same = distances_of_two(photos, str(root / "c/0.png"), str(root / "c/0.png"))
    assert same["euclidean"] == 0
    assert same["norm_1"] == same["norm_2"] == pytest.approx(told["norm_1"], rel=1e-4)


def test_a_zero_embedding_is_at_cosine_distance_one() -> None:
    rows = np.array([[0.0, 0.0], [2.0, 0.0]], dtype=np.float32)
    np.testing.assert_array_equal(distances_between(rows, rows, "cosine"), [[1, 1], [1, 0]])


def test_an_unknown_image_and_a_broken_one_are_told(photos: Run, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"neither a file nor an item .* did you mean 'd/1.png'"):
        distances_of_two(photos, "c/0.png", "dd/1.png")
    with pytest.raises(BenchError, match=r"nor an item of images: its ids are such as '[^',]+'$"):
        distances_of_two(photos, "c/0.png", "nothing alike at all")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(BenchError, match=r"broken\.png cannot be read as an image"):
        recommend(photos, [str(tmp_path / "broken.png")])


def test_changed_weights_are_told(photos: Run, tmp_path: Path) -> None:
    shutil.copytree(photos.folder, tmp_path / "run")
    changed = Run(photos.table, photos.row, 0, photos.experiment, tmp_path / "run", photos.display)
    changed.weights.write_bytes(b"damaged")
    with pytest.raises(BenchError, match="not what training wrote"):
        distances_of_two(changed, "c/0.png", "d/1.png")


def test_the_projector_reads_what_map_wrote(photos: Run, tmp_path: Path) -> None:
    written = draw_map(photos, method="pca", sample=6, to=tmp_path / "map.png")
    assert written == [tmp_path / "map.png", photos.folder / "projector"]
    folder = written[-1]
    config = text_format.Parse((folder / "projector_config.pbtxt").read_text(), ProjectorConfig())
    (part,) = config.embeddings
    with (folder / part.metadata_path).open(newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    embedded = stored(photos)
    order = [list(embedded.ids).index(row["id"]) for row in rows]
    assert len(set(order)) == 6
    assert [row["label"] for row in rows] == list(embedded.labels[order])
    vectors = np.loadtxt(folder / part.tensor_path, delimiter="\t").astype(np.float32)
    np.testing.assert_array_equal(vectors, embedded.embeddings[order])
    side = list(part.sprite.single_image_dim)
    with Image.open(folder / part.sprite.image_path) as picture:
        pixels = np.asarray(picture)
    assert pixels.shape == (3 * side[0], 3 * side[1], 3)  # 6 pictures on a square of 9
    items = load_items(photos.experiment.data)
    for place, row in enumerate(rows):
        top, left = side[0] * (place // 3), side[1] * (place % 3)
        cell = pixels[top : top + side[0], left : left + side[1]]
        small = items.read(row["id"]).resize((25, 20), Image.Resampling.BILINEAR)
        seen = small.crop((4, 2, 20, 18)).resize((side[1], side[0]), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(cell, np.asarray(seen))
    assert not pixels[2 * side[0] :].any()


@pytest.mark.parametrize("method", ["tsne", "pca"])
def test_the_same_seed_gives_the_same_bytes(photos: Run, tmp_path: Path, method: Method) -> None:
    once, again = (
        draw_map(photos, method=method, with_thumbnails=True, to=tmp_path / name / "m.png")
        for name in ("once", "again")
    )
    assert [path.name for path in once] == ["m.png", "m-thumbnails.png", "projector"]
    for first, second in zip(once[:2], again[:2], strict=True):
        assert first.read_bytes() == second.read_bytes()
    with Image.open(once[0]) as picture:
        assert picture.info["Software"] == "stt-bench"  # no version of matplotlib


def test_a_sample_is_seeded_and_of_the_split(digits: Run, tmp_path: Path) -> None:
    def sampled(seed: int) -> list[str]:
        draw_map(digits, method="pca", sample=50, seed=seed, to=tmp_path / "m.png")
        (file,) = digits.folder.glob("projector/*/*/metadata.tsv")
        text = file.read_text()
        return [line.split("\t")[1] for line in text.splitlines()[1:]]

    first = sampled(0)
    assert len(set(first)) == 50
    assert set(first) <= set(stored(digits).ids)
    assert sampled(0) == first
    assert sampled(1) != first


def test_pca_is_the_singular_value_decomposition() -> None:
    vectors = np.random.default_rng(0).normal(size=(30, 4)) * [5, 3, 1, 0.5]
    points = project(vectors, "pca")
    moved = vectors - vectors.mean(axis=0)
    u, s, _ = np.linalg.svd(moved, full_matrices=False)
    np.testing.assert_allclose(np.abs(points), np.abs(u[:, :2] * s[:2]), atol=1e-9)


@pytest.mark.parametrize("method", ["tsne", "umap"])
def test_clusters_stay_apart_on_the_map(method: Method) -> None:
    if method == "umap":
        pytest.importorskip("umap", reason="the extra [umap] is not installed")
    centres = np.repeat(np.eye(6)[:3] * 50, 20, axis=0)
    vectors = centres + np.random.default_rng(0).normal(size=centres.shape)
    points = project(vectors, method, seed=1)
    np.testing.assert_array_equal(points, project(vectors, method, seed=1))
    gaps = np.linalg.norm(points[:, None] - points[None], axis=2)
    same = np.repeat(np.arange(3), 20)[:, None] == np.repeat(np.arange(3), 20)
    assert gaps[~same].min() > gaps[same].max() / 2
    assert np.median(gaps[~same]) > 2 * np.median(gaps[same])


def test_no_umap_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(BenchError, match=r"pip install 'softmax-triplet-bench\[umap\]'"):
        project(np.eye(6), "umap")


@pytest.mark.parametrize(
    ("vectors", "said"),
    [
        (np.ones((9, 4)), "one point"),
        (np.eye(4), "at least 5"),
        (np.arange(9.0)[:, None], "2 coordinates"),
        (np.full((9, 4), np.nan), "not finite"),
    ],
)
def test_embeddings_without_a_map_are_told(vectors: np.ndarray, said: str) -> None:
    with pytest.raises(BenchError, match=said):
        project(vectors, "tsne")


def test_placed_thumbnails_do_not_overlap_and_lie_at_their_points() -> None:
    points = np.array([[0.0, 0.0], [0.001, 0.0], [1.0, 0.5], [0.5, 1.0]])
    pictures = np.stack([np.full((10, 10, 3), value, np.uint8) for value in (10, 20, 30, 40)])
    canvas = place_thumbnails(points, pictures)
    assert set(np.unique(canvas)) == {10, 30, 40, 255}  # the second would overlap the first
    assert [(canvas == value).sum() for value in (10, 30, 40)] == [300, 300, 300]
    size = len(canvas)
    top, left, _ = np.argwhere(canvas == 10).min(axis=0)
    assert (left, top) == (0, size - 10)  # (0, 0) is below on the left
    assert tuple(np.argwhere(canvas == 30).min(axis=0)[:2]) == (size // 2 - 5, size - 10)
    assert tuple(np.argwhere(canvas == 40).min(axis=0)[:2]) == (0, size // 2 - 5)


def test_thumbnails_are_small_pictures_of_the_rows(digits: Run) -> None:
    images = image_set(
        load_items(digits.experiment.data), "test", digits.experiment.input, training=False
    )
    few = thumbnails(images, np.array([5, 0]))
    assert few.shape == (2, 64, 64, 3)
    seen = Image.fromarray(images.batch(np.array([5]))[0, 0].numpy())
    grey = np.asarray(seen.convert("RGB").resize((64, 64), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(few[0], grey)


@pytest.mark.parametrize("number", [1, 2, 10, 4_096, 4_097, 60_000])
def test_thumbnails_fit_into_a_sprite(number: int) -> None:
    side = thumbnail_side(number)
    across = math.isqrt(number - 1) + 1
    assert across * side <= 4096
    assert side == 64 or across * (side + 1) > 4096


@pytest.mark.parametrize("number", [3, 20, 90])
def test_classes_have_colours_of_their_own(number: int) -> None:
    assert len(np.unique(class_colours(number).round(3), axis=0)) == number
