"""What runs have in common of a network, its frozen part, is on the disk once."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch
from command_line import Command

from stt_bench.benchmark.config.sections import InputConfig, ModelConfig
from stt_bench.benchmark.embedding.embed import embed
from stt_bench.benchmark.embedding.forward import load_network
from stt_bench.benchmark.models import build_network
from stt_bench.benchmark.store.runs import Run, run_of
from stt_bench.benchmark.suite import load_table
from stt_bench.benchmark.system import tensor_files
from stt_bench.benchmark.system.atomic import link_atomically
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.files import read_json, sha256_of, write_json
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.training.train import train

QUIET = Reporter(quiet=True)
FROZEN = "frozen.safetensors"


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def start(tmp_path: Path) -> Path:
    """Weights that all seeds start from."""
    torch.manual_seed(0)
    network = build_network(ModelConfig(embedding_dim=8), InputConfig(size=16, channels=1))
    safetensors.torch.save_file(network.backbone.net.state_dict(), tmp_path / "start.safetensors")
    return tmp_path / "start.safetensors"


def trained(tiny: Path, start: Path, row: str, seed: int, freeze: str = "all") -> Run:
    settings = [f"model.freeze={freeze}", f"model.weights={start}"]
    run = run_of(load_table(str(tiny), settings), row, seed, tiny.parent / "runs")
    run.save()
    train(run, QUIET)
    return run


def whole(run: Run) -> str:
    """Return the sha256 of one file with all tensors of a run."""
    network, objective = load_network(run, run.facts(), QUIET)
    tensors = {f"network.{k}": v.contiguous() for k, v in network.state_dict().items()}
    tensors |= {f"objective.{k}": v.contiguous() for k, v in objective.state_dict().items()}
    return hashlib.sha256(safetensors.torch.save(tensors)).hexdigest()


@pytest.mark.parametrize("freeze", ["all", "[conv1]"])
def test_runs_share_the_frozen_part(tiny: Path, start: Path, freeze: str) -> None:
    runs = [
        trained(tiny, start, row, seed, freeze) for row in ("hard", "softmax") for seed in (0, 1)
    ]
    assert len({(run.folder / FROZEN).stat().st_ino for run in runs}) == 1
    own = safetensors.torch.load_file(runs[0].weights)
    apart = safetensors.torch.load_file(runs[0].folder / FROZEN)
    begun = safetensors.torch.load_file(start)
    assert apart
    assert not own.keys() & apart.keys()
    for name, tensor in apart.items():
        assert torch.equal(tensor, begun[name.removeprefix("network.backbone.net.")])
    for run in runs:
        assert run.facts().checkpoint_sha256 == whole(run)


def test_a_network_that_trains_is_one_file(tiny: Path, start: Path) -> None:
    run = trained(tiny, start, "hard", 0, "[]")
    assert not (run.folder / FROZEN).exists()
    assert "file_sha256" not in read_json(run.training)
    assert run.facts().checkpoint_sha256 == sha256_of(run.weights)


def test_a_run_that_is_moved_away_is_whole(tiny: Path, start: Path, tmp_path: Path) -> None:
    run = trained(tiny, start, "hard", 0)
    before = (embed(run, QUIET) / "embeddings.npy").read_bytes()
    shutil.move(run.folder, tmp_path / "moved")
    shutil.rmtree(tiny.parent / "runs")
    there = tiny.parent / "runs/tiny/hard/seed-0"
    there.parent.mkdir(parents=True)
    shutil.copytree(tmp_path / "moved", there)
    shutil.rmtree(run.embeddings())
    assert (embed(run, QUIET) / "embeddings.npy").read_bytes() == before


def test_without_links_each_run_has_its_own(
    tiny: Path, start: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refused)
    runs = [trained(tiny, start, "hard", seed) for seed in (0, 1)]
    assert len({(run.folder / FROZEN).stat().st_ino for run in runs}) == 2
    assert len({sha256_of(run.folder / FROZEN) for run in runs}) == 1
    assert not [*runs[0].common.iterdir()]
    assert not [path for path in runs[0].folder.iterdir() if path.suffix == ".part"]


def test_a_damaged_common_file_is_written_again(tiny: Path, start: Path) -> None:
    first = trained(tiny, start, "hard", 0)
    (common,) = first.common.iterdir()
    common.unlink()
    common.write_bytes(b"cut")
    second = trained(tiny, start, "hard", 1)
    assert sha256_of(first.folder / FROZEN) == sha256_of(second.folder / FROZEN)
    load_network(second, second.facts(), QUIET)


def test_what_no_run_has_any_more_is_removed_with_the_next_one(tiny: Path, start: Path) -> None:
    first = trained(tiny, start, "hard", 0, "[conv1]")
    (old,) = first.common.iterdir()
    second = trained(tiny, start, "hard", 1)
    assert old.exists()
    shutil.rmtree(first.folder)
    third = trained(tiny, start, "softmax", 0)
    assert not old.exists()
    (common,) = third.common.iterdir()
    assert common.samefile(second.folder / FROZEN)


def test_what_no_run_has_any_more_goes_with_the_last_one(tiny: Path, start: Path) -> None:
    first, second = (trained(tiny, start, "hard", seed) for seed in (0, 1))
    (common,) = first.common.iterdir()
    first.discard()
    assert common.samefile(second.folder / FROZEN)
    second.discard()
    assert not common.exists()


@pytest.mark.parametrize("damage", [b"", b"{}", None])
def test_another_frozen_part_is_one_sentence(tiny: Path, start: Path, damage: bytes | None) -> None:
    run = trained(tiny, start, "hard", 0)
    beside = run.folder / FROZEN
    beside.unlink()
    if damage is not None:
        beside.write_bytes(damage)
    told = "is gone, which holds" if damage is None else "is not what training wrote"
    for look in (lambda: load_network(run, run.facts(), QUIET), lambda: embed(run, QUIET)):
        with pytest.raises(BenchError, match=rf"{FROZEN} {told}.*train again with --force"):
            look()


def test_a_run_of_before_is_one_file(tiny: Path, start: Path) -> None:
    run = trained(tiny, start, "hard", 0)
    before = (embed(run, QUIET) / "embeddings.npy").read_bytes()
    tensors = safetensors.torch.load_file(run.weights)
    tensors |= safetensors.torch.load_file(run.folder / FROZEN)
    safetensors.torch.save_file(tensors, run.weights)
    (run.folder / FROZEN).unlink()
    facts = read_json(run.training)
    del facts["file_sha256"]
    write_json(run.training, facts)
    assert (embed(run, QUIET, force=True) / "embeddings.npy").read_bytes() == before


def test_a_run_with_a_frozen_part_is_a_start(tiny: Path, start: Path) -> None:
    run = trained(tiny, start, "hard", 0)
    model = ModelConfig(embedding_dim=8, weights=str(run.weights))
    network = build_network(model, InputConfig(size=16, channels=1))
    for name, tensor in safetensors.torch.load_file(start).items():
        assert torch.equal(network.backbone.net.state_dict()[name], tensor)
    (run.folder / FROZEN).unlink()
    with pytest.raises(BenchError, match=f"{FROZEN} is gone"):
        build_network(model, InputConfig(size=16, channels=1))


def test_verify_reads_both_files(tiny: Path, start: Path, stt_bench: Command) -> None:
    model = f"embedding_dim: 8, freeze: all, weights: {start}"
    tiny.write_text(tiny.read_text().replace("embedding_dim: 8", model))
    runs, results = tiny.parent / "runs", tiny.parent / "results"
    where = ("--runs", runs, "--results", results)
    assert stt_bench("run", tiny, "--rows", "softmax", *where).returncode == 0
    assert "trained weights" in stt_bench("verify", "tiny/softmax/seed-0", *where).stdout
    beside = runs / "tiny/softmax/seed-0" / FROZEN
    other = {name: tensor + 1 for name, tensor in safetensors.torch.load_file(beside).items()}
    beside.unlink()
    safetensors.torch.save_file(other, beside)
    told = stt_bench("verify", "tiny/softmax/seed-0", *where).stdout
    assert f"{FROZEN} is not what training wrote" in told


def test_a_reproduction_that_agrees_leaves_no_frozen_part(
    tiny: Path, start: Path, stt_bench: Command
) -> None:
    model = f"embedding_dim: 8, freeze: all, weights: {start}"
    tiny.write_text(tiny.read_text().replace("embedding_dim: 8", model))
    results, again = tiny.parent / "results", tiny.parent / "again"
    places = ("--runs", tiny.parent / "runs", "--results", results)
    assert stt_bench("run", tiny, "--rows", "softmax", *places).returncode == 0
    record = results / "records/tiny/softmax/seed-0.json"
    done = stt_bench("reproduce", record, "--runs", again, "-q")
    assert done.returncode == 0, done.stderr
    assert not [*again.rglob("*.safetensors")]


def test_a_common_file_that_another_process_removes_is_made_again(
    tiny: Path, start: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = trained(tiny, start, "hard", 0)
    (common,) = first.common.iterdir()

    def removed(path: Path) -> str:
        if path == common:
            common.unlink()
        return sha256_of(path)

    monkeypatch.setattr(tensor_files, "sha256_of", removed)
    second = trained(tiny, start, "hard", 1)
    assert common.samefile(second.folder / FROZEN)


def test_a_link_in_place_of_itself_stays(tmp_path: Path) -> None:
    """To rename one name of a file to another of the same is to do nothing."""
    (tmp_path / "common").write_bytes(b"x")
    for _ in range(2):
        assert link_atomically(tmp_path / "own", tmp_path / "common")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["common", "own"]
    assert not link_atomically(tmp_path / "none", tmp_path / "absent")
