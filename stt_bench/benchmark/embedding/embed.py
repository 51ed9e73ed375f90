"""Embedding: from a run's weights to an embedding set on disk.

An embedding set is a folder with ``embeddings.npy`` (N × D float32, or float16 where the config
stores so), ``items.csv`` (``id,label,role``), ``logits.npy`` (N × C float32, where a classifier
knows the labels) and ``meta.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import safetensors.torch
import torch
from PIL import Image

from stt_bench.benchmark.datasets import ItemTable, Split, load_items
from stt_bench.benchmark.datasets.batches import embedding_batches
from stt_bench.benchmark.datasets.groups import average_groups
from stt_bench.benchmark.datasets.image_set import image_set
from stt_bench.benchmark.models import EmbeddingNetwork
from stt_bench.benchmark.models.views import aggregated, mean_logits
from stt_bench.benchmark.store.protocol import fingerprint, protocol_of
from stt_bench.benchmark.store.runs import Run
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.files import (
    read_json,
    sha256_of,
    write_atomically,
    write_json,
    write_text,
)
from stt_bench.benchmark.system.machine import make_deterministic, resolve_device, versions
from stt_bench.benchmark.system.progress import Reporter
from stt_bench.benchmark.training.objective import Objective
from stt_bench.benchmark.training.train import new_model

EMBEDDING_SCHEMA = 1
_HASHED = ("embeddings_sha256", "items_sha256", "logits_sha256")


@dataclass(frozen=True)
class EmbeddingSet:
    """An embedding set as read back from disk."""

    embeddings: np.ndarray  # (N, D) float32 or float16, memory-mapped
    labels: np.ndarray  # (N,) str
    ids: np.ndarray  # (N,) str
    roles: np.ndarray  # (N,) str: query, gallery or both
    logits: np.ndarray | None  # (N, C) float32
    meta: dict[str, Any]


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
        BenchError: the run is not trained to its end, or its data or weights changed since.
    """
    facts = checked_facts(run)
    items = items or load_items(run.experiment.data)
    run.check_origin(facts, items.data_hash)
    folder = run.embeddings(split)
    if force or not is_current(folder, run, facts, items):
        write_embedding_set(folder, run, facts, items, split, reporter)
    return folder


def checked_facts(run: Run) -> dict[str, Any]:
    """Return the facts of a complete training whose weights lie there as it wrote them."""
    facts = run.facts()
    if sha256_of(run.weights) != facts["checkpoint_sha256"]:
        raise BenchError(f"{run.weights} is not what training wrote; add --force to train again")
    return facts


def write_embedding_set(
    folder: Path,
    run: Run,
    facts: dict[str, Any],
    items: ItemTable,
    split: Split,
    reporter: Reporter,
) -> None:
    """Embed a split of any items with a trained run and write the set into a folder."""
    experiment = run.experiment
    protocol = _protocol(run, facts, items)
    frame = items.split(split)
    if frame.empty:
        raise BenchError(f"{run.folder}: its data have no {split} items; see data.validation")
    embeddings, logits = _forward(run, facts, items, split, reporter)
    embeddings, logits, frame = average_groups(
        embeddings, logits, frame, normalize=experiment.model.normalize
    )
    embeddings = _stored(embeddings, experiment.evaluation.storage)
    known = set(facts["classes"])
    listing = frame[["path", "label", "role"]].rename(columns={"path": "id"})
    (folder / "meta.json").unlink(missing_ok=True)
    write_atomically(folder / "embeddings.npy", lambda stream: np.save(stream, embeddings))
    (folder / "logits.npy").unlink(missing_ok=True)
    if logits is not None and known.issuperset(frame["label"]):
        write_atomically(folder / "logits.npy", lambda stream: np.save(stream, logits))
    write_text(folder / "items.csv", listing.to_csv(index=False, lineterminator="\n"))
    write_json(
        folder / "meta.json",
        {
            "schema": EMBEDDING_SCHEMA,
            "split": split,
            "protocol_fingerprint": fingerprint(protocol),
            "training_digest": experiment.training_digest(),
            "checkpoint_sha256": facts["checkpoint_sha256"],
            "data_hash": items.data_hash,
            "classes": facts["classes"],
            **_hashes(folder),
            "versions": versions(),
        },
    )


def _protocol(run: Run, facts: dict[str, Any], items: ItemTable) -> dict[str, Any]:
    """Return the run's protocol on the items that are embedded."""
    return protocol_of(run.experiment, {**facts, "data_hash": items.data_hash})


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


def embed_queries(run: Run, images: Mapping[str, Image.Image]) -> np.ndarray:
    """Return the (N, D) float32 embeddings of any images by name, made as those of test items.

    Raises:
        BenchError: the run is not trained to its end, or its weights changed since.
    """
    facts = checked_facts(run)
    listing = pd.DataFrame({"path": list(images), "label": "", "split": "test", "role": "query"})
    items = ItemTable("images", listing, images.__getitem__, data_hash="")
    return _forward(run, facts, items, "test", Reporter(quiet=True))[0]


