"""One thread a test process, and the same random examples in every run, however busy the machine.

The user's cache folder is left alone: tests have one of their own. So is a GPU, but in tests with
the marker `gpu`: what the others expect are a CPU's bytes.

More threads than processes only get in each other's way.  ``pytest --hypothesis-profile default``
draws new examples.
"""

import gc
import os
import signal
import sys
from collections.abc import Iterator

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


@pytest.hookimpl(trylast=True)
def pytest_configure() -> None:
    """Heed what whoever started the suite ignores, as a shell does SIGINT for what runs beside it.

    Tests send these signals, and so do processes that tests start.
    """
    for kind in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(kind) is signal.SIG_IGN:
            default = signal.default_int_handler if kind == signal.SIGINT else signal.SIG_DFL
            signal.signal(kind, default)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest: at the end one process would work at it and the others wait.

    What is there by now stays, and the garbage collector need not look at it again and again.
    """
    items.sort(key=lambda item: item.get_closest_marker("long") is None)
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _no_gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide all GPUs from this process and those it starts, unless the test asks for one."""
    torch = sys.modules.get("torch")
    if request.node.get_closest_marker("gpu"):
        return
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    if torch is not None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
        monkeypatch.setattr(torch.cuda, "init", _refused)


def _refused() -> None:
    raise RuntimeError("GPUs are hidden from tests without the marker gpu")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """A test that trains with more threads leaves none of them to those after it."""
    yield
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != 1:
        torch.set_num_threads(1)
