"""Every shipped table: one step of its rows on miniature data, then embeddings and a record.

Images, batches and networks' inputs are shrunk; backbones start at random. Every kind of row (loss,
heads, sampler, task) and every network (with its head and what of it is frozen) is run once, in the
first table that has it, and of every table at least one ranking loss. A row whose network another
row has run gets a small one, since building and writing large ones is what takes long.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

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


def shrunk(experiment: Experiment, root: str | None, *, own_network: bool = True) -> Experiment:
    """Return the experiment with one step on few small images, in its own or a small network."""
    content = experiment.model_dump(mode="json")
    if not own_network:
        named = {} if experiment.model.freeze == "all" else {"freeze": []}
        small = {"backbone": "small_cnn", "freeze_batch_norm": False, "embedding_dim": 8}
        content["model"] |= {**small, **named}
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


def what_runs() -> list[Any]:
    """Return each table and its rows that are run, and whether in their own network."""
    kinds: set[str] = set()
    networks: set[str] = set()
    found = []
    for path in CONFIGS:
        table = load_table(str(path))
        experiments = table.rows
        one = next(name for name, experiment in experiments.items() if not experiment.is_softmax)
        rows: dict[str, bool] = {}
        for name, experiment in experiments.items():
            whole = shrunk(experiment, None).model_dump(mode="json")
            model = whole["model"]
            parts = [whole["loss"]["name"], whole["softmax_head"], whole["phases"]]
            parts += [model[part] for part in ("head", "features", "normalize")]
            parts += [whole["sampler"]["name"], experiment.data.task, experiment.train.steps > 0]
            of_network = ("backbone", "features", "head", "freeze", "freeze_batch_norm")
            kind, network = digest_of(parts), digest_of([model[part] for part in of_network])
            if name == one or kind not in kinds or network not in networks:
                rows[name] = network not in networks
            kinds.add(kind)
            networks.add(network)
        found.append(pytest.param(table, rows, id=path.stem))
    return found


@pytest.mark.parametrize(("loaded", "rows"), what_runs())
def test_dry_run(
    loaded: Table, rows: dict[str, bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = next(iter(loaded.rows.values())).data.name
    root = None
    if find_dataset(name).folder is not None:  # the others come with the package
        root = str(miniature(name, tmp_path / "data"))
        lift_counts(monkeypatch, name)
    small = {row: shrunk(loaded.rows[row], root, own_network=own) for row, own in rows.items()}
    ready = Table("t", loaded.path, "T", "", (0,), small)
    for row, experiment in small.items():
        run = run_of(ready, row, 0, tmp_path / "runs")
        items = load_items(experiment.data)
        train(run, QUIET, items=items)
        embed(run, QUIET, items=items)
        record = evaluate(run, tmp_path / "results", QUIET)
        assert 0 <= record.metrics["recall@1"] <= 1
        alone = experiment.loss.name in {"softmax", "normalized_softmax"}
        classifies = experiment.softmax_head or alone
        known = experiment.data.task == "classification"
        assert ("accuracy" in record.metrics) == (classifies and known)
