"""Embedding: from a run's weights to the embedding set of a split."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.datasets import ItemTable, Split, load_items
from stt_bench.benchmark.datasets.groups import average_groups, ids_of
from stt_bench.benchmark.datasets.item_rules import metadata_hash, metadata_of
from stt_bench.benchmark.datasets.near_duplicates import METHOD, near_duplicates
from stt_bench.benchmark.embedding.forward import forward
from stt_bench.benchmark.models.names import IDENTITY
from stt_bench.benchmark.store.duplicates import DuplicateItems
from stt_bench.benchmark.store.embedding_set import (
    EmbeddingSet,
    read_embedding_set,
    write_embedding_set,
)
from stt_bench.benchmark.store.facts import TrainingFacts
from stt_bench.benchmark.store.locks import held
from stt_bench.benchmark.store.protocol import fingerprint, protocol_of
from stt_bench.benchmark.store.runs import Run
from stt_bench.benchmark.store.weights import check_weights
from stt_bench.benchmark.system.errors import BenchError, NewerError
from stt_bench.benchmark.system.machine import versions
from stt_bench.benchmark.system.memory import full_memory_told
from stt_bench.benchmark.system.orders import ordered
from stt_bench.benchmark.system.processes import processes
from stt_bench.benchmark.system.progress import Reporter, Silent
from stt_bench.benchmark.training.checks import check_opened
from stt_bench.benchmark.training.prepare import check_images


def embed(
    run: Run,
    reporter: Reporter,
    *,
    split: Split = "test",
    items: ItemTable | None = None,
    force: bool = False,
) -> Path:
    """Embed a split with a trained run; return the folder of the embedding set.

    A set that was made by the same weights from the same data is left as it is. The rows of a
    group, such as the frames of a clip, become one.

    ``force`` makes it again.

    Raises:
        BenchError: the run is not trained to its end, or its data or weights changed since, or
            another process works on it, or a newer version made the set.
    """
    facts = checked_facts(run)
    items = items or load_items(run.experiment.data, reporter)
    facts.check(run.origin(items.data_hash, facts.initial_weights), run.folder)
    folder = run.embeddings(split)
    if force or current_set(folder, run, facts, items) is None:
        with held(run):
            embed_split(run, facts, items, reporter, split=split, force=force)
    return folder


def embed_along(run: Run, facts: TrainingFacts, items: ItemTable, split: Split) -> None:
    """Embed this process's part of a split for the one that leads.

    Raises:
        BenchError: this process sees other data than that one.
    """
    facts.check(run.origin(items.data_hash, facts.initial_weights), run.folder)
    with full_memory_told(run.name, "embed"):
        forward(run, facts, items, split, Silent(), processes())


def check_takes_images(run: Run) -> None:
    """Raise BenchError for a run on vectors."""
    if run.experiment.model.backbone == IDENTITY:
        raise BenchError(
            f"{run.folder} was trained on vectors: it takes no images, and there is none to show"
        )


def checked_facts(run: Run) -> TrainingFacts:
    """Return the facts of a finished training whose weights lie there as it wrote them."""
    facts = run.facts()
    check_opened(run.experiment, run.folder)
    check_weights(run.weights, facts)
    return facts


def embed_split(
    run: Run,
    facts: TrainingFacts,
    items: ItemTable,
    reporter: Reporter,
    *,
    split: Split = "test",
    folder: Path | None = None,
    force: bool = False,
) -> EmbeddingSet:
    """Embed a split of any items with a trained run; return the set as it lies on disk.

    Args:
        run: names the weights and how images are prepared.
        facts: of the run's training.
        items: the run's own data or others.
        reporter: where the progress is shown.
        split: of the items.
        folder: where the set lies; the run's own place if None.
        force: make it again where the same set lies there.

    Raises:
        BenchError: the split is empty, the weights are not what training wrote, or images cannot
            be read.
    """
    folder = folder or run.embeddings(split)
    if not force and (before := current_set(folder, run, facts, items)) is not None:
        return before
    experiment = run.experiment
    frame = items.split(split)
    if frame.empty:
        raise BenchError(f"{run.folder}: its data have no {split} items; see data.validation")
    own = items.data_hash == facts.data_hash and folder == run.embeddings(split)
    with full_memory_told(run.name, "embed"):
        if own and not facts.steps:  # no training has checked them
            check_images(run, items, reporter)
        if own:  # which the processes that embed along can find
            with ordered("embed", run, facts, split):
                embeddings, logits = forward(run, facts, items, split, reporter, processes())
        else:
            embeddings, logits = forward(run, facts, items, split, reporter)
    embeddings, logits, frame = average_groups(
        embeddings, logits, frame, normalize=experiment.model.normalize
    )
    if not set(facts.classes).issuperset(frame["label"]):
        logits = None
    write_embedding_set(
        folder,
        _stored(embeddings, experiment.evaluation.storage),
        logits,
        frame,
        {
            "split": split,
            **{k: v for k, v in _made_by(experiment, facts, items).items() if v is not None},
            "data_hash": items.data_hash,
            "classes": facts.classes,
            "versions": versions(),
            **({} if items.weights is None else {"weighted": True}),
            **_duplicates(facts, items, split, reporter),
        },
        metadata_of(frame),
    )
    return read_embedding_set(folder)


def _duplicates(
    facts: TrainingFacts, items: ItemTable, split: Split, reporter: Reporter
) -> dict[str, Any]:
    """Return what the description says of test images that the run's own training part has too."""
    if split != "test" or items.data_hash != facts.data_hash:
        return {}
    found = duplicates_of(items, reporter)
    return {} if found is None else {"near_duplicates": found.model_dump()}


