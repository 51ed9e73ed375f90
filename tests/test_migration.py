"""The script that writes content hashes into older records checks the old hash first."""

import hashlib
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stt_bench.benchmark.config.sections import DataConfig
from stt_bench.benchmark.datasets import load_items
from stt_bench.benchmark.store.protocol import fingerprint

SCRIPT = Path(__file__).parents[1] / "results" / "migrate_data_hashes.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("migrate_data_hashes", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def images(tmp_path) -> Path:
    for number, label in enumerate("aabbccdd"):
        pixels = np.random.default_rng(number).integers(0, 256, (5, 6), np.uint8)
        (tmp_path / "images" / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "images" / label / f"{number}.png")
    return tmp_path / "images"


@pytest.fixture
def record(images) -> dict:
    """Return a record as it was when sizes told files apart."""
    section = {"name": "images", "root": str(images)}
    frame = load_items(DataConfig(**section)).frame
    columns = [frame[column].tolist() for column in ("path", "label", "split", "role")]
    sizes = "".join(f"{(images / path).stat().st_size}," for path in frame["path"])
    old = hashlib.sha256((json.dumps(columns) + sizes).encode()).hexdigest()
    protocol = {"data": old, "task": "retrieval"}
    return {
        "metrics": {"recall@1": 0.1 + 0.2, "nmi": 1e-17},
        "experiment": {"data": section},
        "protocol": protocol,
        "protocol_fingerprint": fingerprint(protocol),
        "data_hash": old,
    }


def test_hash_and_fingerprint_are_written_and_nothing_else(script, record, images, tmp_path):
    file = tmp_path / "results/records/t/r/seed-0.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    assert script.main(tmp_path / "results") == 0
    new = load_items(DataConfig(name="images", root=str(images))).data_hash
    old, old_print = record["data_hash"], record["protocol_fingerprint"]
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    now = fingerprint({"data": new, "task": "retrieval"})
    assert file.read_text() == text.replace(old, new).replace(old_print, now)
    assert new != old
    assert script.main(tmp_path / "results") == 0
    assert file.read_text() == text.replace(old, new).replace(old_print, now)


def test_records_of_other_data_or_with_changed_protocols_are_refused(script, record, images):
    data = script.Data()
    changed = {**record, "protocol": {**record["protocol"], "task": "classification"}}
    assert "refused: the fingerprint" in script.migrate_data_hash(changed, data)
    assert "two data hashes" in script.migrate_data_hash({**record, "data_hash": "x"}, data)
    gone = {**record, "experiment": {"data": {"name": "images", "root": str(images / "no")}}}
    assert script.migrate_data_hash(gone, data) == "left: the data are not here"
    Image.new("L", (50, 60), 9).save(images / "a" / "0.png")
    before = json.dumps(record)
    assert "made from other data" in script.migrate_data_hash(record, data)
    assert json.dumps(record) == before
