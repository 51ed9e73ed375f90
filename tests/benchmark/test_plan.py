"""`run --dry-run`: what would run, from which data, for how long; and nothing happens."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from signal import SIGKILL

import pytest
from command_line import Done, exit_code_of, killed_after_a_checkpoint

from stt_bench.benchmark.datasets import items
from stt_bench.benchmark.models import weights
from stt_bench.benchmark.store.records import checksum, record_path
from stt_bench.benchmark.store.runs import run_of
from stt_bench.benchmark.suite import load_table


@pytest.fixture
def places(tmp_path: Path) -> tuple[object, ...]:
    return ("--runs", tmp_path / "runs", "--results", tmp_path / "results")


def everything_in(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_states_and_times(
    stt_bench: Callable[..., Done], tiny: Path, tmp_path: Path, places: tuple[object, ...]
) -> None:
    assert stt_bench("run", tiny, "--rows", "softmax", "-q", *places).returncode == 0
    path = record_path(tmp_path / "results", "tiny", "softmax", 0)
    record = json.loads(path.read_text())
    record["training"]["seconds"] = 1200.0  # for 12 steps
    path.write_text(json.dumps(record | {"checksum": checksum(record)}))
    table = load_table(str(tiny), ["optimizer.lr=0.5"], only=["center"])
    center = run_of(table, "center", 0, tmp_path / "runs")
    center.folder.mkdir(parents=True)
    center.save()
    center.checkpoint.write_bytes(b"")
    killed = killed_after_a_checkpoint(tmp_path, "hard")
    assert exit_code_of(*killed, "run", tiny, "--rows", "hard", *places) == -SIGKILL
    before = everything_in(tmp_path)
    done = stt_bench("run", tiny, "--dry-run", "--seeds", "0,5", *places)
    assert (done.returncode, done.stderr) == (1, "warning: 1 run would be refused, see above\n")
    assert done.stdout.splitlines() == [
        "tiny: 8 run(s)",
        "  data digits (retrieval): 1,797 images, with the packages",
        "  data digits (classification): 1,797 images, with the packages",
        "  softmax, seed 0: has a record",
        "  softmax, seed 5: starts; 20 min 0 s of training each",
        "  hard, seed 0: continues from its checkpoint; an unknown time of training each",
        "  hard, seed 5: starts; an unknown time of training each",
        "  two_head, seed 0, 5: starts; an unknown time of training each",
        f"  center, seed 0: would be refused: {center.folder} holds a run with another "
        "'optimizer.lr'; train it again with --force, or name another folder with --runs",
        "  center, seed 5: starts; an unknown time of training each",
        "  6 to train, about 20 min 0 s for 1 of them; the time of 5 is not known: "
        "their rows have no record",
    ]
    longer = stt_bench(
        "run", tiny, "--dry-run", "--rows", "softmax", "--set", "train.steps=36", *places
    )
    assert "softmax, seed 0: would be refused" in longer.stdout  # its folder has the old training
    forced = stt_bench("run", tiny, "--dry-run", "--rows", "softmax", "--force", *places,
                       "--set", "train.steps=36")  # fmt: skip
    assert "softmax, seed 0: starts; 1 h 0 min of training each" in forced.stdout
    assert everything_in(tmp_path) == before


def test_a_sampler_that_does_not_fit_the_data_is_told(
    stt_bench: Callable[..., Done], tiny: Path, places: tuple[object, ...]
) -> None:
    done = stt_bench("run", tiny, "--dry-run", "--rows", "hard", "--set", "sampler.p=9", *places)
    assert "hard, seed 0: would be refused: sampler.p is 9, but only 5 classes" in done.stdout
    assert done.stdout.splitlines()[-1] == "  0 to train"


def test_chunks_that_batch_norm_would_see_are_told(
    stt_bench: Callable[..., Done], tiny: Path, places: tuple[object, ...]
) -> None:
    trained = ("--set", "model.backbone=timm/resnet10t", "--set", "input.channels=3",
               "--set", "input.mean=[0.5,0.5,0.5]", "--set", "input.std=[0.5,0.5,0.5]")  # fmt: skip
    told = stt_bench("run", tiny, "--dry-run", "--rows", "hard", *trained, *places,
                     "--set", "train.chunk=8")  # fmt: skip
    assert "hard, seed 0: would be refused: train.chunk: 8: the batch norm '" in told.stdout
    whole = ("--set", "train.chunk=4096")
    fine = stt_bench("run", tiny, "--dry-run", "--rows", "hard", *trained, *whole, *places)
    assert "hard, seed 0: starts" in fine.stdout


def test_one_refusal_is_told_once_and_an_untrained_row_draws_no_batch(
    stt_bench: Callable[..., Done], tiny: Path, places: tuple[object, ...]
) -> None:
    tiny.write_text(tiny.read_text() + "  untrained: {loss: softmax, train: {steps: 0}}\n")
    rows = ["--rows", "softmax,untrained,hard", "--seeds", "0,1", "--set", "sampler.p=9"]
    done = stt_bench("run", tiny, "--dry-run", *rows, *places)
    assert [line for line in done.stdout.splitlines()[2:] if "refused" in line] == [
        "  softmax, hard, seed 0, 1: would be refused: sampler.p is 9, but only 5 classes are "
        "trained on: lower sampler.p to 5 or less"
    ]
    assert "  untrained, seed 0, 1: starts" in done.stdout


def test_a_table_file_of_another_name_is_proposed(
    stt_bench: Callable[..., Done], tiny: Path
) -> None:
    done = stt_bench("run", tiny.with_suffix(".yml"), "--dry-run")
    assert f"there is no such file; did you mean '{tiny}'?" in done.stderr


def test_a_trained_run_is_only_evaluated(
    stt_bench: Callable[..., Done], tiny: Path, tmp_path: Path, places: tuple[object, ...]
) -> None:
    stt_bench("train", tiny, "--row", "hard", "-q", *places)
    done = stt_bench("run", tiny, "--dry-run", "--rows", "hard", *places)
    assert "hard, seed 0: is trained: will be embedded and evaluated" in done.stdout
    assert done.stdout.splitlines()[-1] == "  0 to train"


def test_data_that_are_not_here_are_not_downloaded(
    stt_bench: Callable[..., Done],
    tiny: Path,
    tmp_path: Path,
    places: tuple[object, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a dry run downloads nothing")

    monkeypatch.setattr(items, "download_into", refuse)
    monkeypatch.setattr(items, "find_folder", lambda *_: None)
    tiny.write_text(tiny.read_text().replace("name: digits", "name: fashion_mnist"))
    done = stt_bench("run", tiny, "--dry-run", "--rows", "softmax", *places)
    assert done.returncode == 0, done.stderr
    assert "data fashion_mnist (retrieval): is downloaded at first use" in done.stdout
    assert "softmax, seed 0: starts" in done.stdout
    assert list(tmp_path.iterdir()) == [tiny]


def refused_alike(stt_bench: Callable[..., Done], *arguments: object) -> str:
    """Return the one sentence by which a dry run and then the run itself are refused."""
    planned = stt_bench("run", *arguments, "--dry-run")
    done = stt_bench("run", *arguments)
    told = set(re.findall(r"would be refused: (.*)", planned.stdout))
    assert len(told) == 1, planned.stdout
    (why,) = told
    assert planned.stdout.endswith("  0 to train\n")
    assert planned.returncode == done.returncode
    assert done.returncode in (1, 2)
    assert f"failed: {why}\n" in done.stderr or f"error: {why}\n" == done.stderr
    return why


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["data.name=images", "data.root=nofile.csv"], "data.root nofile.csv does not exist"),
        (["data.name=images", "data.root=LIST"], "list.csv"),
        (["model.weights=none.pth"], "'none.pth' was looked for at"),
        (["model.weights=LIST.pth"], "list.csv.pth"),
        (["train.device=cuda:77"], "train.device is 'cuda:77' but PyTorch finds"),
        (["sampler.p=9"], "sampler.p is 9, but only 5 classes"),
        (["model.freeze=[nothing]"], "the backbone has no module 'nothing'"),
        (["data.validation=0.2", "train.validate_every=4", "evaluation.junk=who"], "'who'"),
        (["model.head_start=pca", "model.embedding_dim=2000"], "2000"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("more", [[], ["--force"]])
def test_what_the_run_refuses_is_refused_in_its_words(
    stt_bench: Callable[..., Done],
    tiny: Path,
    tmp_path: Path,
    places: tuple[object, ...],
    settings: list[str],
    told: str,
    more: list[str],
) -> None:
    listed = tmp_path / "list.csv"
    listed.write_text("path,kind\na.png,b,c,d\n")
    listed.with_name("list.csv.pth").write_bytes(b"no weights")
    given = [part for one in settings for part in ("--set", one.replace("LIST", str(listed)))]
    before = everything_in(tmp_path)
    planned = stt_bench("run", tiny, "--rows", "hard", *given, *places, *more, "--dry-run")
    assert everything_in(tmp_path) == before
    why = refused_alike(stt_bench, tiny, "--rows", "hard", *given, *places, *more)
    assert told in why
    assert planned.stdout.count(why) == 1


def test_what_a_run_s_own_files_refuse_is_told(
    stt_bench: Callable[..., Done], tiny: Path, tmp_path: Path, places: tuple[object, ...]
) -> None:
    row = (tiny, "--rows", "hard", *places)
    run = run_of(load_table(str(tiny)), "hard", 0, tmp_path / "runs")
    killed = killed_after_a_checkpoint(tmp_path, "hard")
    assert exit_code_of(*killed, "run", *row) == -SIGKILL
    whole = run.checkpoint.read_bytes()
    run.checkpoint.write_bytes(whole[:-9])
    assert "checkpoint.pt is damaged" in refused_alike(stt_bench, *row)
    run.checkpoint.write_bytes(whole)
    assert stt_bench("run", *row).returncode == 0
    path = record_path(tmp_path / "results", "tiny", "hard", 0)
    record = path.read_text()
    path.write_text(record[:-9])
    assert f"{path}: " in refused_alike(stt_bench, *row)
    path.unlink()
    told = run.training.read_text()
    run.training.write_text(re.sub(r'"data_hash": "[^"]*"', '"data_hash": "other"', told))
    assert "was trained with other data" in refused_alike(stt_bench, *row)
    run.training.write_text(told)
    ledger = tmp_path / "results" / "records" / "tiny" / "ledger.jsonl"
    ledger.write_text("{" + ledger.read_text())
    assert str(ledger) in refused_alike(stt_bench, *row)


@pytest.mark.parametrize("answers", [True, False])
def test_weights_that_a_library_fetches_are_refused_where_its_server_is_out_of_reach(
    stt_bench: Callable[..., Done],
    tiny: Path,
    tmp_path: Path,
    places: tuple[object, ...],
    monkeypatch: pytest.MonkeyPatch,
    answers: bool,
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setattr(weights, "find_folder", lambda *_: None)
    monkeypatch.setattr(weights, "_is_reachable", lambda _: answers)
    given = [part for one in ("model.backbone=timm/resnet10t", "model.weights=pretrained",
                              "input.channels=3", "input.mean=[0.5,0.5,0.5]",
                              "input.std=[0.5,0.5,0.5]", "input.size=32")
             for part in ("--set", one)]  # fmt: skip
    done = stt_bench("run", tiny, "--rows", "hard", *given, *places, "--dry-run")
    if answers:
        assert done.returncode == 0
        assert "hard, seed 0: starts" in done.stdout
    else:
        assert done.returncode == 1
        told = "would be refused: model.weights: the pretrained weights timm:resnet10t.c3_in1k"
        assert told in done.stdout


def test_options_that_a_run_refuses_are_refused_by_a_dry_one(
    stt_bench: Callable[..., Done], tiny: Path, places: tuple[object, ...]
) -> None:
    for options in (["--gpus-per-run", "1"], ["--on", "ray", "--jobs", "2"],
                    ["--on", "ray", "--gpus", "2"]):  # fmt: skip
        planned = stt_bench("run", tiny, *places, *options, "--dry-run")
        assert planned.returncode == 2
        assert planned == stt_bench("run", tiny, *places, *options)
