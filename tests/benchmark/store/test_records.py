"""Records: what is read back is checked, field by field."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Command

from stt_bench.benchmark.store.class_records import ClassScores
from stt_bench.benchmark.store.protocol import protocol_of
from stt_bench.benchmark.store.records import (
    checksum,
    read_record,
    read_table_records,
    tables_with_records,
)
from stt_bench.benchmark.system.errors import BenchError

ROOT = Path(__file__).parents[3]
RECORD = Path(__file__).parents[1] / "records/digits_retrieval/angular/seed-0.json"

# It was made under schema 2; what it said of itself then:
DIGEST_2 = "3217b9f4202a87e48ab9b6ef8ea1fdfdd8cf516539f436a99e4658ddce1db647"
FINGERPRINT_2 = "2a0fa939705229a6"


def of_schema_2(record: dict[str, Any]) -> dict[str, Any]:
    """Return the record as it was under schema 2."""
    names = list(record["protocol"])
    names.insert(names.index("sampler"), "distance")
    return {name: value for name, value in record.items() if name != "checksum"} | {
        "schema_version": 2,
        "config_digest": DIGEST_2,
        "protocol": {name: record["protocol"].get(name, "euclidean") for name in names},
        "protocol_fingerprint": FINGERPRINT_2,
    }


@pytest.mark.parametrize("schema", [1, 2])
def test_an_older_record_is_refused_and_migrated_with_the_same_metrics(
    tmp_path: Path, schema: int
) -> None:
    migrate = runpy.run_path(str(ROOT / "results/migrate_to_schema_3.py"))["migrate"]
    text = RECORD.read_text()
    old = json.dumps(of_schema_2(json.loads(text)))
    if schema == 1:
        old = old.replace('"schema_version": 2', '"schema_version": 1')
        old = old.replace('"display": {', '"listing": {')
    path = tmp_path / "records/digits_retrieval/angular/seed-0.json"
    path.parent.mkdir(parents=True)
    path.write_text(old)
    with pytest.raises(
        BenchError, match=rf"seed-0\.json: is a record of schema {schema}.*schema_3"
    ):
        read_record(path)
    assert migrate(path)
    assert path.read_text() == text
    assert not migrate(path)
    assert read_record(path).metrics == json.loads(old)["metrics"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"config_digest": "0" * 64}, "config_digest"),
        ({"protocol_fingerprint": "0"}, "fingerprint"),
    ],
)
def test_a_migration_does_not_make_an_edited_record_whole(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    migrate = runpy.run_path(str(ROOT / "results/migrate_to_schema_3.py"))["migrate"]
    path = tmp_path / "seed-0.json"
    old = json.dumps(of_schema_2(json.loads(RECORD.read_text())) | change)
    path.write_text(old)
    with pytest.raises(BenchError, match=said):
        migrate(path)
    assert path.read_text() == old


def record_with(folder: Path, change: Any) -> Path:
    """Write a committed record with a change, which the checksum knows of, into a folder."""
    content = json.loads(RECORD.read_text())
    change(content)
    content["checksum"] = checksum(content)
    path = folder / "records/digits_retrieval/angular/seed-0.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("metrics.map@r", 7.5, r"metrics\.map@r is 7\.5"),
        ("metrics.recall@1", -0.1, r"metrics\.recall@1 is -0\.1"),
        ("metrics.nmi", 1e400, r"Infinity is no JSON number"),
        ("metrics.ami", -1.5, r"metrics\.ami is -1\.5: it lies between -1 and 1"),
        ("metrics.queries", -1, r"metrics\.queries is -1: a count"),
        ("metrics.queries", 1.5, r"metrics\.queries is 1\.5: a count"),
        ("metrics.queries", None, r"metrics\.queries"),
        ("metrics.queries", ..., r"metrics: 'queries' is missing"),
        ("metrics.recall@x", 0.5, r"metrics\.recall@x: the K"),
        ("metrics.recall@0", 0.5, r"metrics\.recall@0: the K"),
        ("metrics.recall@" + "9" * 6000, 0.5, r"metrics\.recall@9+: the K"),
        ("metrics.recall@8", 0.985, r"recall@4 is 0\.988839, metrics\.recall@8 0\.985: recall@4"),
        ("metrics.map@r", 0.6, r"metrics\.map@r is 0\.6, metrics\.r_precision 0\.498934: map@r"),
        ("metrics.recall@1", 0.98, r"metrics\.recall@1 is 0\.98, metrics\.mrr"),
        ("metrics.map@r", True, r"metrics\.map@r"),
        ("metrics.map@r", "0.5", r"metrics\.map@r"),
        ("metrics", [], r"metrics"),
        ("experiment.loss.name", "lifted", "config_digest"),
        ("experiment.optimizer.lr", 0.5, "config_digest"),
        ("experiment.train.steps", 10**7, "config_digest"),
        ("config_digest", "0" * 64, "config_digest"),
        ("protocol.steps", 7, r"protocol\.steps is 7, the experiment says 100"),
        ("protocol.data", "other", r"protocol\.data"),
        ("protocol.extra", "x", r"protocol\.extra"),
        ("protocol.weights", ..., r"protocol\.weights is missing"),
        ("protocol.embedding_dim", 65, r"protocol\.embedding_dim"),
        ("protocol_fingerprint", "0" * 16, "protocol_fingerprint"),
        ("data_hash", "0" * 64, r"protocol\.data"),
        ("training.seconds", -1.0, r"training\.seconds"),
        ("table", "../../x", r"table: '\.\./\.\./x' is no name of a table"),
        ("table", "README", r"table: 'README' is no name of a table"),
        ("row", "../x", r"row: '\.\./x' is no name of a row"),
        ("seed", -1, "seed"),
        ("seed", True, "seed"),
        ("seed", "0", "seed"),
        ("display", None, "display"),
        ("display.order", "first", r"display\.order"),
        ("display.figure", {"x": "loss.nothing"}, r"display\.figure\.x"),
        ("display.figure", {"x": "loss.name"}, r"display\.figure\.x.*not a number"),
        ("per_class", {"labels": ["a"], "items": [], "recall": [], "confusion": []}, "per_class"),
        (
            "per_class",
            {"labels": ["a"], "items": [1], "recall": [1.0], "confusion": ["9:1"]},
            "per_class",
        ),
        ("schema_version", 4, "schema_version"),
    ],
)
def test_a_record_that_was_changed_is_not_believed(
    tmp_path: Path, field: str, value: Any, said: str
) -> None:
    def change(content: dict[str, Any]) -> None:
        *parents, last = field.split(".") if "@" not in field else field.split(".", 1)
        for key in parents:
            content = content[key]
        if value is ...:
            del content[last]
        else:
            content[last] = value

    path = record_with(tmp_path, change)
    with pytest.raises(BenchError, match=rf"seed-0\.json.*{said}") as caught:
        read_record(path)
    assert "\n" not in str(caught.value)


def test_curves_may_stand_for_rows(tmp_path: Path) -> None:
    figure = {"x": "optimizer.lr", "lines": "row", "panels": None, "rows": None}
    path = record_with(tmp_path, lambda content: content["display"].update(figure=figure))
    assert read_record(path).display.figure is not None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("metrics.map@r", 0.45),  # as good as any other
        ("metrics.nmi", 0.8),
        ("metrics.queries", 895.0),
        ("training.seconds", 0.1),
        ("training.inactive", True),
        ("display.label", "Ours"),
        ("checkpoint_sha256", "0" * 64),
        ("versions.torch", "9"),
        ("seed", 1),
        ("row", "ours"),
        ("effort", {"seeds_started": 1, "test_readings": 1, "trials": 0}),
        ("probe", {"loss_0": 1.0}),
        ("commit", "0" * 40),
        ("checksum", "0" * 64),
        ("checksum", ""),
        ("checksum", ...),
    ],
)
def test_an_edit_is_told_by_the_checksum(tmp_path: Path, field: str, value: Any) -> None:
    content = json.loads(RECORD.read_text())
    owner, _, name = field.rpartition(".")
    place = content[owner] if owner else content
    if value is ...:
        del place[name]
    else:
        place[name] = value
    path = tmp_path / f"digits_retrieval/{content['row']}/seed-{content['seed']}.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content))
    with pytest.raises(
        BenchError, match=r"checksum is .* the record was changed after it was made"
    ):
        read_record(path)


def test_another_layout_of_the_same_content_is_the_same_record(tmp_path: Path) -> None:
    content = json.loads(RECORD.read_text())
    path = tmp_path / "digits_retrieval/angular/seed-0.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(dict(reversed(content.items()))))
    record = read_record(path)
    record.model_copy(update={"commit": "x"}).save(path)  # as a refreshed title is
    assert read_record(path).commit == "x"


def test_committed_records_are_believed_and_their_fingerprints_stay() -> None:
    tables = tables_with_records(ROOT / "results")
    records = [one for table in tables for one in read_table_records(ROOT / "results", table)]
    assert len(records) == len(list(ROOT.glob("results/records/*/*/*.json")))
    for record in records:
        facts = {
            "data_hash": record.protocol["data"],
            "initial_weights": record.protocol["weights"],
            "embedding_dim": record.protocol["embedding_dim"],
        }
        assert protocol_of(record.experiment, **facts) == record.protocol
        assert record.experiment.digest() == record.config_digest


def test_a_changed_number_is_printed_nowhere(tmp_path: Path, stt_bench: Command) -> None:
    record_with(tmp_path, lambda content: content["metrics"].update({"map@r": 7.5}))
    code, out, said = stt_bench("report", "--results", tmp_path)
    assert code == 2
    assert "map@r is 7.5" in said
    assert "750" not in out
    assert not (tmp_path / "digits_retrieval.md").exists()


def test_a_broken_record_of_another_table_stops_neither_run_nor_report(
    tmp_path: Path, tiny: Path, stt_bench: Command
) -> None:
    broken = record_with(tmp_path, lambda content: content.clear())
    page = tmp_path / "digits_retrieval.md"
    page.write_text("as it was")
    here = ("--results", tmp_path, "--runs", tmp_path / "runs")
    code, _, said = stt_bench("run", tiny, "--rows", "hard", *here, "--quiet")
    assert (code, said) == (0, "")
    (tmp_path / "tiny.md").unlink()
    code, _, said = stt_bench("report", "--results", tmp_path)
    assert code == 2
    assert str(broken) in said
    assert "the other leaderboards are written" in said
    assert (tmp_path / "tiny.md").exists()
    assert page.read_text() == "as it was"
    assert stt_bench("report", "tiny", "--results", tmp_path).returncode == 0
    assert stt_bench("report", "digits_retrieval", "--results", tmp_path).returncode == 2


def test_a_run_file_with_a_name_that_leaves_its_folder_is_refused(
    tmp_path: Path, tiny: Path, stt_bench: Command
) -> None:
    runs, results = tmp_path / "runs", tmp_path / "deep/er/results"
    train = ("train", tiny, "--row", "hard", "--set", "train.steps=0", "--runs", runs, "-q")
    assert stt_bench(*train).returncode == 0
    run = runs / "tiny/hard/seed-0"
    assert stt_bench("embed", run, "-q").returncode == 0
    content = json.loads((run / "run.json").read_text())
    for name, value in (("table", "../../x"), ("row", "../x"), ("seed", "../../x"), ("seed", -1)):
        (run / "run.json").write_text(json.dumps(content | {name: value}))
        code, _, said = stt_bench("eval", run, "--results", results)
        assert code == 2
        assert "run.json" in said
        assert name in said
    assert not results.exists()
    assert not (tmp_path / "deep").exists()


def held(content: dict[str, Any], **changes: Any) -> None:
    """Add shares of two classes that give the record's MAP@R, then change them."""
    rest = 2 * content["metrics"]["map@r"]
    share = {"sums": [0.4, rest - 0.4], "values": [1.2, rest - 1.2]}
    content["metrics"]["queries"] = 2.0
    shares = {"groups": ["a", "b"], "counts": [1, 1], "weighting": "query", "metrics": {}}
    content["class_values"] = {**shares, "metrics": {"map@r": {**share, **changes}}}


