from pathlib import Path

import pytest
import torch

from stt_bench.benchmark.system import machine
from stt_bench.benchmark.system.resources import SHARE, free_memory, usable_cores

GIB = 1 << 30


def write_machine(root: Path, group: str, files: dict[str, str]) -> Path:
    """Write what a machine of 8 GiB free memory tells of itself and of control groups."""
    lines = {"proc/meminfo": f"MemTotal: 9 kB\nMemAvailable: {8 << 20} kB\n"}
    for name, text in {**lines, "proc/self/cgroup": group, **files}.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


def memory_of(place: str, limit: int | str, used: int, cached: int) -> dict[str, str]:
    return {
        f"{place}/memory.max": f"{limit}\n",
        f"{place}/memory.current": f"{used}\n",
        f"{place}/memory.stat": f"anon 5\ninactive_file {cached}\n",
    }


def test_memory_is_what_the_machine_has_left(tmp_path):
    assert free_memory({}, write_machine(tmp_path, "0::/\n", {})) == 8 * GIB
    unlimited = memory_of("sys/fs/cgroup", "max", 5, 5)
    assert free_memory({}, write_machine(tmp_path, "0::/\n", unlimited)) == 8 * GIB


@pytest.mark.parametrize("place", ["sys/fs/cgroup", "sys/fs/cgroup/slurm/job_7"])
def test_a_container_or_a_job_has_less(tmp_path, place):
    files = memory_of(place, 4 * GIB, 2 * GIB, GIB)
    assert free_memory({}, write_machine(tmp_path, "0::/slurm/job_7\n", files)) == 3 * GIB


def test_control_groups_of_version_1(tmp_path):
    place = "sys/fs/cgroup/memory/job"
    files = {
        f"{place}/memory.limit_in_bytes": f"{4 * GIB}",
        f"{place}/memory.usage_in_bytes": f"{5 * GIB}",
        f"{place}/memory.stat": f"total_inactive_file {GIB + GIB // 2}\n",
        "sys/fs/cgroup/cpu/job/cpu.cfs_quota_us": "100000",
        "sys/fs/cgroup/cpu/job/cpu.cfs_period_us": "100000",
    }
    root = write_machine(tmp_path, "5:memory:/job\n3:cpu,cpuacct:/job\n", files)
    assert free_memory({}, root) == GIB // 2
    assert usable_cores({}, root) == 1


def test_processes_that_share_a_machine_divide_it(tmp_path, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(16), raising=False)
    root = write_machine(tmp_path, "0::/\n", {"sys/fs/cgroup/cpu.max": "max 100000"})
    assert usable_cores({}, root) == 16
    assert usable_cores({"LOCAL_WORLD_SIZE": "4"}, root) == 4
    assert usable_cores({"LOCAL_WORLD_SIZE": "2", "STT_BENCH_JOBS": "4"}, root) == 2
    assert usable_cores({"STT_BENCH_JOBS": "100"}, root) == 1
    assert free_memory({"STT_BENCH_JOBS": "4"}, root) == 2 * GIB
    quota = write_machine(tmp_path, "0::/\n", {"sys/fs/cgroup/cpu.max": "350000 100000"})
    assert usable_cores({}, quota) == 3


def test_jobs_on_one_machine_leave_one_another_room(monkeypatch):
    monkeypatch.setenv(SHARE, "1")
    monkeypatch.setattr(machine, "_DEFAULT_THREADS", 4)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(16), raising=False)
    before, threads = usable_cores(), torch.get_num_threads()
    try:
        machine.share_threads(4)
        assert usable_cores() == max(1, before // 4)
    finally:
        torch.set_num_threads(threads)
