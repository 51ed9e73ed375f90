from pathlib import Path

from stt_bench.benchmark.system.locate import find_folder, search_places


def test_order_of_the_places(nowhere, monkeypatch):
    monkeypatch.setenv("STT_BENCH_DATA", "/big")
    assert search_places("data", "x") == [
        Path("/big/x"),
        Path("/big/data/x"),
        Path("data/x"),
        Path("../shared/data/x"),
    ]
    assert Path("/big/weights/w.safetensors") in search_places("weights", "w.safetensors")
    monkeypatch.delenv("STT_BENCH_DATA")
    assert search_places("weights", "x") == [Path("weights/x"), Path("../shared/weights/x")]


def test_the_first_existing_place_is_found(nowhere, monkeypatch, tmp_path):
    assert find_folder("data", "x") is None
    (nowhere.parent / "shared/data/x").mkdir(parents=True)
    assert find_folder("data", "x") == Path("../shared/data/x")
    (nowhere / "data/x").mkdir(parents=True)
    assert find_folder("data", "x") == Path("data/x")
    monkeypatch.setenv("STT_BENCH_DATA", str(tmp_path))
    (tmp_path / "data/x").mkdir(parents=True)
    assert find_folder("data", "x") == tmp_path / "data/x"
    (tmp_path / "x").mkdir()
    assert find_folder("data", "x") == tmp_path / "x"


def test_weights_are_files(nowhere):
    (nowhere / "weights").mkdir()
    (nowhere / "weights" / "w.safetensors").touch()
    assert find_folder("weights", "w.safetensors") == Path("weights/w.safetensors")
    assert find_folder("data", "w.safetensors") is None
