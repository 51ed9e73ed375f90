"""The network's part of embedding: from a trained run and some items to an array."""

from __future__ import annotations

import numpy as np

from stt_bench.benchmark.datasets import ItemTable, Split
from stt_bench.benchmark.datasets.batches import embedding_batches, parts_of
from stt_bench.benchmark.embedding.compute import Embedder, Rows, layout_of
from stt_bench.benchmark.features.encoded import inputs_of
from stt_bench.benchmark.models import EmbeddingNetwork
from stt_bench.benchmark.store.facts import TrainingFacts
from stt_bench.benchmark.store.runs import Run
from stt_bench.benchmark.store.weights import read_weights
from stt_bench.benchmark.system.devices import device_here
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.machine import make_deterministic
from stt_bench.benchmark.system.processes import Processes
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.training.learner import new_model
from stt_bench.benchmark.training.objective import Objective


def forward(
    run: Run,
    facts: TrainingFacts,
    items: ItemTable,
    split: Split,
    reporter: Reporter,
    shared_by: Processes | None = None,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the (N, D) embeddings and (N, C) class scores, if any, of a split's images.

    Where several processes share the work, each embeds a part, in the batches in which one would
    embed all; the first returns the whole, the others what is their own.

    Raises:
        BenchError: the weights are not what training wrote, or an image cannot be read.
    """
    shared_by = shared_by or Processes()
    experiment, measured = run.experiment, run.experiment.evaluation
    network, objective = load_network(run, facts, reporter)
    make_deterministic(experiment.train.threads, tf32=measured.precision == "tf32")
    images = inputs_of(
        items,
        split,
        experiment,
        network,
        training=False,
        crops=measured.crops,
        flip=measured.flip,
        reporter=reporter,
    )
    with reporter.bar(f"{run.name}: read images", len(images)) as bar, shared_by.first():
        images.load(lambda done, _total: bar.to(done))
    embedder, found = Embedder(network, objective, measured), Rows(len(images))
    size, parts = measured.batch_size, parts_of(images, measured.batch_size, shared_by)
    mine, whole = parts[shared_by.rank], len(images)
    several = f"{shared_by.size} processes" if shared_by.size > 1 else None
    with reporter.bar(f"{run.name}: embed", whole, stage=True) as bar:
        for rows, views in embedding_batches(images, size, flip=measured.flip, rows=mine):
            found.add(rows, *embedder.embed(views))
            bar.to(rows.stop * whole // mine.stop, several)  # the others are as far, about
        nothing = np.empty((len(images), 0), dtype=np.float32)
        embeddings, logits = found.arrays() if mine.stop > mine.start else (nothing, None)
        for array in (embeddings, logits):
            shared_by.merge(array, parts)
        bar.to(whole, several)
    return embeddings, logits


def load_network(
    run: Run, facts: TrainingFacts, reporter: Reporter
) -> tuple[EmbeddingNetwork, Objective]:
    """Return a run's trained network and objective, on its device, in evaluation mode.

    Where that device is not here it is the one that ``auto`` means, which is told.

    Raises:
        BenchError: the weights are not what training wrote.
    """
    # The weights come from the run, so the file training started from is not needed here.
    bare = run.experiment.model_copy(
        update={"model": run.experiment.model.model_copy(update={"weights": None})}
    )
    network, objective = new_model(bare, len(facts.classes), width=facts.vector_width)
    if network.embedding_dim != facts.embedding_dim:
        raise BenchError(
            f"{run.training}: embedding_dim is {facts.embedding_dim}, the network's is "
            f"{network.embedding_dim}; train again with --force"
        )
    modules = {"network": network, "objective": objective}
    read_weights(run.weights, facts, modules)
    device = device_here(run.experiment.train.device, reporter)
    layout = layout_of(run.experiment.evaluation, device)
    network = network.to(device, memory_format=layout)  # type: ignore[call-overload]
    return network.eval(), objective.to(device).eval()
