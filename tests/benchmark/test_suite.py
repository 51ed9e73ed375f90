"""embed, eval, run and report, on a table of four short rows."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from command_line import Command, disk_with
from PIL import Image

from stt_bench.benchmark import suite
from stt_bench.benchmark.cli.screen import print_leaderboard
from stt_bench.benchmark.config.evaluation_section import EvaluationConfig
from stt_bench.benchmark.config.table import Table
from stt_bench.benchmark.datasets import load_items
from stt_bench.benchmark.datasets.transforms import center_crop, prepare
from stt_bench.benchmark.embedding.embed import embed
from stt_bench.benchmark.embedding.external import read_external_set
from stt_bench.benchmark.leaderboards import report as leaderboards
from stt_bench.benchmark.leaderboards.board import build_leaderboard
from stt_bench.benchmark.leaderboards.figures import draw_leaderboard
from stt_bench.benchmark.leaderboards.markdown import markdown
from stt_bench.benchmark.leaderboards.published import read_published
from stt_bench.benchmark.leaderboards.report import report
from stt_bench.benchmark.scoring.evaluate import evaluate, measure
from stt_bench.benchmark.store.embedding_set import EmbeddingSet, read_embedding_set
from stt_bench.benchmark.store.ledger import ledger_path
from stt_bench.benchmark.store.records import Record, checksum, read_table_records, record_path
from stt_bench.benchmark.store.runs import Run, run_of
from stt_bench.benchmark.suite import load_table, one, run_table
from stt_bench.benchmark.suite.table import Outcome
from stt_bench.benchmark.system.atomic import write_atomically
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.files import read_json, sha256_of
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.training.learner import new_model
from stt_bench.benchmark.training.train import train

QUIET = Reporter(quiet=True)
IMAGES = """\
input: {size: 16, channels: 1, mean: [0.3], std: [0.37]}
model: {backbone: small_cnn"""
CHUNKS = "model: {head: fc1024}\n    train: {chunk: 4}"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_text: str) -> Path:
    """Return a folder with tiny.yaml run with two seeds."""
    root = tmp_path_factory.mktemp("finished")
    (root / "tiny.yaml").write_text(tiny_text.replace("seeds: [0]", "seeds: [0, 1]"))
    outcome = run_all(root)
    assert not outcome.failed
    assert len(outcome.done) == 8
    return root


def run_all(  # type: ignore[no-untyped-def]
    root: Path, *, rows: list[str] | None = None, force: bool = False
):
    return run_table(
        load_table(str(root / "tiny.yaml")),
        rows=rows,
        seeds=None,
        runs=root / "runs",
        results=root / "results",
        force=force,
        reporter=QUIET,
    )


def test_embeddings_are_the_network_on_the_central_crops(finished: Path) -> None:
    run = run_of(load_table(str(finished / "tiny.yaml")), "two_head", 1, finished / "runs")
    embedded = read_embedding_set(run.embeddings())
    items = load_items(run.experiment.data)
    frame = items.split("test")
    assert embedded.ids.tolist() == frame["path"].tolist()
    assert embedded.labels.tolist() == frame["label"].tolist()

    import safetensors.torch

    network, objective = new_model(run.experiment, 10)
    weights = safetensors.torch.load_file(run.weights)
    for part, module in (("network.", network), ("objective.", objective)):
        module.load_state_dict(
            {k.removeprefix(part): v for k, v in weights.items() if k.startswith(part)}
        )
    network.eval()
    rows = [0, 7, len(frame) - 1]
    images = [
        center_crop(prepare(items.read(frame["path"][row]), run.experiment.input), 16)
        for row in rows
    ]
    with torch.no_grad():
        features, expected = network(torch.stack(images))
        logits = objective.logits(features, expected)
    np.testing.assert_allclose(embedded.embeddings[rows], expected, atol=1e-5)
    assert embedded.logits is not None
    assert logits is not None
    np.testing.assert_allclose(embedded.logits[rows], logits, atol=1e-5)


def test_class_scores_are_kept_only_where_the_classes_are_known(finished: Path) -> None:
    scores = {path.parts[-5] for path in finished.glob("runs/**/logits.npy")}
    assert scores == {"two_head"}  # the others are tested on digits they have not seen
    assert (
        "accuracy" in read_json(record_path(finished / "results", "tiny", "two_head", 0))["metrics"]
    )


def test_a_record_holds_the_recall_of_each_class_and_what_is_confused(finished: Path) -> None:
    record = Record.model_validate(
        read_json(record_path(finished / "results", "tiny", "two_head", 1))
    )
    run = run_of(load_table(str(finished / "tiny.yaml")), "two_head", 1, finished / "runs")
    embedded = read_embedding_set(run.embeddings())
    assert embedded.logits is not None
    classes = embedded.meta["classes"]
    predicted = [classes[i] for i in embedded.logits.argmax(axis=1)]
    assert record.per_class is not None
    assert record.per_class.labels == classes
    matrix = record.per_class.confusion_matrix()
    for i, true in enumerate(classes):
        rows = [p for p, label in zip(predicted, embedded.labels, strict=True) if label == true]
        assert record.per_class.items[i] == len(rows)
        assert record.per_class.recall[i] == pytest.approx(rows.count(true) / len(rows))
        assert matrix[i].tolist() == [rows.count(other) for other in classes]
    macro = sum(r for r in record.per_class.recall if r is not None) / len(classes)
    assert record.metrics["macro_accuracy"] == pytest.approx(macro)


def test_a_second_run_skips_everything_and_force_repeats_it(finished: Path) -> None:
    again = run_all(finished)
    assert len(again.skipped) == 8
    files = sorted(finished.glob("runs/**/embeddings.npy"))
    before = {path: path.read_bytes() for path in files}
    for path in files:
        path.write_bytes(b"damaged")
    forced = run_all(finished, force=True)
    assert len(forced.done) == 8
    assert {path: path.read_bytes() for path in files} == before


def test_nothing_is_discarded_where_the_ledger_cannot_be_read(
    tiny: Path, tmp_path: Path, stt_bench: Command
) -> None:
    run = run_of(load_table(str(tiny)), "hard", 0, tmp_path / "runs")
    run.save()
    ledger = ledger_path(tmp_path / "results", "tiny")
    ledger.parent.mkdir(parents=True)
    ledger.write_text("of a newer version\n")
    with pytest.raises(BenchError, match="line 1: is no line of a ledger"):
        run_all(tmp_path, rows=["hard"], force=True)
    places = ("--runs", tmp_path / "runs", "--results", tmp_path / "results")
    assert stt_bench("train", tiny, "--row", "hard", "--force", *places).returncode == 2
    assert (run.folder / "run.json").exists()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("digits", "images, root: nowhere"), "nowhere"),
        (("embedding_dim: 8", "embedding_dim: 8, weights: gone.pth"), "'gone.pth'"),
        (("p: 4, k: 4", "p: 400, k: 4"), "sampler.p is 400"),
        (("train: {", "train: {device: 'cuda:99', "), "train.device is 'cuda:99'"),
        (
            (IMAGES, "model: {backbone: identity"),
            "identity takes vectors, and dataset 'digits' has",
        ),
        (("  hard:\n", f"  hard:\n    {CHUNKS}\n"), "train.chunk: 4: the batch norm 'head.1'"),
    ],
    ids=["data", "weights", "sampler", "device", "vectors", "batch norm"],
)
def test_nothing_is_discarded_where_a_run_could_not_begin_anew(
    tiny: Path, tmp_path: Path, stt_bench: Command, change: tuple[str, str], told: str
) -> None:
    run = run_of(load_table(str(tiny)), "hard", 0, tmp_path / "runs")
    run.save()
    tiny.write_text(tiny.read_text().replace(*change))
    places = ("--runs", tmp_path / "runs", "--results", tmp_path / "results")
    for command in (("run", tiny, "--rows", "hard"), ("train", tiny, "--row", "hard")):
        done = stt_bench(*command, "--force", *places)
        assert done.returncode == 2
        assert told in done.stderr
        assert (run.folder / "run.json").exists()


def test_a_table_without_recall_at_1_has_its_page(
    tiny: Path, tmp_path: Path, stt_bench: Command
) -> None:
    places = ("--runs", tmp_path / "runs", "--results", tmp_path / "results")
    done = stt_bench("run", tiny, "--rows", "softmax,hard", "--set", "evaluation.ks=[2,4]", *places)
    assert (done.returncode, "error" in done.stderr) == (0, False)
    page = (tmp_path / "results/tiny.md").read_text()
    assert "R@2" in page
    assert "R@1 " not in page
    assert stt_bench("report", "tiny", "--html", "--results", tmp_path / "results").returncode == 0


def test_training_anew_leaves_the_record(tiny: Path, tmp_path: Path, stt_bench: Command) -> None:
    run_all(tmp_path, rows=["hard"])
    record = record_path(tmp_path / "results", "tiny", "hard", 0)
    before = record.read_bytes()
    places = ("--runs", tmp_path / "runs", "--results", tmp_path / "results")
    assert stt_bench("train", tiny, "--row", "hard", "--force", *places).returncode == 0
    assert record.read_bytes() == before


def test_a_table_that_is_refused_leaves_those_before_it_their_leaderboards(
    tiny: Path, tmp_path: Path, stt_bench: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_one(table: Table, **_options: object) -> Outcome:
        if table.name == "tiny":
            return Outcome(done=["tiny/hard/seed-0"])
        raise BenchError("second lacks 2 of its 2 trials")

    written: list[str] = []
    monkeypatch.setattr(suite, "run_table", run_one)
    monkeypatch.setattr(leaderboards, "report", lambda _results, names: written.extend(names) or [])
    shutil.copy(tiny, tmp_path / "second.yaml")
    done = stt_bench("run", tiny, tmp_path / "second.yaml", "--results", tmp_path / "results")
    assert (done.returncode, done.stderr) == (2, "error: second lacks 2 of its 2 trials\n")
    assert written == ["tiny"]


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_what_tries_again_does_not_begin_anew(
    tiny: Path,
    tmp_path: Path,
    stt_bench: Command,
    monkeypatch: pytest.MonkeyPatch,
    force: list[str],
) -> None:
    def fails(*_args: object, **_options: object) -> None:
        raise BenchError("no room")

    monkeypatch.setattr(one, "train", fails)
    places = ("--runs", tmp_path / "runs", "--results", tmp_path / "results")
    done = stt_bench("run", tiny, "--rows", "hard", *force, *places)
    without = " without --force" if force else ""
    told = f"warning: 1 run failed, see above; the same command{without} tries it again"
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, told)

    words = tmp_path / "words"  # of one among several: who started them says it last
    words.mkdir()
    monkeypatch.setenv("STT_BENCH_LAST_WORDS", str(words))
    done = stt_bench("run", tiny, "--rows", "hard", *force, *places)
    assert done.returncode == 1
    assert told not in done.stderr
    assert {file.name: file.read_text() for file in words.iterdir()} == {"1": told}


def folder_of_images(root: Path, shift: int = 0) -> Path:
    rng = np.random.default_rng(0)
    for name in "abcd":
        (root / name).mkdir(parents=True)
        for number in range(4):
            pixels = rng.integers(0, 250, (12, 12), dtype=np.uint8) + np.uint8(shift)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root


@pytest.fixture
def photos(tiny: Path, tmp_path: Path) -> Path:
    """Return a folder of images, with tiny.yaml about it."""
    lines = tiny.read_text().splitlines()[:-4]  # two_head and center need more
    text = "\n".join(lines[: lines.index("  two_head:")])
    text = text.replace("{name: digits, task: retrieval}", f"{{name: images, root: {tmp_path}/in}}")
    tiny.write_text(text.replace("p: 4, k: 4", "p: 2, k: 2"))
    return folder_of_images(tmp_path / "in")


def test_nothing_is_discarded_where_a_head_could_not_start(photos: Path, tmp_path: Path) -> None:
    table = tmp_path / "tiny.yaml"
    run = run_of(load_table(str(table)), "hard", 0, tmp_path / "runs")
    run.save()
    table.write_text(table.read_text().replace("dim: 8", "dim: 8, head_start: pca"))
    with pytest.raises(BenchError, match="8 training images have at most 7 principal"):
        run_all(tmp_path, rows=["hard"], force=True)
    assert (run.folder / "run.json").exists()


def test_other_data_are_never_taken_for_the_same(photos: Path, tmp_path: Path) -> None:
    assert len(run_all(tmp_path).done) == 2
    assert len(run_all(tmp_path).skipped) == 2
    (photos / "a" / "0.png").unlink()
    outcome = run_all(tmp_path)
    assert not outcome.skipped
    assert all("other data" in reason for reason in outcome.failed.values())
    assert len(run_all(tmp_path, force=True).done) == 2


def test_a_reason_is_told_once(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(photos)
    outcome = run_all(tmp_path)
    assert len(outcome.failed) == 2
    assert len(set(outcome.failed.values())) == 1
    told = capsys.readouterr().err
    assert told.count(outcome.failed["tiny/softmax/seed-0"]) == 1
    assert told.count("failed: for the same reason") == 1


def test_a_checkpoint_of_other_data_is_not_continued(
    photos: Path, tmp_path: Path, killed_at: Any
) -> None:
    run = run_of(load_table(str(tmp_path / "tiny.yaml")), "hard", 0, tmp_path / "runs")
    with killed_at(6):
        train(run, QUIET)
    next((photos / "d").iterdir()).unlink()
    with pytest.raises(BenchError, match="other data"):
        train(run, QUIET)


def test_weights_of_other_settings_are_not_taken_when_run_json_is_lost(
    tiny: Path, tmp_path: Path
) -> None:
    train(run_of(load_table(str(tiny)), "hard", 0, tmp_path), QUIET)
    other = run_of(load_table(str(tiny), ["optimizer.lr=0.5"]), "hard", 0, tmp_path)
    (other.folder / "run.json").unlink()
    with pytest.raises(BenchError, match="other settings"):
        train(other, QUIET)


def test_an_unforeseen_failure_is_kept_and_the_others_go_on(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = one.embed_split

    def fail(run: Run, *args: Any, **kwargs: Any) -> EmbeddingSet:
        if run.row == "hard":
            raise RuntimeError("out of memory\nand more")
        if run.row == "center":  # as a plugin may
            raise SystemExit(3)
        return original(run, *args, **kwargs)

    monkeypatch.setattr(one, "embed_split", fail)
    outcome = run_all(tmp_path, rows=["softmax", "hard", "center"])
    assert outcome.failed["tiny/hard/seed-0"].startswith("RuntimeError: out of memory (")
    assert "fail" in (tmp_path / "runs/tiny/hard/seed-0/error.txt").read_text()
    assert outcome.failed["tiny/center/seed-0"].startswith("SystemExit: 3 (")
    assert len(outcome.done) == 1
    table = load_table(str(tiny))
    runs = [run_of(table, row, 0, tmp_path / "runs") for row in ("softmax", "hard", "center")]
    told = [run.told_failure() for run in runs]
    assert told == [None, outcome.failed[runs[1].name], outcome.failed[runs[2].name]]
    monkeypatch.setattr(one, "embed_split", original)
    assert len(run_all(tmp_path, rows=["hard", "center"]).done) == 2
    assert not [run for run in runs if run.failure.exists()]


def test_other_starting_weights_are_never_taken_for_the_same(tiny: Path, tmp_path: Path) -> None:
    def write_start(seed: int) -> None:
        torch.manual_seed(seed)
        net = new_model(load_table(str(tiny)).rows["hard"], 5)[0].backbone.net
        torch.save(net.state_dict(), tmp_path / "start.pt")

    write_start(0)
    table = load_table(str(tiny), [f"model.weights={tmp_path}/start.pt"])
    run = run_of(table, "hard", 0, tmp_path / "runs")
    train(run, QUIET)
    train(run, QUIET)
    write_start(1)
    with pytest.raises(BenchError, match="other starting weights"):
        train(run, QUIET)
    (tmp_path / "start.pt").unlink()  # nothing needs it any more
    train(run, QUIET)


def test_labels_and_titles_follow_the_config_without_a_new_run(tiny: Path, tmp_path: Path) -> None:
    run_all(tmp_path, rows=["softmax"])
    tiny.write_text(tiny.read_text().replace("label: Softmax", "label: Softmax!"))
    assert len(run_all(tmp_path, rows=["softmax"]).skipped) == 1
    board = report(tmp_path / "results")[0]
    assert board.rows[0].label == "Softmax!"


def test_a_failing_row_does_not_stop_the_others(tiny: Path, tmp_path: Path) -> None:
    text = tiny.read_text().replace(
        "    loss: {name: hard_triplet, margin: 1.0}\n",
        "    loss: {name: hard_triplet, margin: 1.0}\n    sampler: {p: 9, k: 2}\n",
    )
    tiny.write_text(text)
    outcome = run_all(tmp_path, rows=["hard", "center"])
    assert list(outcome.failed) == ["tiny/hard/seed-0"]
    assert "sampler.p" in outcome.failed["tiny/hard/seed-0"]
    assert outcome.done == ["tiny/center/seed-0"]


@pytest.mark.parametrize("size", [1000, 10_000, 20_000])
def test_a_full_disk_is_told_and_the_same_call_goes_on(
    tiny: Path, tmp_path: Path, size: int
) -> None:
    def run_two():  # type: ignore[no-untyped-def]
        return run_table(
            load_table(str(tiny), ["evaluation.clustering=false"]),
            rows=["softmax", "hard"],
            seeds=None,
            runs=tmp_path / "runs",
            results=tmp_path / "results",
            force=False,
            reporter=QUIET,
        )

    with disk_with(size):
        outcome = run_two()
    assert len(outcome.failed) == 2
    assert all("cannot be written" in told for told in outcome.failed.values())
    assert not list(tmp_path.rglob("error.txt"))
    assert len(run_two().done) == 2


def test_record_holds_what_the_issue_asks(finished: Path) -> None:
    run = finished / "runs/tiny/hard/seed-0"
    record = Record.model_validate(read_json(record_path(finished / "results", "tiny", "hard", 0)))
    assert record.checkpoint_sha256 == sha256_of(run / "model.safetensors")
    assert record.embeddings_sha256 == sha256_of(run / "embeddings/test/embeddings.npy")
    for name in ("seconds", "images_per_second", "peak_memory_mib", "device", "threads"):
        assert getattr(record.training, name)
    assert set(record.metrics) >= {"recall@1", "recall@4", "map@r", "r_precision", "mrr", "nmi"}
    assert record.versions["torch"] == torch.__version__.partition("+")[0]
    table = load_table(str(finished / "tiny.yaml"))
    assert record.config_digest == table.rows["hard"].digest()
    assert record.class_values is not None
    assert record.class_values.groups == ["5", "6", "7", "8", "9"]
    for metric, share in record.class_values.metrics.items():
        assert sum(share.values) / 5 == pytest.approx(record.metrics[metric])


def test_report_is_a_function_of_the_records(finished: Path) -> None:
    results = finished / "results"
    report(results)
    generated = [p for p in results.iterdir() if p.is_file()]
    assert {p.name for p in generated} == {"README.md", "tiny.md", "tiny.png"}
    before = {p.name: p.read_bytes() for p in generated}
    for path in generated:
        path.unlink()
    report(results)
    assert {p.name: p.read_bytes() for p in results.iterdir() if p.is_file()} == before


def test_leaderboard_numbers_are_those_of_the_records(finished: Path) -> None:
    records = read_table_records(finished / "results", "tiny")
    board = build_leaderboard("tiny", records, [])
    values = [r.metrics["recall@1"] for r in records if r.row == "hard"]
    mean = sum(values) / 2
    std = (sum((v - mean) ** 2 for v in values) / 1) ** 0.5
    row = next(row for row in board.rows if row.name == "hard")
    assert row.scores["recall@1"].mean == pytest.approx(mean)
    assert row.scores["recall@1"].std == pytest.approx(std)
    assert f"{100 * mean:.1f} ± {100 * std:.1f}" in markdown(board)
    softmax = [r.metrics["map@r"] for r in records if r.row == "softmax"]
    hard = [r.metrics["map@r"] for r in records if r.row == "hard"]
    paired = np.subtract(hard, softmax)
    difference = board.difference(row, "map@r")
    assert difference is not None
    assert difference.mean == pytest.approx(paired.mean())
    assert f"{100 * paired.mean():+.1f} ± {100 * difference.half_width:.1f}" in markdown(board)


def test_rows_of_another_protocol_are_marked_and_never_best(finished: Path) -> None:
    records = read_table_records(finished / "results", "tiny")
    board = build_leaderboard("tiny", records, [])
    two_head = next(row for row in board.rows if row.name == "two_head")
    assert two_head.fingerprint != board.main_protocol  # other task, other test items
    assert two_head.scores["map@r"].mean != 0
    assert "two_head" not in board.best("map@r")
    text = markdown(board)
    assert "† two_head is of another protocol" in text
    assert "task classification (others: retrieval)" in text
    assert board.difference(two_head, "map@r") is None


def test_rows_stand_by_their_score_and_published_numbers_apart(finished: Path) -> None:
    published = finished / "published.csv"
    published.write_text(
        'table,row,metric,value,source,note\ntiny,hard,recall@1,99.9,"Doe, 2020",one seed\n'
    )
    records = read_table_records(finished / "results", "tiny")
    board = build_leaderboard("tiny", records[::-1], read_published(published)["tiny"])
    assert board.rows[0].label == "Softmax"
    short, _, folded = markdown(board).partition("<details>")
    values = [float(one.split(" | ")[1].strip("*")) for one in short.splitlines() if "| 1 |" in one]
    assert values == sorted(values, reverse=True)
    lines = [line for line in folded.splitlines() if line.startswith("| ")]
    assert lines[0].endswith("*R@1, published* |")
    softmax, hard = (
        next(line for line in lines if line.startswith(f"| {name} "))
        for name in ("Softmax", "Hard")
    )
    assert softmax.endswith(" – |")
    assert hard.endswith("| *99.9* |")
    assert "- Hard, R@1: Doe, 2020\n  - All: one seed\n" not in folded  # one number is named
    assert "- Hard, R@1: Doe, 2020\n  - Hard, R@1: one seed\n" in folded


def test_a_table_with_published_numbers_alone_says_that_it_was_not_run(finished: Path) -> None:
    results = finished / "results"
    (results / "published.csv").write_text(
        "table,row,metric,value,source,note\n"
        "big,hard,recall@1,49.0,A paper,one seed\nbig,hard,nmi,58.7,A paper,\n"
        "big,lifted,recall@1,35.2,A paper,\n"
    )
    report(results)
    page = (results / "big.md").read_text()
    assert "**Not run.**" in page
    assert "stt-bench run configs/big.yaml" in page
    assert "| hard | *49.0* | *58.7* |" in page
    assert "| lifted | *35.2* | *–* |" in page
    assert "- All: A paper\n  - hard, R@1: one seed\n" in page
    assert (
        "Not run, with the published numbers alone: [big](big.md)"
        in (results / "README.md").read_text()
    )


def test_report_without_records_and_with_broken_ones(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no records"):
        report(tmp_path)
    with pytest.raises(BenchError, match="did you mean 'tiny'"):
        report(finished / "results", ["tinny"])
    shutil.copytree(finished / "results", tmp_path / "r")
    broken = record_path(tmp_path / "r", "tiny", "hard", 0)
    broken.write_text("{")
    with pytest.raises(BenchError, match=r"seed-0\.json"):
        report(tmp_path / "r")
    content = read_json(record_path(finished / "results", "tiny", "hard", 0))
    broken.write_text(json.dumps({**content, "metrics": {"recall@1": "high"}}))
    with pytest.raises(BenchError, match=r"metrics\.recall@1"):
        report(tmp_path / "r")
    broken.write_text(json.dumps({**content, "seed": 7}))
    with pytest.raises(BenchError, match="seed-7"):
        report(tmp_path / "r")
    other = load_table(str(finished / "tiny.yaml"), ["optimizer.lr=0.5"]).rows["hard"]
    changed = {"experiment": other.model_dump(mode="json"), "config_digest": other.digest()}
    changed = content | changed
    broken.write_text(json.dumps(changed | {"checksum": checksum(changed)}))
    with pytest.raises(BenchError, match="different settings or data"):
        report(tmp_path / "r")


def test_embed_needs_a_finished_training(tiny: Path, tmp_path: Path) -> None:
    run = run_of(load_table(str(tiny)), "hard", 0, tmp_path)
    run.save()
    with pytest.raises(BenchError, match="not trained to its end"):
        embed(run, QUIET)
    with pytest.raises(BenchError, match="no test embeddings"):
        evaluate(run, tmp_path, QUIET)


def test_damaged_embeddings_are_told(tiny: Path, tmp_path: Path) -> None:
    run = run_of(load_table(str(tiny)), "hard", 0, tmp_path)
    train(run, QUIET)
    folder = embed(run, QUIET)
    np.save(folder / "embeddings.npy", np.zeros((3, 8), dtype=np.float32))
    with pytest.raises(BenchError, match=r"not those that meta\.json describes; embed again"):
        evaluate(run, tmp_path, QUIET)
    embed(run, QUIET)
    assert evaluate(run, tmp_path, QUIET).metrics["recall@1"] > 0
    (folder / "items.csv").unlink()
    with pytest.raises(BenchError, match="embed again"):
        evaluate(run, tmp_path, QUIET)
    embed(run, QUIET)
    run.weights.write_bytes(b"other")
    with pytest.raises(BenchError, match="not what training wrote"):
        embed(run, QUIET)


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_query_gallery_roles_are_measured_as_two_sets(distance: Any) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(12, 3)).astype(np.float32)
    labels = np.array(list("aabbccaabbcc"))
    roles = np.array(["query"] * 4 + ["both"] * 2 + ["gallery"] * 6)
    ids = np.arange(12).astype(str)
    config = EvaluationConfig(ks=[1], clustering=False, distance=distance)
    metrics = measure(EmbeddingSet(x, labels, ids, roles, None, {}), config).metrics
    if distance == "cosine":
        x /= np.linalg.norm(x, axis=1, keepdims=True)
    hits = 0
    for q in range(6):
        gallery = [g for g in range(4, 12) if g != q]
        nearest = min(gallery, key=lambda g: float(((x[q] - x[g]) ** 2).sum()))
        hits += labels[nearest] == labels[q]
    assert metrics["recall@1"] == pytest.approx(hits / 6)
    assert metrics["queries"] == 6


def test_classes_of_one_test_image_each_are_classified_all_the_same() -> None:
    labels, roles = np.array(["a", "b", "c"]), np.full(3, "both")
    scores = np.array([[2, 1, 0], [0, 1, 3], [0, 1, 3]], dtype=np.float32)
    embedded = EmbeddingSet(scores, labels, labels, roles, scores, {"classes": ["a", "b", "c"]})
    metrics = measure(embedded, EvaluationConfig(clustering=False)).metrics
    assert metrics["queries"] == 0
    assert "recall@1" not in metrics
    assert metrics["accuracy"] == pytest.approx(2 / 3)
    with pytest.raises(BenchError, match="No query has a positive"):
        measure(replace(embedded, logits=None), EvaluationConfig(clustering=False))
    paired = replace(embedded, labels=np.array(["a", "b", "b"]))
    assert measure(paired, EvaluationConfig(clustering=False)).metrics["queries"] == 2
    apart = replace(paired, roles=np.array(["query", "gallery", "gallery"]))
    assert measure(apart, EvaluationConfig(clustering=False)).metrics["queries"] == 0


def test_external_embeddings_from_every_csv(tmp_path: Path) -> None:
    x = np.eye(4, dtype=np.float64)
    np.save(tmp_path / "x.npy", x)
    for text in (
        "a\na\nb\nb\n",
        "\ufefflabel\na\na\nb\nb\n",
        "id, label\r\n1, a\r\n2, a\r\n3,b\r\n4,b",
    ):
        (tmp_path / "y.csv").write_bytes(text.encode())
        found = read_external_set(tmp_path / "x.npy", tmp_path / "y.csv")
        assert found.labels.tolist() == ["a", "a", "b", "b"]
        assert set(found.roles) == {"both"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a\nb\n", "4 rows but .* 2 labels"),
        ("", "is empty"),
        ("name,size,age\na,1,2\n", r"y.csv:1: .* a csv of labels has a header with label"),
        ("label,role\na,query\na,query\nb,both\nb,owner\n", r"y.csv:5: role 'owner' is not valid"),
        ("label,id\na,1\na\nb,3\nb,4\n", r"y.csv:3: expected 2 cells, found 1"),
    ],
)
def test_mistakes_in_the_csv_of_external_embeddings(tmp_path: Path, text: str, said: str) -> None:
    np.save(tmp_path / "x.npy", np.eye(4))
    (tmp_path / "y.csv").write_text(text)
    with pytest.raises(BenchError, match=said):
        read_external_set(tmp_path / "x.npy", tmp_path / "y.csv")
    with pytest.raises(BenchError, match="no such file"):
        read_external_set(tmp_path / "z.npy", tmp_path / "y.csv")


def test_nan_embeddings_get_one_sentence(tmp_path: Path) -> None:
    x = np.eye(4)
    x[2, 0] = np.nan
    np.save(tmp_path / "x.npy", x)
    pd.DataFrame({"label": list("aabb")}).to_csv(tmp_path / "y.csv", index=False)
    found = read_external_set(tmp_path / "x.npy", tmp_path / "y.csv")
    with pytest.raises(BenchError, match="row"):
        measure(found, EvaluationConfig(), where="x.npy")


def test_atomic_write_leaves_the_old_file_when_writing_fails(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fail(stream: object) -> None:
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "content", [b"", np.float32(1), np.zeros(3), np.array([["a"]]), np.zeros((2, 2), complex)]
)
def test_arrays_that_are_no_embeddings(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "x.npy"
    path.write_bytes(content) if isinstance(content, bytes) else np.save(path, content)
    (tmp_path / "y.csv").write_text("a\na\n")
    with pytest.raises(BenchError, match=r"x\.npy"):
        read_external_set(path, tmp_path / "y.csv")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BenchError, match="is a file where a folder is needed"):
        write_atomically(tmp_path / "file" / "x", lambda stream: stream.write(b""))


def test_somebody_elses_readme_is_not_overwritten(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "results" / "records", tmp_path / "records")
    (tmp_path / "README.md").write_text("# Mine\n")
    with pytest.raises(BenchError, match=r"README\.md would be overwritten"):
        report(tmp_path)
    assert (tmp_path / "README.md").read_text() == "# Mine\n"


def test_labels_are_printed_as_they_are(
    finished: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    records = read_table_records(finished / "results", "tiny")
    odd = records[0].display.model_copy(update={"label": "a [b] $x [/c]", "title": "[red]"})
    board = build_leaderboard("tiny", [r.model_copy(update={"display": odd}) for r in records], [])
    print_leaderboard(board)
    assert "a [b] $x [/c]" in capsys.readouterr().out
    draw_leaderboard(board, tmp_path / "x.png")
