"""Every command and every Python example of README and docs, run at toy size in this process.

A world holds what the commands name: photos, vectors and csv files, a trained run, and the tables
and Python files of the pages themselves, whose first line is a comment with the file's name. Tables
are made small: two rows, few steps, a small network, few classes a batch. The shipped tables that
commands name are covered by small ones in `./configs`, where a user's own would be. Figures stay
empty.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import ROOT
from dataset_miniatures import lift_counts, miniature
from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from ruamel.yaml import YAML
from torch.distributed import run as torchrun

from stt_bench.benchmark.cli.main import main
from stt_bench.benchmark.datasets import catalog
from stt_bench.benchmark.jobs import pool, ray_cluster
from stt_bench.losses import registry

PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^stt-bench .*?(?=\s+#|$)", flags=re.MULTILINE)
FILE = re.compile(r"# ([\w-]+\.(?:yaml|py))\n")
# What only a larger machine, more time or a network has: added to the command.
ADDED = {
    "stt-bench run digits_retrieval --gpus": "--dry-run",
    "stt-bench compare": "--dry-run --minutes 10000 --rows margin --out elsewhere",
    "stt-bench compare photos": "--backbone small_cnn --weights none",
    "stt-bench compare list.csv": "--backbone small_cnn --weights none",
    "stt-bench compare kinds.csv": "--backbone small_cnn --weights none",
    "stt-bench reproduce": "--data-root photos",  # which no record holds
    "stt-bench train": "--force",  # another page has trained that row
}


def blocks(language: str) -> list[Any]:
    """Return page and text of all code blocks of a language, named after page and place."""
    return [
        pytest.param(page, text, id=f"{page.stem}-{number}")
        for page in PAGES
        for number, text in enumerate(
            found[1] for found in FENCED.findall(page.read_text("utf-8")) if found[0] == language
        )
    ]


def with_commands() -> list[Any]:
    """Return page and commands of all blocks that have some; those of an earlier page once."""
    seen: set[str] = set()
    found = []
    for block in blocks(""):
        page, text = block.values
        commands = [one for one in COMMAND.findall(text) if one not in seen]
        seen |= {one for one in commands if " tune " not in one}  # what follows needs its trials
        if commands:
            found.append(pytest.param(page, commands, id=block.id))
    return found


COMMANDS = with_commands()
ALL = {one for block in COMMANDS for one in block.values[1]}


def photos(folder: Path, classes: int = 8, images: int = 4) -> None:
    rng = np.random.default_rng(0)
    for label in range(classes):
        (folder / f"class{label}").mkdir(parents=True)
        colour = rng.integers(0, 200, 3)
        for number in range(images):
            pixels = colour + rng.integers(0, 56, (16, 16, 3))
            file = folder / f"class{label}" / f"{number}.png"
            Image.fromarray(pixels.astype(np.uint8)).save(file)


def small(table: dict[str, Any]) -> dict[str, Any]:
    """Return the table with rows that train in a moment."""
    if table.get("model", {}).get("backbone") != "identity":
        sizes = {"size": 16, **{k: v for k, v in table.get("input", {}).items() if k != "size"}}
        table["input"] = {k: v for k, v in sizes.items() if not k.startswith("resize")}
        table["model"] = {"backbone": "small_cnn", "embedding_dim": 8}
    else:
        table["model"]["embedding_dim"] = 4
    table["sampler"] = {"p": 2, "k": 2}
    table["train"] = {"steps": 2, "threads": 1}
    table["evaluation"] = {"ks": [1, 2], "restarts": 1}
    if "tuning" in table:
        table["tuning"] = {"studies": 1, "trials": 1, "folds": 2, "every": 1, "patience": 1}
    table["seeds"] = [0]
    table["rows"] = dict([*table["rows"].items()][-2:])
    return table


def shipped(data: dict[str, Any], rows: int = 2, **more: Any) -> dict[str, Any]:
    """Return a small table in place of one that ships with the package."""
    losses = ("softmax", "hard_triplet", "semi_hard_triplet")[:rows]
    table = small({"data": data, **more, "rows": {}})
    return table | {"rows": {loss: {"loss": loss} for loss in losses}}


def blank(_: Figure, stream: Any, *, metadata: Any = None, **options: Any) -> None:
    """Write one white pixel in place of a figure, since drawing takes long."""
    if options.get("format") == "svg":
        stream.write('<svg viewBox="0 0 1 1"></svg>')
        return
    text = PngInfo()
    for key, value in (metadata or {}).items():
        text.add_text(key, value)
    Image.new("RGB", (1, 1), "white").save(stream, format="PNG", pnginfo=text)


def write_yaml(file: Path, content: dict[str, Any]) -> None:
    stream = io.StringIO()
    YAML(typ="safe").dump(content, stream)
    file.write_text(stream.getvalue(), encoding="utf-8")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    photos(folder / "photos")
    for name in ("photo", "a", "b"):
        Image.fromarray(np.full((16, 16, 3), 99, np.uint8)).save(folder / f"{name}.png")
    for path in ("ant/0", "ant/1", "bee/0", "bee/1", "cat/0", "cat/1", "dog/0", "dog/1"):
        file = folder / "animals" / f"{path}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(len(path) + ord(path[0])).integers(0, 256, (16, 16, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(file)
    labels = [f"class{number // 4}" for number in range(32)]
    vectors = np.random.default_rng(0).standard_normal((32, 8))
    np.save(folder / "X.npy", vectors)
    np.save(folder / "million.npy", vectors)
    lines = [f"{label},c{number % 2}" for number, label in enumerate(labels)]
    (folder / "Y.csv").write_text("\n".join(["label,camera", *lines]))
    splits = ["train"] * 16 + ["test"] * 16
    lines = [f"{label},{split}" for label, split in zip(labels, splits, strict=True)]
    (folder / "items.csv").write_text("\n".join(["label,split", *lines]))
    lines = [f"photos/class{n // 4}/{n % 4}.png,class{n // 4}" for n in range(32)]
    for name, header in (("list", "path,label"), ("kinds", "photo,kind")):
        (folder / f"{name}.csv").write_text("\n".join([header, *lines]))
    (folder / "configs").mkdir()
    data = {"name": "images", "root": str(folder / "photos")}
    for command in ALL:
        if named := re.match(r"stt-bench (?:run|train|tune) ([a-z]\w+)(?=\s|$)", command):
            more = {"tuning": {}} if named[1].startswith("frozen") else {}
            more |= {"rows": 3} if named[1] == "digits_retrieval" else {}
            write_yaml(folder / "configs" / f"{named[1]}.yaml", shipped(data, **more))
    write_yaml(folder / "my.yaml", shipped(data))
    (folder / "compare-photos").mkdir()  # as `compare photos` leaves it
    write_yaml(folder / "compare-photos" / "photos.yaml", shipped(data, tuning={}))
    for block in (*blocks("yaml"), *blocks("python")):
        text = block.values[1]
        named = FILE.match(text)
        if named and named[1].endswith(".py"):
            (folder / named[1]).write_text(text, encoding="utf-8")
        elif named:
            write_yaml(folder / named[1], small(YAML(typ="safe").load(text)))
    for block in blocks(""):
        if block.values[1].startswith("path,label,split,is_query"):
            (folder / "animals" / "df.csv").write_text(block.values[1])
    return folder


Run = Callable[[str], None]


@pytest.fixture
def run(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> Iterator[Run]:
    """Return a function that runs a command in the world and asks that it succeeds."""
    monkeypatch.chdir(world)
    monkeypatch.setattr(pool, "START", "fork")  # everything is imported already
    monkeypatch.setenv("STT_BENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(Figure, "savefig", blank)
    miniature("cub50", tmp_path / "data" / "cub50")
    lift_counts(monkeypatch, "cub50")

    def call(command: str) -> None:
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", shlex.split(command))
        with monkeypatch.context() as patch:
            patch.setattr(registry, "_factories", dict(registry._factories))
            patch.setattr(catalog, "_DATASETS", dict(catalog._DATASETS))
            with pytest.raises(SystemExit) as end:
                main()
        out, err = capfd.readouterr()
        assert not end.value.code, f"{command}\n{out}\n{err}"

    return call


@pytest.fixture
def trained(world: Path, run: Run) -> None:
    if not (world / "runs" / "digits_retrieval").exists():
        run("stt-bench run digits_retrieval --quiet")


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize(("page", "commands"), COMMANDS)
def test_the_commands_run(page: Path, commands: list[str], run: Run) -> None:
    for command in commands:
        added = [more for start, more in ADDED.items() if command.startswith(start)]
        run(" ".join([command, *added]))


def test_the_first_table_of_ones_own_images_fits_ten_classes_as_it_stands(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    photos(tmp_path / "photos", classes=10, images=12)
    (text,) = (one.values[1] for one in blocks("yaml") if one.values[1].startswith("# birds.yaml"))
    Path("birds.yaml").write_text(text, encoding="utf-8")
    small = "--set model.backbone=small_cnn --set model.weights=null"  # without a network at hand
    monkeypatch.setattr(sys, "argv", shlex.split(f"stt-bench run birds.yaml --dry-run {small}"))
    with pytest.raises(SystemExit) as end:
        main()
    said = capfd.readouterr().out
    assert not end.value.code, said
    assert "120 images" in said
    assert "refused" not in said


@pytest.mark.parametrize(("page", "script"), blocks("sh"))
def test_scripts_for_clusters_are_right_and_their_commands_exist(
    page: Path, script: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What needs a cluster is not run; its commands say what they would do, with Ray or without."""
    monkeypatch.setattr(ray_cluster, "import_ray", lambda: None)
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    joined = re.sub(r"\\\n\s*", "", script).replace("$SLURM_ARRAY_TASK_ID", "1")
    if jobs := re.search(r"--array=1-(\d+)", script):  # of the whole, if a part is submitted, too
        assert f'--shard "1/{jobs[1]}"' in joined
    for options, command in re.findall(r"^srun torchrun (.*?) -m stt_bench (.*)$", joined, re.M):
        torchrun.parse_args([*shlex.split(options), "script"])
        joined = f"{joined}stt-bench {command}\n"
    if "#SBATCH" in script:  # the signal is for what srun starts; with B: for the shell's process
        told = "B:TERM" if "\nexec stt-bench" in script else "TERM"
        assert f"#SBATCH --signal={told}@120\n" in script
    commands = re.findall(r"^(?:srun |exec )?(stt-bench .*)$", joined, flags=re.MULTILINE)
    assert commands
    for command in commands:
        run(f"{command} --dry-run")
    if starts := re.findall(r"ray start (.*?)&?$", joined, flags=re.MULTILINE):
        scripts = pytest.importorskip("ray.scripts.scripts", reason="needs the extra [ray]")
        known = {name for param in scripts.start.params for name in param.opts}
        used = {word.split("=")[0] for line in starts for word in shlex.split(line)}
        assert len(starts) == 2
        assert used <= known, used - known