def test_shares_of_the_classes_must_give_the_metric(tmp_path: Path) -> None:
    assert read_record(record_with(tmp_path, held)).class_values is not None
    for changes, said in (
        ({"sums": [0.1, 0.1]}, r"class_values\.metrics\.map@r do not give the map@r beside them"),
        ({"values": [0.2, 0.5]}, r"map@r\.values do not average to what the sums beside them give"),
        ({"values": [0.1]}, "of different lengths"),
        ({"values": [0.1, "x"]}, r"class_values\.metrics\.map@r\.values\.1"),
    ):
        path = record_with(tmp_path, lambda content, changes=changes: held(content, **changes))
        with pytest.raises(BenchError, match=said):
            read_record(path)


def test_sums_and_counts_of_the_classes_must_be_those_of_queries(tmp_path: Path) -> None:
    def too_much(content: dict[str, Any]) -> None:
        rest = 2 * content["metrics"]["map@r"]
        held(content, sums=[-0.5, rest + 0.5])

    def too_many(content: dict[str, Any]) -> None:
        held(content)
        content["metrics"]["queries"] = 3.0

    for change, said in (
        (too_much, r"class_values\.metrics\.map@r\.sums: one is below 0 or above the number"),
        (too_many, "queries is 3, the counts of class_values give 2"),
    ):
        with pytest.raises(BenchError, match=said):
            read_record(record_with(tmp_path, change))


