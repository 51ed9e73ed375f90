"""Every shipped table: one step of its rows on miniature data, then embeddings and a record.

Images, batches and networks' inputs are shrunk; backbones start at random. Every kind of row (loss,
heads, sampler, task) is run once, in the first table that has it, and of every table at least one
ranking loss in its own network.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from dataset_miniatures import lift_counts, miniature

from stt_bench.benchmark.config.experiment import Experiment, digest_of
from stt_bench.benchmark.config.tables import Table
from stt_bench.benchmark.datasets import load_items
from stt_bench.benchmark.datasets.catalog import find_dataset
from stt_bench.benchmark.embedding.embed import embed
from stt_bench.benchmark.scoring.evaluate import evaluate
from stt_bench.benchmark.store.runs import run_of
from stt_bench.benchmark.suite import load_table
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.training.train import train

CONFIGS = sorted((Path(__file__).parents[2] / "stt_bench" / "configs").glob("*.yaml"))
QUIET = Reporter(quiet=True)
SMALL = 64


def shrunk(experiment: Experiment, root: str | None) -> Experiment:
    """Return the experiment with one step on few small images."""
    content = experiment.model_dump(mode="json")
    content["data"]["root"] = root
    sampler, image, settings = content["sampler"], content["input"], content["train"]
    if sampler["name"] == "pxk":
        sampler["p"] = 2
    else:
        sampler["batch_size"] = 8
    if image["size"] > SMALL:
        image["size"] = SMALL
        image["resize"] = image["resize"] and SMALL + 8
        image["resize_max"] = image["resize_max"] and SMALL + 16
    content["model"]["weights"] = None
    settings |= {"steps": min(settings["steps"], 1), "workers": 0, "device": "cpu"}
    for phase in content["phases"]:
        phase["steps"] = 1
        settings["steps"] += 1
    if settings["validate_every"]:
        settings["validate_every"] = 1
    content["evaluation"] |= {"restarts": 1, "batch_size": 32}
    return Experiment.model_validate(content)


def what_runs() -> list[tuple[str, list[str]]]:
    seen: set[str] = set()
    found = []
    for path in CONFIGS:
        experiments = load_table(str(path)).rows
        rows = {}
        for name, experiment in experiments.items():
            whole = shrunk(experiment, None).model_dump(mode="json")
            parts = [whole["loss"]["name"], whole["softmax_head"], whole["phases"]]
            parts += [whole["model"][part] for part in ("head", "features", "normalize")]
            parts += [whole["sampler"]["name"], experiment.data.task, experiment.train.steps > 0]
            rows[name] = digest_of(parts)
        new = [name for name, kind in rows.items() if kind not in seen]
        own = next(name for name, experiment in experiments.items() if not experiment.is_softmax)
        seen.update(rows.values())
        found.append((path.stem, new if own in new else [*new, own]))
    return found


@pytest.mark.parametrize(("table", "rows"), what_runs(), ids=lambda value: str(value)[:40])
def test_dry_run(
    table: str, rows: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_table(str(next(path for path in CONFIGS if path.stem == table)))
    name = next(iter(loaded.rows.values())).data.name
    root = None
    if find_dataset(name).folder is not None:  # the others come with the package
        root = str(miniature(name, tmp_path / "data"))
        lift_counts(monkeypatch, name)
    small = {row: shrunk(loaded.rows[row], root) for row in rows}
    ready = Table("t", loaded.path, "T", "", (0,), small)
    for row, experiment in small.items():
        run = run_of(ready, row, 0, tmp_path / "runs")
        items = load_items(experiment.data)
        train(run, QUIET, items=items)
        embed(run, QUIET, items=items)
        record = evaluate(run, tmp_path / "results", QUIET)
        assert 0 <= record.metrics["recall@1"] <= 1
        classifies = experiment.softmax_head or experiment.loss.name == "softmax"
        known = experiment.data.task == "classification"
        assert ("accuracy" in record.metrics) == (classifies and known)