def _hashes(folder: Path) -> dict[str, str]:
    files = [folder / name for name in ("embeddings.npy", "items.csv", "logits.npy")]
    return {f"{file.stem}_sha256": sha256_of(file) for file in files if file.exists()}


def is_current(folder: Path, run: Run, facts: dict[str, Any], items: ItemTable) -> bool:
    """Tell whether a whole embedding set of these weights, items and protocol lies there."""
    try:
        meta = read_embedding_set(folder).meta
    except BenchError:
        return False
    made_by = ("checkpoint_sha256", "training_digest", "protocol_fingerprint")
    return tuple(meta.get(key) for key in made_by) == (
        facts["checkpoint_sha256"],
        run.experiment.training_digest(),
        fingerprint(_protocol(run, facts, items)),
    )


def _forward(
    run: Run, facts: dict[str, Any], items: ItemTable, split: Split, reporter: Reporter
) -> tuple[np.ndarray, np.ndarray | None]:
    experiment = run.experiment
    device = resolve_device(experiment.train.device)
    make_deterministic(experiment.train.threads)
    network, objective = load_network(run, facts)
    measured = experiment.evaluation
    images = image_set(items, split, experiment.input, training=False, crops=measured.crops)
    with reporter.bar(f"{run.name}: read images", len(images)) as bar:
        images.load(lambda done, _total: bar.to(done))
    embeddings = np.empty((len(images), network.embedding_dim), dtype=np.float32)
    logits: np.ndarray | None = None
    with torch.inference_mode(), reporter.bar(f"{run.name}: embed", len(images)) as bar:
        for rows, views in embedding_batches(images, measured.batch_size, flip=measured.flip):
            embedded, seen = [], []
            for view in views:
                features, embedding = network(view.to(device, non_blocking=True))
                embedded.append(embedding)
                seen.append(objective.logits(features, embedding))
            mean = aggregated(embedded, measured, normalize=network.normalize)
            embeddings[rows] = mean.float().cpu().numpy()
            scores = mean_logits(seen)
            if scores is not None:
                if logits is None:
                    logits = np.empty((len(images), scores.shape[1]), dtype=np.float32)
                logits[rows] = scores.float().cpu().numpy()
            bar.to(rows.stop)
    return embeddings, logits


def load_network(run: Run, facts: dict[str, Any]) -> tuple[EmbeddingNetwork, Objective]:
    """Return a run's trained network and objective, on its device, in evaluation mode."""
    # The weights come from the run, so the file training started from is not needed here.
    bare = run.experiment.model_copy(
        update={"model": run.experiment.model.model_copy(update={"weights": None})}
    )
    network, objective = new_model(bare, len(facts["classes"]))
    tensors = safetensors.torch.load(run.weights.read_bytes())
    for part, module in (("network", network), ("objective", objective)):
        prefix = f"{part}."
        module.load_state_dict(
            {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
        )
    device = resolve_device(run.experiment.train.device)
    return network.to(device).eval(), objective.to(device).eval()


def read_embedding_set(folder: Path) -> EmbeddingSet:
    """Read an embedding set and check that its parts belong together.

    Raises:
        BenchError: a part is missing, has another length, or is not the array meta.json names.
    """
    meta = read_json(folder / "meta.json")
    array = folder / "embeddings.npy"
    embeddings = read_array(array)
    described = {key: meta[key] for key in _HASHED if key in meta} if isinstance(meta, dict) else {}
    if _hashes(folder) != described:
        raise BenchError(f"{folder}: the files are not those that meta.json describes; embed again")
    items = pd.read_csv(folder / "items.csv", dtype=str, keep_default_na=False)
    if len(items) != len(embeddings):
        raise BenchError(
            f"{folder}: embeddings.npy has {len(embeddings)} rows but items.csv has {len(items)}; "
            "embed again"
        )
    scores = folder / "logits.npy"
    return EmbeddingSet(
        embeddings=embeddings,
        labels=items["label"].to_numpy(dtype=str),
        ids=items["id"].to_numpy(dtype=str),
        roles=items["role"].to_numpy(dtype=str),
        logits=read_array(scores) if scores.exists() else None,
        meta=meta,
    )


def read_array(path: Path) -> np.ndarray:
    """Open a ``.npy`` file memory-mapped; anything else in it is a `BenchError`."""
    try:
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise BenchError(f"{path}: there is no such file") from None
    except (OSError, ValueError, EOFError) as error:
        raise BenchError(f"{path}: is not a NumPy array file ({error})") from None
    return check_array(path, array)


def check_array(path: Path, array: np.ndarray) -> np.ndarray:
    """Return a file's array if it is (N, D) numbers."""
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise BenchError(
            f"{path}: holds {array.dtype} of shape {array.shape}; (N, D) numbers are expected"
        )
    return array
