"""A record is of the images that it was made from: other ones are not taken for them."""

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import Command
from PIL import Image

from stt_bench.benchmark.datasets import prepared_images

SETTINGS = ("--rows", "softmax", "--set", "train.steps=2", "--set", "data.name=images", "-q")


def draw(folder: Path, seed: int) -> None:
    """Save two BMP of random pixels in each of four classes; their sizes are always the same."""
    for number, label in enumerate("abcd"):
        for copy in range(2):
            pixels = np.random.default_rng([seed, number, copy]).integers(
                0, 256, (16, 16), np.uint8
            )
            (folder / label).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / label / f"{copy}.bmp")


@pytest.fixture
def run(stt_bench: Command, tiny: Path, tmp_path: Path):
    """Run a row on the images of a folder; return the exit code and what was said of it."""

    def call(*more: str) -> tuple[int, str]:
        where = ("--runs", tmp_path / "runs", "--results", tmp_path / "results")
        data = ("--set", f"data.root={json.dumps(str(tmp_path / 'images'))}")
        sampler = ("--set", "sampler.p=2", "--set", "sampler.k=2", "--set", "evaluation.ks=[1]")
        done = stt_bench("run", tiny, *SETTINGS, *data, *sampler, *where, *more)
        return done.returncode, done.stderr

    return call


def test_replaced_images_are_not_taken_for_those_of_the_record(run, tmp_path):
    images, file = tmp_path / "images", tmp_path / "results/records/tiny/softmax/seed-0.json"
    draw(images, 0)
    assert run() == (0, "")
    first = file.read_bytes()
    sizes = {path: path.stat().st_size for path in images.rglob("*.bmp")}
    draw(images, 1)
    assert {path: path.stat().st_size for path in images.rglob("*.bmp")} == sizes
    code, said = run()
    assert code == 1
    assert "was trained with other data; train it again with --force" in said
    assert run("--force") == (0, "")
    second = json.loads(file.read_bytes())
    assert second["data_hash"] != json.loads(first)["data_hash"]
    assert second["protocol_fingerprint"] != json.loads(first)["protocol_fingerprint"]
    draw(images, 0)
    assert run("--force") == (0, "")
    assert json.loads(file.read_bytes())["metrics"] == json.loads(first)["metrics"]


def test_a_record_is_taken_as_it_is_where_its_data_are_gone_but_not_where_they_are_broken(
    run, tmp_path
):
    draw(tmp_path / "images", 0)
    assert run() == (0, "")
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    assert run() == (0, "")
    (tmp_path / "images" / "a").mkdir(parents=True)
    code, said = run()
    assert code == 1
    assert "without images" in said


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("label", "ad")
def test_a_broken_image_is_told_before_the_training(run, tmp_path, monkeypatch, label, in_memory):
    """Its repair makes other data of them: what was trained before would be lost."""
    monkeypatch.setattr(prepared_images, "memory_limit", lambda: 1 << 30 if in_memory else 0)
    draw(tmp_path / "images", 0)
    broken = tmp_path / "images" / label / "1.bmp"
    broken.write_bytes(broken.read_bytes()[:-60])
    code, said = run()
    assert code == 1
    assert f"{broken} cannot be read as an image" in said
    assert not list((tmp_path / "runs").rglob("metrics.jsonl"))
    draw(tmp_path / "images", 0)
    assert run() == (0, "")
