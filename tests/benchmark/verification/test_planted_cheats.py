"""Cheats with finished records: an edit, a picked seed, an exchange, other code, looks at the test.

`cheat` stands for somebody who knows the format: the checksum is made again.
"""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest
from made_records import Made

from stt_bench.benchmark.store.protocol import fingerprint
from stt_bench.benchmark.store.records import Record, read_record
from stt_bench.benchmark.system.errors import BenchError


def rewritten(made: Made, row: str = "hard", seed: int = 0, **update: Any) -> Record:
    """Change fields of a record and make its checksum fit."""
    path = made.record(row, seed)
    record = read_record(path)
    record.model_copy(update=update).save(path)
    return record


def page_of(made: Made) -> str:
    done = made.call("report", "tiny", runs=None)
    assert done.returncode == 0, done
    return (made.folder / "results/tiny.md").read_text().replace("\\", "")


def test_a_careless_edit_is_named_by_the_checksum(made: Made) -> None:
    path = made.record("hard")
    content = json.loads(path.read_text())
    content["metrics"]["nmi"] = 0.9
    path.write_text(json.dumps(content))
    done = made.call("report", "tiny", runs=None)
    assert done.returncode == 2
    assert f"{path}: " in done.stderr
    assert "checksum" in done.stderr


def test_an_edited_fingerprint_is_recomputed(made: Made) -> None:
    rewritten(made, protocol_fingerprint="0" * 16)
    done = made.call("report", "tiny", runs=None)
    assert done.returncode == 2
    assert "protocol_fingerprint is not that of the protocol beside it" in done.stderr


def test_other_data_under_the_same_name_are_another_protocol(made: Made) -> None:
    """All that follows is made to fit: the page keeps such a row out of the ranking."""
    record = read_record(made.record("hard"))
    for seed in (0, 1):
        protocol = {**record.protocol, "data": "f" * 64}
        rewritten(
            made,
            seed=seed,
            data_hash="f" * 64,
            protocol=protocol,
            protocol_fingerprint=fingerprint(protocol),
        )
    page = page_of(made)
    assert "† Hard is of another protocol and not ranked: data " in page
    done = made.call("verify", "tiny/hard/seed-0")
    assert done.returncode == 1


def test_a_seed_that_was_dropped_is_missed(made: Made) -> None:
    made.record("hard", 0).unlink()
    assert "Hard: seed 0 was started and has no record" in page_of(made)


def test_a_better_seed_under_the_number_of_a_worse_one_is_told(made: Made) -> None:
    better = read_record(made.record("hard", 1))
    made.record("hard", 1).unlink()
    better.model_copy(update={"seed": 0}).save(made.record("hard", 0))
    assert "seed 1 was started and has no record" in page_of(made)
    done = made.call("verify", "tiny/hard/seed-0")
    assert done.returncode == 1
    assert "seed-0" in done.stdout + done.stderr


def test_a_record_in_the_place_of_another_is_refused(made: Made) -> None:
    shutil.copy(made.record("hard"), made.record("softmax"))
    with pytest.raises(BenchError, match=r"holds the result of tiny/hard/seed-0; move it"):
        read_record(made.record("softmax"))


def test_a_record_of_other_code_is_marked_and_not_compared(made: Made) -> None:
    record = read_record(made.record("hard"))
    assert record.probe is not None
    name = next(iter(record.probe))
    for seed in (0, 1):
        rewritten(made, seed=seed, probe=record.probe | {name: record.probe[name] + 0.1})
    page = page_of(made)
    assert "¶ Hard: made by earlier code, which computes otherwise than today's" in page


def test_looks_at_the_test_split_are_counted(made: Made) -> None:
    made.record("hard", 1).unlink()
    for steps in (1, 2):
        done = made.call(
            "run", made.folder / "tiny.yaml", "--rows", "hard", "--seeds", "0",
            "--set", f"train.steps={steps}", "--force", "-q",
        )  # fmt: skip
        assert done.returncode == 0, done
    effort = read_record(made.record("hard")).effort
    assert effort is not None
    assert effort.test_readings == 4
    assert "results on the test split were read 4 times, of which 1 are shown" in page_of(made)
