import hashlib
import json
import shutil

import numpy as np
import pytest

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.datasets.batches import TrainingBatches
from stt_bench.benchmark.datasets.sources.clips import evenly_spaced
from stt_bench.benchmark.system.errors import BenchError


@pytest.fixture
def videos(tmp_path, save):
    """Clips a to h, two of each of four labels, with 3, 4, ..., 10 frames; no split."""
    root = tmp_path / "videos"
    for number, clip in enumerate("abcdefgh"):
        for frame in range(3 + number):
            save(root / "in" / clip / f"{frame:02}.jpg", seed=10 * number + frame)
        (root / "in" / clip / "notes.txt").touch()
    lines = [
        f"in/{clip},{label}"
        for clip, label in zip("abcdefgh", [*"xyxyzz", "zz", "zz"], strict=True)
    ]
    (root / "clips.csv").write_text("clip,label\n" + "\n".join(lines) + "\n")
    return root


def test_train_has_all_frames_and_test_has_some(load, videos):
    items = load("clips", videos, frames=2)  # classes x, y train and z, zz are tested
    frame = items.frame
    assert frame.groupby("group", sort=False).size().to_dict() == {
        "in/a": 3, "in/b": 4, "in/c": 5, "in/d": 6, "in/e": 2, "in/f": 2, "in/g": 2, "in/h": 2,
    }  # fmt: skip
    # 7 frames in two parts: their middles are 1.75 and 5.25; 8 frames: 2 and 6
    assert items.split("test")["path"].tolist() == [
        "in/e/01.jpg", "in/e/05.jpg", "in/f/02.jpg", "in/f/06.jpg",
        "in/g/02.jpg", "in/g/06.jpg", "in/h/02.jpg", "in/h/07.jpg",
    ]  # fmt: skip
    assert frame.loc[frame["group"] == "in/c", "label"].unique().tolist() == ["x"]
    assert items.read("in/e/05.jpg").size == (6, 4)


@pytest.mark.parametrize(
    ("frames", "count", "expected"),
    [(1, 1, [0]), (9, 1, [4]), (10, 3, [1, 5, 8]), (4, 4, [0, 1, 2, 3]), (3, 8, [0, 1, 2])],
)
def test_evenly_spaced(frames, count, expected):
    assert evenly_spaced([str(i) for i in range(frames)], count) == [str(i) for i in expected]


def test_the_csv_may_give_the_split_and_roles(load, videos):
    (videos / "own.csv").write_text(
        "clip,label,split,role\nin/f,z,train,both\nin/a,x,test,query\nin/c/,x,test,gallery\n"
        "in/b,y,test,gallery\n"
    )
    items = load("clips", videos, items="own.csv")
    assert items.classes == ["z"]
    test = items.split("test")
    assert test.groupby("group")["role"].unique().map(list).to_dict() == {
        "in/a": ["query"],
        "in/c": ["gallery"],
        "in/b": ["gallery"],
    }
    assert len(test) == 3 + 5 + 4  # all have fewer than 8 frames
    for same in ({"root": videos / "own.csv"}, {"items": str(videos / "own.csv")}):
        assert load("clips", **same).data_hash == items.data_hash


def test_clips_not_frames_are_split(load, videos):
    items = load("clips", videos, "classification")
    assert items.frame.groupby("group")["split"].nunique().max() == 1
    assert items.split("test").groupby("label")["group"].nunique().to_dict() == {
        "x": 1, "y": 1, "z": 1, "zz": 1,
    }  # fmt: skip


def test_the_hash_covers_groups_and_moves_with_the_folder(load, videos, tmp_path):
    items = load("clips", videos)
    columns = [items.frame[c].tolist() for c in ("path", "label", "split", "role", "group")]
    contents = [(videos / path).read_bytes() for path in items.frame["path"]]
    sums = [hashlib.sha256(content).digest() for content in contents]
    by_hand = hashlib.sha256(json.dumps(columns).encode() + b"".join(sums)).hexdigest()
    assert items.data_hash == by_hand
    shutil.copytree(videos, tmp_path / "other")
    assert load("clips", tmp_path / "other").data_hash == items.data_hash
    assert load("clips", videos, frames=3).data_hash != items.data_hash


def test_training_draws_frames_with_their_clips_label(load, videos):
    items = load("clips", videos)
    settings = {
        "data": {"name": "clips"},
        "input": {"size": 4},
        "sampler": {"p": 2, "k": 9},
        "loss": "softmax",
    }
    batches = TrainingBatches(items, Experiment.model_validate(settings), 0)
    rows = items.split("train")
    assert len(batches.labels) == len(rows) == 3 + 4 + 5 + 6
    drawn = np.concatenate([batches.sampler.batch(step) for step in range(30)])
    assert set(rows["group"][drawn]) == {"in/a", "in/b", "in/c", "in/d"}
    assert set(drawn) == set(range(len(rows)))
    step = batches[3]
    labels = rows["label"][batches.sampler.batch(3)]
    assert [batches.classes[label] for label in step.labels] == labels.tolist()


def test_mistakes(load, videos, nowhere):
    with pytest.raises(BenchError, match=r"no clips: give data.root \(a folder with clips.csv"):
        load("clips")
    with pytest.raises(BenchError, match=r"nothere.csv does not exist: it is a csv clip,label"):
        load("clips", videos, items="nothere.csv")
    for options, told in [
        ({"frames": 0}, "frames is 0: give an integer from 1"),
        ({"frames": True}, "frames is True: give an integer from 1"),
        ({"seed": "x"}, "seed is 'x': give an integer from 0"),
        ({"items": 3}, "items is a path, not 3: quote it"),
        ({"frame": 3}, "no option 'frame': did you mean 'frames'"),
    ]:
        with pytest.raises(BenchError, match=told):
            load("clips", videos, **options)
    shutil.rmtree(videos / "in" / "b")
    with pytest.raises(BenchError, match=r"clips.csv: clip 'in/b' cannot be read .*No such file"):
        load("clips", videos)
    (videos / "in" / "b").mkdir()
    with pytest.raises(BenchError, match="clip 'in/b' has no frames"):
        load("clips", videos)
