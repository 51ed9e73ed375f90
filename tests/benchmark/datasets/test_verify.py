"""data verify and data list: what is broken or missing is named, and nothing is fetched."""

import zipfile

import pytest

from stt_bench.benchmark.datasets import catalog as registry
from stt_bench.benchmark.datasets import dataset_names, register_dataset
from stt_bench.benchmark.datasets.survey import survey
from stt_bench.benchmark.datasets.verify import failures, verify_dataset
from stt_bench.benchmark.system.errors import BenchError


def test_a_whole_dataset_passes(load, mini_cub):
    seen = []
    found = verify_dataset("cub50", root=str(mini_cub), progress=lambda *p: seen.append(p))
    assert found.passed
    tasks = ("retrieval", "classification")
    hashes = [load("cub50", mini_cub, task).data_hash for task in tasks]
    assert list(found.lines()) == [
        "retrieval: 6 train images of 2 classes and 6 test images of 2 classes, "
        f"data {hashes[0][:16]}",
        "classification: 4 train images of 4 classes and 8 test images of 4 classes, "
        f"data {hashes[1][:16]}",
        "12 images decoded, all can be read",
    ]
    assert seen == [(12, 12)]


def test_every_broken_file_is_named_with_its_reason(mini_cub):
    files = sorted((mini_cub / "CUB_200_2011").rglob("*.jpg"))
    files[1].write_bytes(files[1].read_bytes()[:-150])  # opens, but does not decode
    files[4].write_text("no image")
    files[7].unlink()
    found = verify_dataset("cub50", root=str(mini_cub))
    assert not found.passed
    assert len(found.broken) == 3
    told = {str(file): line for file in files for line in found.broken if str(file) in line}
    assert list(told) == [str(files[number]) for number in (1, 4, 7)]
    assert "truncated" in told[str(files[1])]
    assert "it is empty, or of no format" in told[str(files[4])]
    assert "No such file" in told[str(files[7])]
    lines = list(found.lines())
    assert lines[0] == "retrieval: 6 train images of 2 classes and 6 test images of 2 classes"
    assert lines[-1] == "12 images decoded, 3 broken or missing"


def test_twenty_are_named_and_the_rest_counted(tmp_path):
    for label in "ab":
        (tmp_path / label).mkdir()
        for number in range(40):
            (tmp_path / label / f"{number}.png").touch()
    found = verify_dataset("images", root=str(tmp_path))
    assert len(found.broken) == 80
    lines = list(found.lines())
    assert sum("cannot be read as an image" in line for line in lines) == 20
    assert lines[-2].startswith("and 60 more; all are listed in ")
    assert lines[-1] == "80 images decoded, 80 broken or missing"


def test_one_wrong_count_fails(mini_cub):
    split = mini_cub / "CUB_200_2011" / "train_test_split.txt"
    split.write_text(split.read_text().replace("2 0", "2 1"))
    found = verify_dataset("cub50", root=str(mini_cub))
    assert list(found.tables.sources) == ["retrieval"]
    assert not found.broken
    assert not found.passed
    assert "task classification: expected 4 train" in "\n".join(found.lines())


def test_wrong_counts_fail_and_own_data_may_do_for_one_task(mini_cub, tmp_path, save):
    index = mini_cub / "CUB_200_2011" / "images.txt"
    index.write_text("\n".join(index.read_text().splitlines()[:-1]) + "\n")
    found = verify_dataset("cub50", root=str(mini_cub))
    assert not found.passed
    assert "expected 6 train images" in "\n".join(found.lines())
    assert not found.tables.sources
    for name in ("train/a/1", "test/b/1", "test/b/2", "test/c/1"):
        save(tmp_path / "own" / f"{name}.png")
    found = verify_dataset("images", root=str(tmp_path / "own"))
    assert found.passed  # for retrieval
    assert "classification: dataset 'images', task classification: test class 'b'" in "\n".join(
        found.lines()
    )
    (tmp_path / "own" / "train" / "a" / "1.png").rename(tmp_path / "own" / "1.png")
    found = verify_dataset("images", root=str(tmp_path / "own"))
    assert not found.passed
    assert found.images == 0


def test_zips_and_arrays(mini_omniglot, mini_fashion, tmp_path):
    with zipfile.ZipFile(tmp_path / "omniglot.zip", "w") as archive:
        for path in sorted(mini_omniglot.rglob("*.png")):
            archive.write(path, path.relative_to(mini_omniglot).as_posix())
    assert verify_dataset("omniglot", root=str(tmp_path / "omniglot.zip")).images == 10
    found = verify_dataset("fashion_mnist", root=str(mini_fashion))
    assert found.passed
    assert found.images == 60


def test_wrong_input(nowhere):
    with pytest.raises(BenchError, match=r"unknown dataset 'cub5': did you mean 'cub50'\?"):
        verify_dataset("cub5")
    with pytest.raises(BenchError, match="'images' has no option 'itms': did you mean 'items'"):
        verify_dataset("images", options={"itms": 1})
    with pytest.raises(BenchError, match="dataset 'omniglot' not found"):  # and not downloaded
        verify_dataset("omniglot")
    assert not (nowhere / "data").exists()


def test_failures_keep_their_order_and_other_errors_are_raised():
    def work(path: str) -> None:
        if int(path) % 100 == 7:
            raise BenchError(path)
        if path == "x":
            raise ValueError

    paths = [str(number) for number in range(1000)]
    assert failures(work, paths) == [str(number) for number in range(7, 1000, 100)]
    assert failures(work, []) == []
    with pytest.raises(ValueError, match="x"):
        failures(work, ["1", "x"])


def entry(name):
    return next(entry for entry in survey() if entry.name == name)


def test_survey_of_nothing(nowhere):
    entries = survey()
    assert [entry.name for entry in entries] == dataset_names()
    states = {entry.name: entry.state for entry in entries}
    assert states["digits"] == "complete"
    assert states["cub50"] == states["omniglot"] == "not here"
    assert states["images"] == states["clips"] == "your own"
    about = entry("cub50").about
    assert "looked for data/cub50, ../shared/data/cub50; unpack CUB_200_2011.tgz" in about
    assert "downloaded at first use" in entry("omniglot").about
    assert "give data.root" in entry("images").about
    assert entry("omniglot").expected == ["retrieval: 19,280 + 13,180 images of 964 + 659 classes"]
    assert list(nowhere.iterdir()) == []


def test_survey_of_what_is_there(mini_cub, nowhere, monkeypatch):
    monkeypatch.setenv("STT_BENCH_DATA", str(mini_cub.parent))
    mini_cub.rename(mini_cub.parent / "cub50")
    folder = mini_cub.parent / "cub50" / "CUB_200_2011"
    assert entry("cub50")[2:] == ("complete", str(folder.parent))
    assert entry("cub50").expected[0] == "retrieval: 6 + 6 images of 2 + 2 classes"
    (folder / "images").rename(folder / "elsewhere")
    assert entry("cub50").state == "incomplete"
    assert "_3.jpg does not exist: get a complete copy" in entry("cub50").about
    (folder / "classes.txt").unlink()
    assert "classes.txt cannot be read" in entry("cub50").about


def test_a_broken_plugin_hides_no_other(nowhere, monkeypatch):
    monkeypatch.setattr(registry, "_DATASETS", dict(registry._DATASETS))

    @register_dataset("odd")
    def odd(root, task):
        raise KeyError("its own mistake")

    assert entry("odd").about == "'its own mistake'"
    assert entry("digits").state == "complete"
