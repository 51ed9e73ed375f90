"""Configs: merging, overrides, and the one sentence a mistake gets."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.suite import load_table
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.losses import loss_parameters

CONFIGS = sorted((Path(__file__).parents[3] / "stt_bench" / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_table_is_valid(path: Path) -> None:
    table = load_table(str(path))
    assert table.title != table.name
    assert table.description
    assert any(row.loss.name == "softmax" and row.train.steps for row in table.rows.values())
    for name, row in table.rows.items():
        assert row.label, f"row {name} has no label"


def test_configs_are_found() -> None:
    assert len(CONFIGS) >= 5


def test_rows_differ_from_the_shared_part_only_where_they_say(tiny: Path) -> None:
    table = load_table(str(tiny))
    hard, two = table.rows["hard"], table.rows["two_head"]
    assert hard.loss.params == {"margin": 1.0}
    assert hard.data.task == "retrieval"
    assert two.data.task == "classification"
    assert two.data.name == "digits"
    assert two.loss.params == {"margin": "soft"}  # a row's loss replaces the shared one whole
    assert two.model == hard.model


@pytest.mark.parametrize("change", ["train.steps=7", "train={steps: 7, log_every: 2}"])
@pytest.mark.parametrize("only", [None, ["untrained", "hard"]])
def test_set_never_trains_the_untrained_row(
    tiny: Path, change: str, only: list[str] | None
) -> None:
    tiny.write_text(tiny.read_text() + "  untrained: {loss: softmax, train: {steps: 0}}\n")
    rows = load_table(str(tiny), [change, "optimizer.lr=1e-4"], only=only).rows
    assert (rows["untrained"].train.steps, rows["hard"].train.steps) == (0, 7)
    assert rows["untrained"].optimizer.lr == 1e-4
    assert rows["untrained"].train.log_every == rows["hard"].train.log_every


def test_set_can_make_a_trained_row_the_untrained_network(tiny: Path) -> None:
    rows = load_table(str(tiny), ["train.steps=0"]).rows
    assert {row.train.steps for row in rows.values()} == {0}


def test_set_trains_the_rows_of_a_table_whose_shared_steps_are_0(tiny: Path) -> None:
    tiny.write_text(tiny.read_text().replace("steps: 12", "steps: 0"))
    assert load_table(str(tiny), ["train.steps=7"]).rows["hard"].train.steps == 7


def test_set_changes_every_row_and_keeps_the_rest(tiny: Path) -> None:
    table = load_table(str(tiny), ["optimizer.lr=1e-4", "train.steps=7"])
    for row in table.rows.values():
        assert row.optimizer.lr == 1e-4
        assert row.train.steps == 7
        assert row.train.log_every == 4


def test_set_changes_the_chosen_rows_alone(tiny: Path) -> None:
    table = load_table(str(tiny), ["loss.margin=0.25"], only=["hard"])
    assert table.rows["hard"].loss.params == {"margin": 0.25}
    assert table.rows["softmax"].loss.params == {}


def test_set_reaches_a_loss_given_by_name(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text("data: {name: digits}\nrows:\n  a:\n    loss: hard_triplet\n")
    assert load_table(str(path), ["loss.margin=soft"]).rows["a"].loss.params == {"margin": "soft"}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("p: 4, k: 4", "p: 4, kk: 4", ["line 7", "sampler.kk", "did you mean 'k'"]),
        ("title: Tiny", "titel: Tiny", ["line 1", "titel", "did you mean 'title'"]),
        ("hard_triplet, margin: 1.0", "hard_triplt", ["line 14", "hard_triplt", "hard_triplet"]),
        ("margin: 1.0", "margn: 1.0", ["line 14", "margn", "margin"]),
        ("margin: 1.0", "margin: -1.0", ["line 14", "margin"]),
        ("steps: 12", "steps: -12", ["line 8", "train.steps", "-12"]),
        ("steps: 12", "steps: many", ["line 8", "train.steps", "many"]),
        ("name: pxk", "name: pkx", ["line 7", "sampler.name", "pkx", "pxk"]),
        ("  hard:", "  softmax:", ["line 12", "softmax", "line 11"]),
        ("seeds: [0]", "seeds: [a]", ["line 3", "seeds"]),
        ("data: {name: digits, task: retrieval}", "data: [", ["not valid YAML"]),
        ("name: digits", "name: digitz", ["line 4", "digitz", "did you mean 'digits'"]),
        ("name: digits", "name: digits, options: {a: 1}", ["line 4", "option 'a'"]),
        ("small_cnn", "resnet50, weights: V1", ["line 6", "model.weights", "IMAGENET1K_V1"]),
        ("small_cnn", "small_cnn, weights: pretrained", ["line 6", "no pretrained weights"]),
        ("small_cnn", "small_cnn, head: none, features: flattened", ["line 6", "needs a head"]),
        ("size: 16", "size: 16, resize_max: 20", ["line 5", "resize_max needs crop: random"]),
        ("size: 16", "size: 16, crop: random, resize_max: 16", ["line 5", "must be above", "16"]),
        ("backbone: small_cnn", "backbone: smal_cnn", ["line 6", "did you mean 'small_cnn'"]),
        ("  hard:", "  a/b:", ["line 12", "a/b"]),
        ("steps: 12", "steps: 12, device: gpu", ["line 8", "train.device 'gpu' is unknown"]),
        ("steps: 12", f"steps: 12, device: 'cuda:{'9' * 20}'", ["line 8", "is unknown; use auto"]),
        ("  hard:", f"  {'a' * 101}:", ["line 12", "at most 100 letters"]),
        ("margin: 1.0", "num_classes: 3", ["line 14", "loss.num_classes follows from the data"]),
        ("  hard:", "  0.5:", ["line 12", "0.5", "quotes"]),
        ("steps: 12", "steps: '12'", ["line 8", "train.steps"]),
        ("data: {name: digits, task: retrieval}", "data:", ["data"]),
        ("loss: softmax}", "loss: [softmax]}", ["line 11", "loss"]),
        ("loss: softmax}", "loss: none}", ["line 11", "untrained network is `train: {steps: 0}`"]),
        ("train: {steps: 12, ", "optimizer: {lr: .inf}\ntrain: {steps: 12, ", ["optimizer.lr"]),
        ("size: 16", "size: 16, resize: 8", ["line 5", "resize (8)", "size (16)"]),
        ("loss_weight: 0.003", "loss_weight: -1", ["line 23", "loss_weight"]),
        ("loss_weight: 0.003", "loss_weight: 0", ["loss_weight: 0 never trains center", "softmax"]),
        ("seeds: [0]", "figure: {x: loss.margn}", ["line 3", "a row has no field 'loss.margn'"]),
        ("seeds: [0]", "figure: {x: loss.name}", ["line 3", "'softmax', not a number"]),
        ("seeds: [0]", "figure: {y: optimizer.lr}", ["line 3", "'x' is missing"]),
        ("seeds: [0]", "figure: {x: optimizer.lr, row: [hard]}", ["line 3", "mean 'rows'"]),
        ("seeds: [0]", "figure: {x: optimizer.lr, rows: [hart]}", ["hart", "mean 'hard'"]),
    ],
)
def test_a_mistake_gets_one_sentence_with_file_line_and_field(
    tiny: Path, old: str, new: str, said: list[str]
) -> None:
    text = tiny.read_text()
    assert old in text
    tiny.write_text(text.replace(old, new, 1))
    with pytest.raises(BenchError) as caught:
        load_table(str(tiny))
    message = str(caught.value)
    assert "\n" not in message
    assert str(tiny) in message
    for part in said:
        assert part in message


def test_a_table_may_hold_only_what_differs_from_another(tiny: Path) -> None:
    child = tiny.with_name("child.yaml")
    child.write_text(
        "base: tiny\ntitle: Child\ntrain: {steps: 3}\nrows:\n  two_head:\n"
        "  hard: {loss: lifted, optimizer: {lr: 0.5}}\n  more: {loss: npairs}\n"
    )
    ours, theirs = load_table(str(child)), load_table(str(tiny))
    assert (ours.name, ours.title, ours.description) == ("child", "Child", theirs.description)
    assert list(ours.rows) == ["softmax", "hard", "center", "more"]
    assert ours.rows["softmax"].train.steps == 3
    assert ours.rows["softmax"].train.log_every == theirs.rows["softmax"].train.log_every
    hard = ours.rows["hard"]
    assert (hard.loss.name, hard.loss.params, hard.optimizer.lr) == ("lifted", {}, 0.5)
    assert hard.label == "Hard"
    grandchild = tiny.with_name("grandchild.yaml")
    grandchild.write_text("base: child\ntrain: {log_every: 1}\n")
    settings = load_table(str(grandchild)).rows["more"].train
    assert (settings.steps, settings.log_every) == (3, 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("base: tony\n", ["child.yaml, line 1", "'tony'", "did you mean 'tiny'"]),
        ("title: x\nbase: child\n", ["child.yaml, line 2", "its own base"]),
        ("base: tiny\nrows:\n  hard: {los: lifted}\n", ["child.yaml, line 3", "'los'"]),
        ("base: tiny\ntrain: {step: 3}\n", ["child.yaml, line 2", "train.step"]),
        ("base: tiny\ninput: {resize: 8}\n", ["child.yaml, line 2", "resize (8)", "size (16)"]),
        ("base: tiny\nsampler: {p: 9}\ndatas: 1\n", ["child.yaml, line 3", "'datas'"]),
    ],
)
def test_mistakes_with_a_base(tiny: Path, text: str, said: list[str]) -> None:
    child = tiny.with_name("child.yaml")
    child.write_text(text)
    with pytest.raises(BenchError) as caught:
        load_table(str(child))
    for part in said:
        assert part in str(caught.value)


def test_a_mistake_in_the_base_is_told_there(tiny: Path) -> None:
    tiny.write_text(tiny.read_text().replace("margin: 1.0", "margn: 1.0"))
    child = tiny.with_name("child.yaml")
    child.write_text("base: tiny\n")
    with pytest.raises(BenchError, match=r"tiny\.yaml, line 14: .*margn"):
        load_table(str(child))


def test_softmax_with_softmax_head_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text("data: {name: digits}\nrows:\n  a: {loss: softmax, softmax_head: true}\n")
    with pytest.raises(BenchError, match="Softmax alone"):
        load_table(str(path))


@pytest.mark.parametrize(
    ("loss", "sampler", "wanted"),
    [
        ("npairs", "{name: uniform}", "an even k"),
        ("npairs", "{p: 4, k: 3}", "an even k"),
        ("{name: contrastive, pairs: fast}", "{p: 4, k: 2}", "k: 4"),
    ],
)
def test_pair_ordered_losses_need_their_batches(
    tmp_path: Path, loss: str, sampler: str, wanted: str
) -> None:
    path = tmp_path / "t.yaml"
    path.write_text(f"data: {{name: digits}}\nsampler: {sampler}\nrows:\n  a:\n    loss: {loss}\n")
    with pytest.raises(BenchError, match=wanted):
        load_table(str(path))


@pytest.mark.parametrize(
    "text",
    [
        "lr",
        "=1",
        "a..b=1",
        "a." * 5000 + "a=1",
        "x" * 5000,
        "seeds=[1]",
        "optimizer=null",
        "optimizer.lr=1e300",
        "train.steps=0x" + "f" * 5000,
        "optimizer.lr=!!binary aGk=",
        "optimizer.lrr=1",
        "title.x=1",
        "optimizer.lr=[1",
        "loss.name=foo",
    ],
)
def test_wrong_overrides_are_refused(tiny: Path, text: str) -> None:
    with pytest.raises(BenchError, match="--set") as caught:
        load_table(str(tiny), [text])
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("change", "field", "example"),
    [
        ("phases.0.loss=priming", "phases", "[{steps: 100, loss: softmax}]"),
        ("evaluation.ks.1=3", "evaluation.ks", "[1, 2, 4, 8]"),
        ("evaluation.metrics.first=map", "evaluation.metrics", "[FIRST, SECOND]"),
        ("model.freeze.0=stem", "model.freeze", "[FIRST, SECOND]"),
        ("data.options.classes.0=a", "data.options.classes", '["a", "b"]'),
    ],
)
def test_a_list_is_set_as_a_whole(tmp_path: Path, change: str, field: str, example: str) -> None:
    path = tmp_path / "t.yaml"
    path.write_text(
        "data: {name: digits, options: {classes: [a, b]}}\nevaluation: {ks: [1, 2, 4, 8]}\n"
        "rows:\n  a: {loss: softmax}\n"
    )
    with pytest.raises(BenchError) as caught:
        load_table(str(path), [change])
    named = change.partition("=")[0]
    told = f"--set {named}: {field} is a list, which is given whole: --set '{field}={example}'"
    assert str(caught.value) == told


def test_an_override_that_spoils_a_row_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text(
        "data: {name: digits}\ntrain: {steps: 9}\nrows:\n"
        "  a:\n    loss: softmax\n    phases: [{steps: 5, loss: priming}]\n"
    )
    with pytest.raises(BenchError, match=r"^--set train.steps: row 'a': .*the phases take 5 steps"):
        load_table(str(path), ["train.steps=3"])
    path.write_text(path.read_text().replace("steps: 9", "steps: 4"))
    with pytest.raises(BenchError, match=r"t.yaml.*row 'a': .*the phases take 5 steps"):
        load_table(str(path), ["optimizer.lr=0.1"])


@pytest.mark.parametrize(
    ("data", "loss", "changes", "where"),
    [
        ("digts", "softmax", ["data.task=retrieval"], r"t\.yaml, line 1: row 'a': unknown dataset"),
        ("digits", "softmax", ["data.name=digts"], r"--set data\.name: row 'a': unknown dataset"),
        ("digits", "softmax", ["data={name: digts}"], r"--set data\.name: row 'a': unknown data"),
        ("digits", "lifed", ["loss.margin=1"], r"t\.yaml, line 4: row 'a': unknown loss"),
        ("digits", "lifted", ["loss.margn=1"], r"--set loss\.margn: row 'a': unknown parameter"),
        ("digits", "npairs", ["sampler.k=3"], r"--set sampler\.k: row 'a': npairs .* an even k"),
    ],
)
def test_a_mistake_is_told_where_it_stands(
    tmp_path: Path, data: str, loss: str, changes: list[str], where: str
) -> None:
    path = tmp_path / "t.yaml"
    path.write_text(
        f"data: {{name: {data}}}\nsampler: {{p: 4, k: 2}}\nrows:\n  a: {{loss: {loss}}}\n"
    )
    with pytest.raises(BenchError, match=f"^(/.*/)?{where}"):
        load_table(str(path), changes)


def test_an_unknown_row_or_table_gets_the_nearest_name(tiny: Path) -> None:
    with pytest.raises(BenchError, match="did you mean 'hard'"):
        load_table(str(tiny)).select(["hrd"])
    with pytest.raises(BenchError, match="no such file"):
        load_table(str(tiny.with_name("other.yaml")))


def test_digest_covers_what_can_change_a_result_and_nothing_else(tiny: Path) -> None:
    def digests(*overrides: str) -> tuple[str, str]:
        row = load_table(str(tiny), overrides, only=["hard"]).rows["hard"]
        return row.digest(), row.training_digest()

    plain = digests()
    same = ["label=x", "data.root=elsewhere", "train.log_every=1", "train.workers=2"]
    same += ["train.device=cpu", "evaluation.batch_size=7", "optimizer.momentum=0.9"]
    for override in same:
        assert digests(override) == plain, override
    others = ["optimizer.lr=0.5", "train.threads=2", "loss.margin=2", "data.task=classification"]
    for override in others:
        assert digests(override)[0] != plain[0], override
        assert digests(override)[1] != plain[1], override
    measured = digests("evaluation.ks=[1,2]")
    assert measured[0] != plain[0]
    assert measured[1] == plain[1]


def test_defaults_are_part_of_what_records_mean() -> None:
    """Digests leave defaults out: who changes one here changes the meaning of every record.

    A new field is added to ``defaults.json``; a value that is there must stay, unless all
    records are migrated so that they name what they were made with.
    """
    row = {"data": {"name": "digits"}, "loss": "softmax"}
    pinned = json.loads(Path(__file__).with_name("defaults.json").read_text())
    assert Experiment.model_validate(row).model_dump(mode="json") == pinned["experiment"]
    assert {name: loss_parameters(name) for name in pinned["losses"]} == pinned["losses"]


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("input.interpolation=bicubic", "unknown field 'input.interpolation'; valid: aspect, "),
        ("train.interval=3", "unknown field 'train.interval'; "),
        ("optimizer.float_x=3", "unknown field 'optimizer.float_x'; "),
        ("model.int=3", "unknown field 'model.int'; "),
    ],
)
def test_an_unknown_field_is_named_whatever_it_is_called(setting: str, told: str) -> None:
    with pytest.raises(BenchError, match=re.escape(told)):
        load_table("digits_retrieval", [setting])