def duplicates_of(items: ItemTable, reporter: Reporter) -> DuplicateItems | None:
    """Return how many test images training has too, and which; None where items are no images.

    Raises:
        BenchError: an image cannot be read.
    """
    with reporter.bar(f"{items.name}: compare images", 1) as bar:
        found = near_duplicates(items, bar.of)
    if found is None:
        return None
    alike = items.frame["path"].isin([match.image for match in found.matches])
    return DuplicateItems(
        method=METHOD,
        items=ids_of(items.split("test")).nunique(),
        pairs_exact=found.pairs_exact,
        pairs_similar=found.pairs_similar,
        pairs_across_classes=found.pairs_across_classes,
        test_ids=ids_of(items.frame[alike]).unique().tolist(),
    )


def current_set(
    folder: Path, run: Run, facts: TrainingFacts, items: ItemTable
) -> EmbeddingSet | None:
    """Return the whole embedding set of these weights, items and protocol, if it lies there.

    Raises:
        NewerError: one of a newer version does.
    """
    try:
        embedded = read_embedding_set(folder)
    except NewerError:
        raise
    except BenchError:
        return None
    made_by = _made_by(run.experiment, facts, items)
    same = all(embedded.meta.get(key) == value for key, value in made_by.items())
    return embedded if same else None


def _made_by(
    experiment: Experiment, facts: TrainingFacts, items: ItemTable
) -> dict[str, str | bool | None]:
    """Return what tells the embedding sets of one split apart."""
    protocol = protocol_of(
        experiment,
        data_hash=items.data_hash,
        initial_weights=facts.initial_weights,
        embedding_dim=facts.embedding_dim,
        weighted=items.weights is not None,
    )
    return {
        "protocol_fingerprint": fingerprint(protocol),
        "training_digest": experiment.training_digest(),
        "checkpoint_sha256": facts.checkpoint_sha256,
        "metadata_sha256": metadata_hash(items.frame),
        "channels_last": experiment.evaluation.channels_last,
    }


def _stored(embeddings: np.ndarray, dtype: str) -> np.ndarray:
    """Return the embeddings in the type they are stored in.

    Raises:
        BenchError: a finite value is beyond that type.
    """
    with np.errstate(over="ignore"):
        stored = embeddings.astype(dtype, copy=False)
    if np.isinf(stored).sum() > np.isinf(embeddings).sum():
        raise BenchError(
            f"evaluation.storage: an embedding holds {np.nanmax(np.abs(embeddings)):g}, beyond "
            f"{dtype}'s {np.finfo(dtype).max:g}: set it to float32, or model.normalize to true"
        )
    return stored


def embed_queries(
    run: Run, images: Mapping[str, Image.Image], reporter: Reporter | None = None
) -> np.ndarray:
    """Return the (N, D) float32 embeddings of any images by name, made as those of test items.

    Nothing is shown of it but warnings, of those the ones that the reporter has not given yet.

    Raises:
        BenchError: the run is not trained to its end, or its weights changed since.
    """
    check_takes_images(run)
    facts = checked_facts(run)
    frame = pd.DataFrame({"path": list(images), "label": "", "split": "test", "role": "query"})
    read, bits = images.__getitem__, facts.pixel_bits
    items = ItemTable("images", frame, read, data_hash="", bits=bits)
    with full_memory_told(run.name, "embed"):
        return forward(run, facts, items, "test", (reporter or Reporter()).quietly())[0]
