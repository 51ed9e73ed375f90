"""Where searching and clustering are done, and what FAISS is asked for on GPUs.

No GPU is needed: torch is told that there is one, and FAISS's calls for GPUs are taken down.
"""

from typing import ClassVar

import faiss
import numpy as np
import pytest
import torch

from stt_bench.evaluation import chosen_backend, faiss_search, on_device, retrieval_metrics
from stt_bench.evaluation.backends import devices_of, resolve_backend, torch_device


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


class Resources:
    """As `faiss.StandardGpuResources`, of which each takes memory of a GPU."""

    alive: ClassVar[list["Resources"]] = []

    def __init__(self):
        self.alive.append(self)

    def setTempMemory(self, size):  # noqa: N802  (FAISS's name)
        self.size = size


@pytest.fixture
def faiss_gpu(monkeypatch):
    """FAISS with two GPUs, which search on the CPU; it notes which GPUs each index is put on."""
    placed = []

    class Options:
        shard = False

    def on_gpus(resources, index, co=None, gpus=None):
        placed.append((list(resources), co.shard, list(gpus)))
        return index

    monkeypatch.setattr(Resources, "alive", [])
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 2, raising=False)
    monkeypatch.setattr(faiss, "StandardGpuResources", Resources, raising=False)
    monkeypatch.setattr(faiss, "GpuMultipleClonerOptions", Options, raising=False)
    monkeypatch.setattr(faiss, "index_cpu_to_gpu_multiple_py", on_gpus)
    return placed


def test_everything_follows_the_device_that_is_named(two_gpus):
    assert torch_device() == torch.device("cuda")
    with on_device("cpu"):
        assert torch_device() == torch.device("cpu")
        assert resolve_backend() == "torch-cpu"
        assert devices_of("torch-cuda") == (torch.device("cuda"), [])  # asked for by name
        with on_device(torch.device("cuda:1")):
            assert resolve_backend() == "torch-cuda"
            assert chosen_backend() == "torch-cuda flat"
            assert devices_of("torch-cuda") == (torch.device("cuda:1"), [])
            assert devices_of("torch-cpu") == (torch.device("cpu"), [])
            assert devices_of("faiss-cpu") == (torch.device("cuda:1"), [])
        assert torch_device() == torch.device("cpu")
    with on_device(None):
        assert resolve_backend() == "torch-cuda"


def test_auto_is_torch_also_where_faiss_has_gpus(two_gpus, faiss_gpu):
    assert resolve_backend() == "torch-cuda"
    assert devices_of("faiss-gpu")[1] == [0, 1]
    assert chosen_backend("faiss-gpu") == "faiss-gpu flat (2 GPUs)"
    with on_device("cuda:1"):
        assert devices_of("faiss-gpu")[1] == [1]
        assert chosen_backend("faiss-gpu") == "faiss-gpu flat (1 GPU)"


@pytest.mark.parametrize("gpus", [[0, 1], [1]])
def test_faiss_takes_memory_of_a_gpu_once(faiss_gpu, monkeypatch, gpus):
    rng = np.random.default_rng(0)
    points, labels = rng.standard_normal((600, 4)), np.arange(600) % 60
    expected = retrieval_metrics(points, labels, backend="torch-cpu")
    emptied = []
    monkeypatch.setattr("stt_bench.evaluation.levels.PART_ROWS", 100)  # six loads
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(len(Resources.alive)))
    monkeypatch.setattr(
        "stt_bench.evaluation.search.devices_of", lambda _: (torch.device("cpu"), gpus)
    )
    assert retrieval_metrics(points, labels, backend="faiss-gpu") == expected
    assert len(faiss_gpu) >= 6
    assert all(placed == (Resources.alive, True, gpus) for placed in faiss_gpu)
    assert len(Resources.alive) == len(gpus)
    assert {one.size for one in Resources.alive} == {faiss_search.FAISS_ROOM}
    assert emptied == [0]  # torch's cache, before FAISS takes anything


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")
def test_the_last_gpu_by_its_number():
    rng = np.random.default_rng(0)
    points, labels = rng.standard_normal((600, 4)), np.arange(600) % 60
    with on_device(f"cuda:{torch.cuda.device_count() - 1}"):
        assert chosen_backend() == "torch-cuda flat"
        found = retrieval_metrics(points, labels)
    assert found == retrieval_metrics(points, labels, backend="torch-cpu")