PRETENDED = {  # what the script for Ray calls; Ray answers when it is asked a third time
    "scontrol": "printf 'one\\ntwo\\n'",
    "sleep": "exec /bin/sleep 0.02",
    "srun": """
        while [[ $1 == --* ]]; do options+=" $1"; shift; done
        echo "srun$options" >> said
        [[ $options == *--nodes=0* ]] || exec "$@" """,
    "ray": """
        if [ "$1" = status ]; then
            echo asked >> asked
            grep -q "ray start --head" said && [ "$(wc -l < asked)" -gt 2 ]
            exit
        fi
        echo "ray $*" >> said; exec /bin/sleep 60""",
    "stt-bench": """
        trap 'echo stopped >> said; exit 130' TERM
        until [ "$(grep -c ^ray said)" = "$STARTS" ]; do sleep; done
        echo "$RAY_ADDRESS: stt-bench $*" >> said; touch runs
        while :; do sleep; done""",
}


@pytest.mark.parametrize("nodes", [1, 4])
def test_the_script_for_ray_starts_it_on_all_nodes_and_stops_what_runs(
    tmp_path: Path, nodes: int
) -> None:
    """As far as commands can tell that stand in for SLURM's and Ray's."""
    (script,) = (one.values[1] for one in blocks("sh") if "ray start" in one.values[1])
    for name, text in PRETENDED.items():
        file = tmp_path / "bin" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"#!/bin/bash\n{text}\n")
        file.chmod(0o755)
    environment = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "SLURM_NNODES": str(nodes)}
    environment |= {"SLURM_JOB_NODELIST": "[one-two]", "STARTS": str(min(nodes, 2))}
    (tmp_path / "job").write_text(script)
    job = subprocess.Popen(["bash", "job"], cwd=tmp_path, env=environment, start_new_session=True)
    try:
        limit = time.monotonic() + 60
        while not (tmp_path / "runs").exists() and time.monotonic() < limit:
            assert job.poll() is None
            time.sleep(0.01)
        job.terminate()  # as `--signal=B:TERM@120` does: the batch shell alone
        assert job.wait(60) == 130
    finally:
        os.killpg(job.pid, signal.SIGKILL)
    said = (tmp_path / "said").read_text().splitlines()
    assert sorted(line for line in said if line.startswith("srun")) == [
        "srun --nodes=1 --ntasks=1 --nodelist=one",
        *([f"srun --nodes={nodes - 1} --ntasks={nodes - 1} --exclude=one"] if nodes > 1 else []),
    ]
    assert said[1].startswith("ray start --head --port=6379 ")
    assert nodes == 1 or any(line.startswith("ray start --address=one:6379 ") for line in said)
    assert [line for line in said if "stt-bench" in line] == [
        "one:6379: stt-bench run digits_retrieval --on ray --gpus-per-run 1"
    ]
    assert said[-1] == "stopped"


@pytest.mark.parametrize(("page", "code"), blocks("python"))
def test_the_examples_run(page: Path, code: str, world: Path) -> None:
    exec(compile(code, f"example of {page.name}", "exec"), {"__name__": f"example_{page.stem}"})


def test_no_two_examples_are_of_one_name() -> None:
    texts = {block.values[1] for kind in ("yaml", "python") for block in blocks(kind)}
    names = [named[1] for text in texts if (named := FILE.match(text))]
    assert len(names) == len(set(names)) >= 5


def test_what_is_looked_for_is_found() -> None:
    assert len(COMMANDS) >= 8
    assert len(ALL) >= 35
