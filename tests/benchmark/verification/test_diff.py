"""`stt-bench diff`: every difference of two records has its name."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from command_line import ROOT
from made_records import Made, cheat

from stt_bench.benchmark.store.records import read_record
from stt_bench.benchmark.verification.diff import GROUPS, group_of
from stt_bench.benchmark.verification.fields import Difference, differences

OURS = json.loads(
    (ROOT / "tests/benchmark/records/digits_retrieval/angular/seed-0.json").read_text()
)


def leaves(value: Any, *at: str) -> Iterator[tuple[str, ...]]:
    """Yield the keys down to everything that is no mapping."""
    if isinstance(value, dict) and value:
        for key in value:
            yield from leaves(value[key], *at, key)
    else:
        yield at


@pytest.mark.parametrize("keys", sorted(leaves(OURS)), ids=".".join)
def test_a_change_of_any_field_of_a_record_is_named_alone(keys: tuple[str, ...]) -> None:
    other = copy.deepcopy(OURS)
    holder = other
    for key in keys[:-1]:
        holder = holder[key]
    value = holder[keys[-1]]
    changed = (not value) if isinstance(value, bool) else [value]
    holder[keys[-1]] = changed
    assert list(differences(OURS, other)) == [Difference(".".join(keys), value, changed)]
    assert list(differences(other, OURS)) == [Difference(".".join(keys), changed, value)]
    assert not list(differences(OURS, other, without=[".".join(keys)]))


def test_a_field_that_only_one_has_is_named_and_none_of_two_equal_ones() -> None:
    assert list(differences({"a": {"b": 1}}, {"a": {}})) == [Difference("a.b", 1, None)]
    assert list(differences({"a": {}}, {"a": {"b": 1}})) == [Difference("a.b", None, 1)]
    assert not list(differences(OURS, copy.deepcopy(OURS)))


def test_rounding_is_relative_above_1_and_absolute_below() -> None:
    def found(a: Any, b: Any) -> bool:
        return bool(list(differences({"x": a}, {"x": b}, rounding=1e-6)))

    assert not found(0.5, 0.5 + 0.9e-6)
    assert found(0.5, 0.5 + 1.1e-6)
    assert not found(1000.0, 1000.0 + 0.9e-3)
    assert found(1000.0, 1000.0 + 1.1e-3)
    assert not found([0.5, 1.0], [0.5 + 0.9e-6, 1.0])
    assert found([0.5, 1.0], [0.5, 1.1])
    assert found([0.5], [0.5, 0.5])
    assert found(1, True)


def test_every_group_has_its_fields() -> None:
    assert group_of("experiment.loss.margin") == "settings"
    assert group_of("protocol.weights") == "starting weights"
    assert group_of("protocol.steps") == "follows from the above"
    assert group_of("training.device") == "machine"
    assert group_of("training.seconds") == "course of the training"
    assert group_of("metrics.map@r") == "metrics"
    assert group_of("commit") == "code"
    assert group_of("something.new") == "other"
    assert set(GROUPS) >= {group_of(".".join(keys)) for keys in leaves(OURS)}


def test_an_edited_record_is_named_with_its_points(made: Made) -> None:
    copied = made.folder / "mine/records/tiny/softmax/seed-0.json"
    copied.parent.mkdir(parents=True)
    copied.write_bytes(made.record().read_bytes())
    said = made.call("diff", "tiny/softmax/seed-0", str(copied), runs=None)
    assert (said.returncode, said.stdout) == (0, "no difference\n")
    edited = cheat(copied, 1.25).metrics["map@r"]
    honest = edited / 1.25
    said = made.call("diff", "tiny/softmax/seed-0", str(copied), runs=None)
    points = f"({100 * (edited - honest):+.2f} points)"
    assert f"  metrics.map@r: {honest:.10g} → {edited:.10g} {points}" in said.stdout.splitlines()
    assert said.stdout.splitlines()[-1] == "nothing that is recorded explains the other metrics"


def test_rows_are_compared_seed_by_seed(made: Made) -> None:
    said = made.call("diff", "tiny/softmax", "tiny/hard", "--all", runs=None).stdout
    lines = said.splitlines()
    assert lines[:3] == [
        "settings:",
        "  experiment.label: Softmax → Hard",
        "  experiment.loss.name: softmax → hard_triplet",
    ]
    assert "  experiment.loss.margin: none → 1" in lines
    values = [
        [json.loads(made.record(row, seed).read_text())["metrics"]["map@r"] for seed in (0, 1)]
        for row in ("softmax", "hard")
    ]
    soft, hard = (50 * sum(own) for own in values)
    means = f"  map@r: {soft:.2f} → {hard:.2f} ({hard - soft:+.2f})"
    assert means in lines
    assert sum(line.startswith("  metrics.map@r: ") for line in lines) == 2
    assert lines[-1] == "the metrics may differ because of: settings"
    # Rows of other settings have other probes, which is no other code.
    follows = lines.index("follows from the above:")
    assert any(line.startswith("  probe.") for line in lines[follows:])
    assert "code:" not in lines
    short = made.call("diff", "tiny/softmax", "tiny/hard", runs=None).stdout.splitlines()
    assert [line for line in short if not line.startswith("  ")] == [
        "settings:",
        "identity:",
        "means over 2 pair(s) of records, in points:",
        "the metrics may differ because of: settings",
        "differs too, seed by seed (--all): metrics, class_values, other_distance, "
        "checkpoint_sha256, embeddings_sha256, training, probe, checksum",
    ]
    assert means in short
    assert not any("class_values." in line or "probe." in line for line in short)


def test_a_table_names_a_row_once_for_all_its_seeds(made: Made) -> None:
    other = made.folder / "other"
    shutil.copytree(made.folder / "results", other)
    for row, seed in (("hard", 0), ("hard", 1), ("softmax", 1)):
        path = other / f"records/tiny/{row}/seed-{seed}.json"
        read_record(path).model_copy(update={"commit": "1" * 40}).save(path)
    said = made.call("diff", "tiny", other / "records/tiny", runs=None).stdout
    assert said.count("  [hard, softmax/seed-1]\n") == 1


def test_folders_of_results_name_what_only_one_has(made: Made) -> None:
    other = made.folder / "other"
    (other / "records/tiny/softmax").mkdir(parents=True)
    copied = other / "records/tiny/softmax/seed-0.json"
    copied.write_bytes(made.record().read_bytes())
    said = made.call("diff", made.folder / "results", other, "--json", runs=None)
    content = json.loads(said.stdout)
    assert content["compared"] == 1
    assert content["only_in_first"] == [
        "tiny/hard/seed-0",
        "tiny/hard/seed-1",
        "tiny/softmax/seed-1",
    ]
    assert (content["only_in_second"], content["differences"]) == ([], {})
    cheat(copied, 1.25)
    said = made.call("diff", made.folder / "results", other, "--json", runs=None)
    fields = [one["field"] for one in json.loads(said.stdout)["differences"]["metrics"]]
    assert fields == [
        "metrics.map@r",
        "class_values.metrics.map@r.sums",
        "class_values.metrics.map@r.values",
    ]


def test_a_row_and_a_table_are_not_compared(made: Made) -> None:
    said = made.call("diff", "tiny/softmax", "tiny", runs=None)
    assert said.returncode == 2
    assert "a row and a table cannot be compared: name two of one kind" in said.stderr


def test_tables_are_told_row_by_row(made: Made) -> None:
    other = made.folder / "other"
    shutil.copytree(made.folder / "results", other)
    honest = [read_record(made.record("hard", seed)).metrics for seed in (0, 1)]
    edited = [
        cheat(other / f"records/tiny/hard/seed-{seed}.json", factor).metrics
        for seed, factor in ((0, 1.25), (1, 1.125))
    ]
    gain = {
        name: 50 * sum(b[name] - a[name] for a, b in zip(honest, edited, strict=True))
        for name in ("map@r", "recall@1")
    }
    compared = "diff", "tiny", other / "records/tiny"
    said = made.call(*compared, runs=None).stdout.splitlines()
    (line,) = [one for one in said if one.startswith("  hard: ")]
    assert line.startswith("  hard: map@r ")
    assert line.endswith(f"({gain['map@r']:+.2f})")
    assert said.index("means row by row, in points:") == said.index(line) - 1
    assert not any(one.startswith("  softmax: ") for one in said)
    content = json.loads(made.call(*compared, "--json", runs=None).stdout)
    assert content["row_points"].keys() == {"hard"}
    assert content["row_points"]["hard"]["map@r"] == pytest.approx(gain["map@r"])
    assert content["mean_points"]["map@r"] == pytest.approx(gain["map@r"] / 2)
    row = made.call("diff", "tiny/hard", other / "records/tiny/hard", runs=None).stdout
    assert "row by row" not in row