def test_what_became_of_each_class_must_give_the_accuracy(tmp_path: Path) -> None:
    scores = ClassScores.of(["a", "b", "c"], np.array([[3.0, 1, 0], [0.5, 1.5, 0], [0, 0, 0]]))

    def classified(content: dict[str, Any], **changes: Any) -> None:
        given = {"accuracy": 0.75, "macro_accuracy": 0.75, "top5_accuracy": 1.0}
        content["metrics"] |= given | changes.pop("metrics", {})
        content["per_class"] = scores.model_dump() | changes

    assert read_record(record_with(tmp_path, classified)).per_class == scores
    for changes, said in (
        ({"metrics": {"accuracy": 0.8}}, "per_class does not give the accuracy beside it"),
        ({"metrics": {"macro_accuracy": 0.8}}, "does not give the macro_accuracy beside it"),
        ({"metrics": {"top5_accuracy": 0.7}}, r"accuracy is 0\.75, metrics\.top5_accuracy 0\.7"),
        ({"recall": [0.9, 0.75, None]}, r"per_class\.recall is not that of per_class\.confusion"),
        ({"recall": [0.75, 0.75, 1.0]}, r"per_class\.recall is not that"),
        ({"items": [5, 2, 0]}, r"per_class\.items are not those of per_class\.confusion"),
    ):
        path = record_with(
            tmp_path, lambda content, changes=changes: classified(content, **changes)
        )
        with pytest.raises(BenchError, match=said):
            read_record(path)
