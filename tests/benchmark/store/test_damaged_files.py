"""Every file that is read from a run's folder: damaged in every way, it costs one sentence."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import Command

from stt_bench.benchmark.datasets import load_items
from stt_bench.benchmark.embedding.embed import embed
from stt_bench.benchmark.embedding.forward import load_network
from stt_bench.benchmark.scoring.evaluate import evaluate
from stt_bench.benchmark.store.embedding_set import read_embedding_set
from stt_bench.benchmark.store.ledger import ledger_path
from stt_bench.benchmark.store.records import read_record, record_path
from stt_bench.benchmark.store.runs import Run, open_run, run_of
from stt_bench.benchmark.store.weights import read_checkpoint, write_checkpoint
from stt_bench.benchmark.suite import load_table
from stt_bench.benchmark.suite.one import ToRun, Worker
from stt_bench.benchmark.system.errors import BenchError, NewerError
from stt_bench.benchmark.system.files import read_json, sha256_of, write_json
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.training.learner import Learner
from stt_bench.benchmark.training.train import train

QUIET = Reporter(quiet=True)
SET = "embeddings/test"


def checkpoint_of(run: Run) -> None:
    items = load_items(run.experiment.data)
    learner = Learner(run.experiment, items, torch.device("cpu"))
    learner.step, learner.terms = 3, {0: 8.0}
    write_checkpoint(
        run.checkpoint, {**run.origin(items.data_hash, "random").model_dump(), **learner.state()}
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny_text: str) -> Path:
    """Return a folder with a table, its run, a record of it, and an unfinished run."""
    root = tmp_path_factory.mktemp("whole")
    (root / "tiny.yaml").write_text(tiny_text)
    run = run_of(load_table(str(root / "tiny.yaml")), "two_head", 0, root / "runs")
    train(run, QUIET)
    embed(run, QUIET)
    evaluate(run, root / "results", QUIET)
    checkpoint_of(run)
    return root


@pytest.fixture
def copied(whole: Path, tmp_path: Path) -> Run:
    """Return the run in a copy that a test may damage."""
    shutil.copytree(whole, tmp_path / "copy")
    return run_of(load_table(str(whole / "tiny.yaml")), "two_head", 0, tmp_path / "copy" / "runs")


def record_of(run: Run) -> Path:
    return record_path(run.folder.parents[3] / "results", run.table, run.row, run.seed)


READERS: dict[str, Callable[[Run], Any]] = {
    "run.json": lambda run: open_run(run.folder),
    "training.json": lambda run: run.facts(),
    "checkpoint.pt": lambda run: read_checkpoint(run.checkpoint),
    "model.safetensors": lambda run: load_network(run, run.facts(), QUIET),
    f"{SET}/meta.json": lambda run: read_embedding_set(run.embeddings()),
    f"{SET}/items.csv": lambda run: read_embedding_set(run.embeddings()),
    f"{SET}/embeddings.npy": lambda run: read_embedding_set(run.embeddings()),
    f"{SET}/logits.npy": lambda run: read_embedding_set(run.embeddings()),
    "record": lambda run: read_record(record_of(run)),
}
DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "cut": lambda content: content[: len(content) // 2],
    "list": lambda _: b"[1, 2]",
    "number": lambda _: b"5",
    "null": lambda _: b"null",
    "mapping": lambda _: b"{}",
    "nan": lambda content: content.replace(b": 0", b": NaN", 1) + b"NaN",
    "latin-1": lambda content: content[:20] + "\u00e9".encode("latin-1") + content[20:],
    "noise": lambda content: np.random.default_rng(0).bytes(len(content)),
}


@pytest.mark.parametrize("file", READERS)
def test_a_damaged_file_is_one_sentence(copied: Run, file: str) -> None:
    path = record_of(copied) if file == "record" else copied.folder / file
    content = path.read_bytes()
    READERS[file](copied)
    for name, damage in DAMAGE.items():
        if name == "nan" and path.suffix != ".json":
            continue  # what follows the end of a zip is no part of it
        path.write_bytes(damage(content))
        with pytest.raises(BenchError) as caught:
            READERS[file](copied)
        assert "\n" not in str(caught.value), name
        assert path.parent.name in str(caught.value), name
        assert "again" in str(caught.value), name  # how to fix it
    path.unlink()
    with pytest.raises(BenchError):
        READERS[file](copied)


@pytest.mark.parametrize("file", ["run.json", "training.json", f"{SET}/meta.json", "record"])
def test_a_field_that_is_missing_or_of_another_type_is_named(copied: Run, file: str) -> None:
    path = record_of(copied) if file == "record" else copied.folder / file
    content = read_json(path)
    optional = {"training_digest"} if file == "run.json" else {"selected_step", "inactive"}
    optional |= {"evaluated_with", "per_class", "class_values", "other_distance", "pixel_bits"}
    optional |= {"commit", "probe", "effort", "tuning", "near_duplicates", "vector_width"}
    for field in content.keys() - optional:
        for value in (None, [[]], {"x": [0]}, ...):
            if value is None and field in ("collapsed_at", "images_per_second"):
                continue
            changed = {**content, field: value}
            if value is ...:
                del changed[field]
            path.write_text(json.dumps(changed))
            if value is ... and field == "schema_version":
                continue  # its default
            with pytest.raises(BenchError) as caught:
                READERS[file](copied)
            assert "\n" not in str(caught.value), (field, value)


NEWER: dict[str, tuple[dict[str, Any], str]] = {
    "run.json": ({"schema": 9}, "schema is 9, this version reads 2"),
    "run.json, a field": ({"colour": 1}, "has a field 'colour' that this version does not know"),
    "training.json, a field": ({"colour": 1}, "has a field 'colour' that this version"),
    f"{SET}/meta.json, a field": ({"colour": 1}, "has a field 'colour' that this version"),
    f"{SET}/meta.json": ({"schema": 2}, "schema is 2, this version reads 1"),
    "record": ({"schema_version": 4}, "schema_version is 4, this version reads 3"),
    "record, a field": ({"colour": 1}, "has a field 'colour' that this version does not know"),
}


@pytest.mark.parametrize("file", NEWER)
def test_what_a_newer_version_wrote_is_not_called_damaged(copied: Run, file: str) -> None:
    name = file.partition(",")[0]
    path = record_of(copied) if name == "record" else copied.folder / name
    changes, said = NEWER[file]
    path.write_text(json.dumps(read_json(path) | changes))
    with pytest.raises(BenchError) as caught:
        READERS[name](copied)
    assert said in str(caught.value)
    assert "use the stt-bench that wrote it" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_training_of_a_newer_version_is_not_written_over(copied: Run) -> None:
    file = copied.folder / "run.json"
    write_json(file, read_json(file) | {"schema": 3, "colour": 1})
    before = file.read_bytes()
    with pytest.raises(BenchError, match="schema is 3, this version reads 2"):
        train(copied, QUIET)
    assert file.read_bytes() == before
    write_json(file, read_json(file) | {"schema": 2})
    before = file.read_bytes()
    with pytest.raises(BenchError, match="has a field 'colour' that this version does not know"):
        train(copied, QUIET)
    assert file.read_bytes() == before
    state = torch.load(copied.checkpoint, weights_only=True)
    del state["seconds"]  # which may go when another comes
    torch.save(state | {"colour": 1}, copied.checkpoint)
    with pytest.raises(BenchError, match=r"written by a newer stt-bench \(it has 'colour'\)"):
        read_checkpoint(copied.checkpoint)


@pytest.mark.parametrize(
    ("file", "gone", "write"),
    [
        ("run.json", ("training.json", "checkpoint.pt"), lambda run: train(run, QUIET)),
        ("training.json", ("model.safetensors",), lambda run: train(run, QUIET)),
        (f"{SET}/meta.json", (), lambda run: embed(run, QUIET)),
        ("record", (), lambda run: evaluate(run, record_of(run).parents[3], QUIET)),
    ],
)
def test_nothing_is_written_over_what_a_newer_version_wrote(
    copied: Run, file: str, gone: tuple[str, ...], write: Callable[[Run], Any]
) -> None:
    path = record_of(copied) if file == "record" else copied.folder / file
    for name in gone:
        (copied.folder / name).unlink()
    write_json(path, read_json(path) | {"colour": 1})
    before = {one: sha256_of(one) for one in copied.folder.parents[3].rglob("*") if one.is_file()}
    with pytest.raises(NewerError, match=r"field 'colour' .*, or move it away"):
        write(copied)
    assert {one: sha256_of(one) for one in before} == before


def test_a_ledger_of_a_newer_version_is_told_before_the_training(copied: Run) -> None:
    results = record_of(copied).parents[3]
    with ledger_path(results, copied.table).open("a") as stream:
        stream.write('{"colour": 1}\n')
    record_of(copied).unlink()
    copied.discard()
    ending = Worker(results, QUIET).do(ToRun(copied))
    assert ending.kind == "failed"
    assert "ledger.jsonl, line " in ending.told
    assert not copied.weights.exists()


def test_a_folder_of_embeddings_of_a_newer_version_is_made_again_when_it_is_moved_away(
    copied: Run, stt_bench: Command
) -> None:
    meta = copied.embeddings() / "meta.json"
    before = read_json(meta)
    write_json(meta, before | {"schema": 2})
    code, _, said = stt_bench("embed", copied.folder, "-q")
    assert (code, said.count("\n")) == (2, 1)
    assert "schema is 2, this version reads 1" in said
    meta.rename(meta.with_name("newer.json"))
    assert stt_bench("embed", copied.folder, "-q")[0] == 0
    assert read_json(meta) == before


@pytest.mark.parametrize(
    ("field", "value"), [("seconds", -4), ("peak_memory_mib", -1), ("embedding_dim", 9)]
)
def test_a_number_of_a_training_that_cannot_be_makes_no_record(
    copied: Run, stt_bench: Command, field: str, value: int
) -> None:
    record_of(copied).unlink()
    write_json(copied.training, read_json(copied.training) | {field: value})
    shutil.rmtree(copied.embeddings())
    for command in ("embed", "eval"):
        code, _, said = stt_bench(command, copied.folder, "-q")
        assert (code, said.count("\n")) == (2, 1)
        if command == "embed":
            assert f"training.json: {'' if field == 'embedding_dim' else 'is not'}" in said
            assert field in said
    assert not record_of(copied).exists()


@pytest.mark.parametrize("seed", range(4))
def test_no_flipped_bit_of_a_checkpoint_is_resumed(copied: Run, seed: int) -> None:
    content = copied.checkpoint.read_bytes()
    expected = read_checkpoint(copied.checkpoint)
    rng = np.random.default_rng(seed)
    refused = 0
    for place in rng.integers(0, len(content), 40):
        flipped = bytearray(content)
        flipped[place] ^= 1 << int(rng.integers(8))
        copied.checkpoint.write_bytes(bytes(flipped))
        try:
            found = read_checkpoint(copied.checkpoint)
        except BenchError as error:
            refused += "is damaged; train again with --force" in str(error)
            continue
        for part in ("network", "objective"):  # the bit means nothing, as those of a date
            for name, tensor in getattr(expected, part).items():
                assert torch.equal(getattr(found, part)[name], tensor)
    assert refused > 10


@pytest.mark.parametrize("state", [[1, 2], 5, None, {}, {"step": 1}, {"network": [0]}])
def test_a_checkpoint_of_something_else_is_refused(copied: Run, state: Any) -> None:
    torch.save(state, copied.checkpoint)
    with pytest.raises(BenchError, match=r"checkpoint\.pt is damaged; train again with --force"):
        read_checkpoint(copied.checkpoint)


def lacking(error: Exception) -> Callable[..., Any]:
    def fail(*_args: object, **_options: object) -> None:
        raise error

    return fail


FULL = {
    "none left": (MemoryError(), "memory is full: end what else runs there"),
    "torch": (
        RuntimeError("can't allocate memory: you tried to allocate 9 bytes"),
        "memory is full",
    ),
    "GPU": (torch.OutOfMemoryError("CUDA out of memory."), "memory is full"),
    "disk": (OSError(errno.EIO, "Input/output error"), "Input/output error"),
    "rights": (PermissionError(errno.EACCES, "Permission denied"), "Permission denied"),
}


@pytest.mark.parametrize("name", FULL)
def test_what_the_machine_lacks_is_no_damage_of_a_checkpoint(
    copied: Run, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    copied.weights.unlink()
    before = sha256_of(copied.checkpoint)
    error, why = FULL[name]
    places = (
        [(torch, "load")] if isinstance(error, OSError) else [(torch, "load"), (Learner, "load")]
    )
    for place in places:
        with monkeypatch.context() as patch:
            patch.setattr(*place, lacking(error))
            with pytest.raises(BenchError, match=f"cannot be read now .{why}.*left as it is"):
                train(copied, QUIET)
    assert sha256_of(copied.checkpoint) == before


def test_full_memory_is_no_damage_of_the_weights(
    copied: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = torch.OutOfMemoryError("CUDA out of memory.")
    monkeypatch.setattr(torch.nn.Module, "load_state_dict", lacking(error))
    with pytest.raises(torch.OutOfMemoryError):
        load_network(copied, copied.facts(), QUIET)


@pytest.mark.parametrize("part", ["network", "objective", "optimizer"])
def test_a_checkpoint_of_another_network_is_refused(copied: Run, part: str) -> None:
    copied.weights.unlink()
    state = torch.load(copied.checkpoint, weights_only=True)
    torch.save({**state, part: {"x": torch.zeros(2)}}, copied.checkpoint)
    with pytest.raises(BenchError, match=r"checkpoint\.pt is damaged; train again with --force"):
        train(copied, QUIET)


def test_broken_lines_of_the_metrics_are_left_out_and_told(
    copied: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    copied.weights.unlink()
    lines = [b'{"step": 1, "loss": 1.0}', b"5", b"\xe9", b"[1]", b'{"loss": 2}', b'{"step": "2"}']
    copied.metrics.write_bytes(b"\n".join([*lines, b'{"step": 2, "loss": 0.5}', b'{"st']))
    train(copied, QUIET)
    told = capsys.readouterr().err
    for number in range(2, 7):
        assert f"metrics.jsonl, line {number}: is no entry of a training" in told
    assert "line 8" not in told
    steps = [json.loads(line)["step"] for line in copied.metrics.read_text().splitlines()]
    assert steps == [1, 2, 4, 8, 12]


def test_a_set_whose_files_do_not_fit_each_other_is_refused(copied: Run) -> None:
    folder = copied.embeddings()
    for name, content in (
        ("items.csv", "id,label\n0,0\n"),
        ("items.csv", "id,label,role\n0,0,both\n"),
        ("items.csv", (folder / "items.csv").read_text().replace(",both", ",owner", 1)),
        ("items.csv", (folder / "items.csv").read_text().replace(",1,", ",eleven,")),
    ):
        (folder / name).write_text(content)
        meta = read_json(folder / "meta.json")
        write_json(folder / "meta.json", {**meta, "items_sha256": sha256_of(folder / name)})
        with pytest.raises(BenchError, match="embed again"):
            read_embedding_set(folder)


def test_weights_are_those_that_training_wrote(copied: Run) -> None:
    facts = copied.facts()
    content = bytearray(copied.weights.read_bytes())
    content[-1] ^= 1
    copied.weights.write_bytes(bytes(content))
    with pytest.raises(BenchError, match="not what training wrote"):
        load_network(copied, facts, QUIET)
    with pytest.raises(BenchError, match="not what training wrote"):
        embed(copied, QUIET)


def test_a_run_file_that_is_lost_does_not_lose_the_training(copied: Run) -> None:
    weights = copied.weights.read_bytes()
    for content in ("[]", "{", "5"):
        (copied.folder / "run.json").write_text(content)
        train(copied, QUIET)
        assert copied.weights.read_bytes() == weights
        assert open_run(copied.folder) == copied


def test_a_run_of_a_plugin_opened_without_it_names_the_option(
    tiny: Path, tmp_path: Path, stt_bench: Command
) -> None:
    plugin = tmp_path / "plugin.py"
    plugin.write_text(
        "from stt_bench.losses import RankingLoss, register_loss\n"
        "@register_loss('mine')\n"
        "class Mine(RankingLoss):\n"
        "    def compute(self, embeddings, labels):\n"
        "        return embeddings.square().sum(), {}\n"
    )
    tiny.write_text(tiny.read_text().replace("name: hard_triplet, margin: 1.0", "name: mine"))
    here = ("--row", "hard", "--runs", tmp_path / "runs", "-q")
    assert stt_bench("--plugin", plugin, "train", tiny, *here).returncode == 0
    run = tmp_path / "runs/tiny/hard/seed-0"
    file = run / "run.json"
    content = json.loads(file.read_text())
    for change in ({"loss": {"name": "nobodys"}}, {"data": {"name": "nobodys"}}):
        write_json(file, content | {"experiment": content["experiment"] | change})
        facts = json.loads((run / "training.json").read_text())
        digest = open_run(run).experiment.training_digest()
        write_json(run / "training.json", facts | {"training_digest": digest})
        code, _, said = stt_bench("embed", run, "-q")
        assert (code, said.count("\n")) == (2, 1)
        assert "nobodys" in said
        assert "stt-bench --plugin FILE" in said
