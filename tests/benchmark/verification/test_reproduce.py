"""`stt-bench reproduce`: training again gives the same bytes, or lies within the seeds' spread."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from made_records import Made, cheat

from stt_bench.benchmark.store.records import Record, read_record
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.verification.places import name_of, picked
from stt_bench.benchmark.verification.reproduce import compared
from stt_bench.benchmark.verification.spread import reaches


def test_the_same_bytes_come_again_without_a_table_and_no_record_changes(made: Made) -> None:
    (made.folder / "tiny.yaml").unlink()
    before = {path: path.read_bytes() for path in made.folder.rglob("*") if path.is_file()}
    done = made.call("reproduce", "tiny/softmax/seed-1", "-q", runs="again")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "tiny/softmax/seed-1: same bytes (network and embeddings), and the same metrics\n"
    )
    assert all(path.read_bytes() == content for path, content in before.items())
    assert not (made.folder / "again/tiny/softmax/seed-1").exists()


def test_an_edited_metric_is_caught_where_the_embeddings_are_gone(made: Made) -> None:
    cheat(made.record())
    done = made.call("reproduce", str(made.record()), "-q", runs="again")
    assert done.returncode == 1
    assert "same bytes (network and embeddings), but the record's numbers are not" in done.stdout
    assert "  metrics.map@r: " in done.stdout
    assert (made.folder / "again/tiny/softmax/seed-0/training.json").exists()


def test_a_finished_run_is_no_reproduction(made: Made) -> None:
    facts = made.run() / "training.json"
    before = facts.read_bytes()
    done = made.call("reproduce", "tiny/softmax/seed-0", "-q")
    assert done.returncode == 2
    assert "holds a finished run, and reproducing means to train afresh" in done.stderr
    assert facts.read_bytes() == before


def test_one_that_was_stopped_after_its_training_goes_on_and_is_compared(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr("stt_bench.benchmark.verification.reproduce.embed_split", killed)
        assert made.call("reproduce", "tiny/softmax/seed-0", "-q", runs="again").returncode == 1
    assert (made.folder / "again/tiny/softmax/seed-0/training.json").exists()
    done = made.call("reproduce", "tiny/softmax/seed-0", "-q", runs="again")
    assert (done.returncode, done.stderr) == (0, "")


def test_data_that_are_not_found_can_be_named(made: Made) -> None:
    record = read_record(made.record())
    data = record.experiment.data.model_copy(update={"name": "fashion_mnist"})
    experiment = record.experiment.model_copy(update={"data": data})
    record.model_copy(update={"experiment": experiment, "config_digest": experiment.digest()}).save(
        made.record()
    )
    done = made.call(
        "reproduce", str(made.record()), "--data-root", made.folder / "nowhere", runs="again"
    )
    assert done.returncode == 2
    assert "data.root" in done.stderr
    assert "nowhere does not exist" in done.stderr


def with_metric(record: Record, value: float, **changes: object) -> Record:
    return record.model_copy(update={"metrics": {"map@r": value, "queries": 4.0}, **changes})


@pytest.fixture
def record(made: Made) -> Record:
    return read_record(made.record())


def test_the_interval_is_that_of_the_other_seeds(record: Record) -> None:
    """0.1, 0.2, 0.3 have s = 0.1; t(0.975; 2) = 4.302653 of a table, times √2."""
    others = [with_metric(record, value) for value in (0.1, 0.2, 0.3)]
    one = with_metric(record, 0.2)
    for again, inside in ((0.2 + 0.6084, True), (0.2 + 0.6086, False), (0.2 - 0.6086, False)):
        found = reaches(one, with_metric(record, again), others)
        assert found is not None
        by_name = {reach.metric: reach for reach in found}
        assert by_name["map@r"].half_width == pytest.approx(4.302653 * 0.1 * 2**0.5, rel=1e-6)
        assert by_name["map@r"].is_inside is inside
        assert by_name["queries"].half_width == 0
    assert reaches(one, one, others[:1]) is None


def test_rows_of_one_spread_are_pooled(record: Record) -> None:
    """Of three other seeds ν is at most 4 · 2: t(0.975; 8) = 2.306004 of a table."""
    row = [with_metric(record, value) for value in (0.1, 0.2, 0.3)]
    found = reaches(row[1], row[1], row, [row] * 30)
    assert found is not None
    width = next(reach.half_width for reach in found if reach.metric == "map@r")
    # s0² = exp(mean of ln s² − ψ(ν/2) + ln(ν/2)) with ν = 2, ψ(1) = −0.5772157
    assert width == pytest.approx(2.306004 * (0.01 * 2.718281828**0.5772157) ** 0.5 * 2**0.5)


@pytest.mark.parametrize(
    ("again", "commit", "said", "passed"),
    [
        (0.25, "other", "all metrics are inside the interval of the row's other seeds", True),
        (0.95, "other", "outside the interval of the row's other seeds: map@r", False),
        (0.20, "other", "all metrics are the same to rounding", True),
        (0.25, None, "though code, versions and machine are the record's", False),
    ],
)
def test_elsewhere_the_interval_decides_and_here_the_bytes(
    record: Record, again: float, commit: str | None, said: str, passed: bool
) -> None:
    clean = record.model_copy(update={"commit": "one"})
    made_again = with_metric(clean, again, checkpoint_sha256="2" * 64, commit=commit or "one")
    others = [with_metric(clean, value) for value in (0.1, 0.2, 0.3)]
    found = compared(with_metric(clean, 0.2), made_again, others, [], Path("again"))
    assert found.passed is passed
    lines = list(found.lines())
    assert said in lines[0]
    assert ("  commit: one → other" in lines) is (commit is not None)
    assert json.dumps(lines)


def test_code_with_changes_is_never_the_same_code(record: Record) -> None:
    """Both may say `one+changes` and mean others."""
    changed = with_metric(record, 0.2, commit="one+changes")
    again = with_metric(changed, 0.25, checkpoint_sha256="2" * 64)
    others = [with_metric(changed, value) for value in (0.1, 0.2, 0.3)]
    found = compared(changed, again, others, [], Path("again"))
    assert found.passed
    assert "  commit: one+changes → one+changes" in list(found.lines())


def test_a_commit_of_the_same_code_is_no_circumstance(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where results alone were committed since, the bytes must be the same."""
    monkeypatch.setattr(
        "stt_bench.benchmark.verification.reproduce.same_code", lambda *commits: all(commits)
    )
    first = with_metric(record, 0.2, commit="1" * 40)
    again = with_metric(first, 0.25, checkpoint_sha256="2" * 64, commit="2" * 40)
    others = [with_metric(first, value) for value in (0.1, 0.2, 0.3)]
    found = compared(first, again, others, [], Path("again"))
    assert not found.passed
    assert "though code, versions and machine are the record's" in next(found.lines())


