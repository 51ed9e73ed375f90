import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from stt_bench.benchmark.datasets import (
    ArrayStore,
    Source,
    catalog,
    dataset_names,
    dataset_summary,
    register_dataset,
)
from stt_bench.benchmark.system.errors import BenchError


@pytest.fixture
def scratch(monkeypatch):
    """Registrations that the test makes are forgotten after it."""
    monkeypatch.setattr(catalog, "_DATASETS", dict(catalog._DATASETS))


def test_names_and_summaries():
    assert {"digits", "fashion_mnist", "omniglot", "cub50", "images"} <= set(dataset_names())
    assert dataset_names() == sorted(dataset_names())
    for name in dataset_names():
        assert dataset_summary(name).endswith((".", "download."))


def test_import_is_light():
    code = (
        "import sys, stt_bench.benchmark.datasets as d; d.dataset_names();"
        "print([m for m in ('torch', 'torchvision', 'sklearn') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.usefixtures("scratch")
def test_a_plugin_registers_its_own(load):
    @register_dataset("mine")
    def mine(root, task, *, n=2):
        """Mine."""
        rows = [(f"{s}/{i}", s, s, "both") for s in ("train", "test") for i in range(n)]
        rows.append(("test/x", "x", "test", "both"))
        frame = pd.DataFrame(rows, columns=["path", "label", "split", "role"])
        return Source(
            frame, ArrayStore(frame["path"].tolist(), np.zeros((2 * n + 1, 2, 2), np.uint8))
        )

    assert "mine" in dataset_names()
    assert len(load("mine", n=3).frame) == 7
    with pytest.raises(BenchError, match=r"dataset 'mine' has no option 'm': valid: n$"):
        load("mine", m=3)
    register_dataset("mine")(mine)  # the same file loaded again
    with pytest.raises(BenchError, match=r"'digits' is registered already by stt_bench"):
        register_dataset("digits")(mine)


def test_unknown_names(load, nowhere):
    with pytest.raises(BenchError, match=r"unknown dataset 'digit': did you mean 'digits'\?"):
        load("digit")
    with pytest.raises(
        BenchError, match=r"unknown dataset '\.', which is a folder or file: your own"
    ):
        load(".")
    with pytest.raises(BenchError, match=r"'images' has no option 'itms': did you mean 'items'\?"):
        load("images", itms="x.csv")
    with pytest.raises(BenchError, match="'digits' has no option 'size': it has no options"):
        load("digits", size=3)


def test_missing_data_say_where_was_looked(load, nowhere, monkeypatch):
    monkeypatch.setenv("STT_BENCH_DATA", "/big")
    with pytest.raises(BenchError) as told:
        load("cub50")
    for part in (
        "/big/cub50",
        "/big/data/cub50",
        "../shared/data/cub50",
        "CUB_200_2011.tgz",
        "data.root",
        "STT_BENCH_DATA",
    ):
        assert part in str(told.value)
    with pytest.raises(BenchError, match=r"data.root nothere does not exist: .* searched for"):
        load("cub50", "nothere")
    with pytest.raises(
        BenchError,
        match=r"'images': data.root nothere does not exist: it starts from /.*; correct it$",
    ):
        load("images", "nothere")
