"""`stt-bench verify`: a record says what its embeddings give, or the field is named."""

from __future__ import annotations

import json
import shutil

import numpy as np
from made_records import Made, cheat

from stt_bench.benchmark.store.protocol import fingerprint
from stt_bench.benchmark.store.records import read_record
from stt_bench.benchmark.system.files import sha256_of


def test_a_record_is_what_its_embeddings_give_and_nothing_is_written(made: Made) -> None:
    before = made.record().read_bytes()
    done = made.call("verify", "tiny/softmax/seed-0", "-q")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "tiny/softmax/seed-0: the same\n"
        "  checked: all that its embeddings give, trained weights, images, near-duplicates\n"
    )
    assert made.record().read_bytes() == before


def test_an_edited_metric_is_named_though_all_in_the_record_fits(made: Made) -> None:
    honest = read_record(made.record()).metrics["map@r"]
    edited = cheat(made.record()).metrics["map@r"]
    done = made.call("verify", str(made.record()), "-q")
    assert done.returncode == 1
    points = 100 * (honest - edited)
    told = (
        f"  metrics.map@r: {edited:.10g} → {honest:.10g} ({points:+.2f} points) when measured again"
    )
    assert told in done.stdout.splitlines()
    assert "class_values.metrics.map@r.sums: 5 of 5" in done.stdout
    assert "metrics.recall@1" not in done.stdout


def test_all_counts_what_is_the_same_what_differs_and_what_is_gone(made: Made) -> None:
    cheat(made.record("hard", 1))
    content = json.loads(made.record("hard", 0).read_text())
    content["metrics"]["recall@1"] = 0.5  # not even the rest of the record agrees
    made.record("hard", 0).write_text(json.dumps(content))
    shutil.rmtree(made.run("softmax", 1))
    done = made.call("verify", "all")
    assert done.returncode == 1
    assert done.stdout.splitlines()[-2].split() == [
        "same", "differs", "unusable", "embeddings", "gone",
    ]  # fmt: skip
    assert done.stdout.splitlines()[-1].split() == ["tiny", "1", "2", "0", "1"]
    assert "tiny/hard/seed-1: differs in 3 field(s)" in done.stdout
    assert "tiny/hard/seed-0: differs in 1 field(s)" in done.stdout
    assert "verify records: 4/4" in done.stderr


def test_gone_embeddings_are_said_to_be_gone_and_are_no_difference(made: Made) -> None:
    (made.run() / "model.safetensors").unlink()  # of which embeddings have no need
    done = made.call("verify", "tiny/softmax/seed-0", "-q")
    assert "checked: all that its embeddings give, images" in done.stdout
    shutil.rmtree(made.run() / "embeddings")
    done = made.call("verify", "tiny/softmax/seed-0", "-q")
    assert done.returncode == 0
    assert "its embeddings are gone" in done.stdout
    assert "`stt-bench reproduce tiny/softmax/seed-0` trains again" in done.stdout
    assert "checked: images" in done.stdout


def test_damaged_embeddings_and_those_of_other_settings_are_a_fault(made: Made) -> None:
    file = made.run() / "embeddings" / "test" / "embeddings.npy"
    file.write_bytes(file.read_bytes()[:-4])
    facts = made.run("softmax", 1) / "training.json"
    content = json.loads(facts.read_text())
    facts.write_text(json.dumps(content | {"training_digest": "0" * 64}))
    done = made.call("verify", "tiny/softmax", "-q")
    assert done.returncode == 1
    assert done.stdout.count("its embeddings cannot be used (") == 2
    assert done.stdout.splitlines()[-1].split() == ["tiny", "0", "0", "2", "0"]
    facts.unlink()
    assert made.call("verify", "tiny/softmax/seed-1", "-q").returncode == 0
    assert made.call("verify", "tiny/softmax/seed-0", "-q").returncode == 1


def test_a_table_and_a_folder_name_their_records(made: Made) -> None:
    cheat(made.record("hard", 1))
    shutil.rmtree(made.folder / "runs" / "tiny" / "softmax")
    table = made.call("verify", "tiny", "-q")
    folder = made.call("verify", made.folder / "results/records/tiny/softmax", "-q")
    assert (table.returncode, folder.returncode) == (1, 0)
    counts = [done.stdout.splitlines()[-1].split()[1:] for done in (table, folder)]
    assert counts == [["1", "1", "0", "2"], ["0", "0", "0", "2"]]


def test_the_network_and_images_of_another_record_are_named(made: Made) -> None:
    record = read_record(made.record())
    protocol = record.protocol | {"data": "0" * 64}
    record.model_copy(
        update={
            "checkpoint_sha256": "1" * 64,
            "data_hash": "0" * 64,
            "protocol": protocol,
            "protocol_fingerprint": fingerprint(protocol),
        }
    ).save(made.record())
    said = made.call("verify", "tiny/softmax/seed-0", "-q").stdout
    assert "is not the network of the record" in said
    assert "  checkpoint_sha256: 111111111111… → " in said
    assert "the images here, or their split, are not those of the record" in said


def test_embeddings_that_were_replaced_with_their_hash_are_not_those_of_the_record(
    made: Made,
) -> None:
    file = made.run() / "embeddings" / "test" / "embeddings.npy"
    np.save(file, np.load(file)[::-1])
    meta = json.loads((file.parent / "meta.json").read_text())
    meta["embeddings_sha256"] = sha256_of(file)
    (file.parent / "meta.json").write_text(json.dumps(meta))
    done = made.call("verify", "tiny/softmax/seed-0", "-q")
    assert done.returncode == 1
    assert "  embeddings_sha256: " in done.stdout
    assert "  metrics.map@r: " in done.stdout


def test_what_a_record_leaves_out_is_told(made: Made) -> None:
    younger = {"class_values": None, "other_distance": None}  # as in records of earlier versions
    read_record(made.record()).model_copy(update=younger).save(made.record())
    done = made.call("verify", "tiny/softmax/seed-0", "-q")
    assert done.returncode == 0
    assert "  not in the record: class_values, other_distance\n" in done.stdout


def test_an_unknown_record_is_told_with_the_nearest_one(made: Made) -> None:
    done = made.call("verify", "tiny/sofmax/seed-0")
    assert done.returncode == 2
    assert "'tiny/sofmax/seed-0' is no record, row or table" in done.stderr
    assert "did you mean 'tiny/softmax/seed-0'?" in done.stderr
    assert "did you mean 'tiny/softmax'?" in made.call("verify", "tiny/sofmax").stderr
    row = made.call("reproduce", "tiny/softmax")
    assert "'tiny/softmax' is no record: name a file, or TABLE/ROW/seed-N" in row.stderr


def test_names_of_records_are_completed(made: Made) -> None:
    from stt_bench.benchmark.verification.places import completions

    results = made.folder / "results"
    softmax = ["tiny/softmax", "tiny/softmax/seed-0", "tiny/softmax/seed-1"]
    assert list(completions(results, "tiny/s")) == softmax
    assert list(completions(results, "ti"))[:2] == ["tiny", "tiny/hard"]
    assert list(completions(results, "al")) == ["all"]