def test_other_images_are_no_reproduction(record: Record) -> None:
    again = record.model_copy(update={"data_hash": "0" * 64})
    found = compared(record, again, [], [], Path("again"))
    assert not found.passed
    assert "cannot be reproduced: the images or starting weights are others" in next(found.lines())


def test_a_spot_check_takes_the_record_that_the_commit_picks(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [made.record(row, seed) for row in ("hard", "softmax") for seed in (0, 1)]
    names = [f"tiny/{row}/seed-{seed}" for row in ("hard", "softmax") for seed in (0, 1)]
    taken = set()
    for digit in "0123456789ab":
        of_commit = digit * 40
        hashes = [hashlib.sha256(f"{of_commit}/{name}".encode()).hexdigest() for name in names]
        expected = files[hashes.index(min(hashes))]
        assert picked(files, of_commit) == picked(files[::-1], f"{of_commit}+changes") == expected
        taken.add(expected)
    assert taken == set(files)  # any of them may be picked
    with pytest.raises(BenchError, match="is no git checkout"):
        picked(files, None)
    with pytest.raises(BenchError, match="there are no records"):
        picked([], "0" * 40)
    monkeypatch.setattr("stt_bench.benchmark.verification.places.commit", lambda: "0" * 40)
    name = name_of(picked(files, "0" * 40))
    done = made.call("reproduce", "spot", runs="again")
    assert done.returncode == 0
    assert done.stdout.startswith(f"{name}: same bytes")
    assert f"spot: {name}" in done.stderr
