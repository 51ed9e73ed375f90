"""An embedding set: a folder with the embeddings of a split, and what they are of.

``embeddings.npy`` (N × D float32, or float16 where the config stores so), ``items.csv``
(``id,label,role``, then a column for each metadata of the items), ``logits.npy`` (N × C float32,
where a classifier knows the labels) and ``meta.json``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from stt_bench.benchmark.store.duplicates import DuplicateItems
from stt_bench.benchmark.system.arrays import read_array
from stt_bench.benchmark.system.atomic import write_atomically
from stt_bench.benchmark.system.errors import BenchError, ItemsError
from stt_bench.benchmark.system.files import (
    read_model,
    sha256_of,
    write_json,
    write_text,
)
from stt_bench.names import did_you_mean

EMBEDDING_SCHEMA = 1
_ITEM_COLUMNS = {"path": "id", "label": "label", "role": "role"}
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
    metadata: pd.DataFrame = field(default_factory=pd.DataFrame)  # (N) rows of str
    listed_in: Path | None = None  # the list of labels and metadata, where it is a file of its own
    places: np.ndarray | None = None  # (N,) rows of the file of embeddings, where not all in order

    def column(self, name: str) -> np.ndarray:
        """Return (N,) str, a metadata column.

        Raises:
            ItemsError: there is none of that name.
        """
        if name not in self.metadata:
            raise ItemsError(
                f"the items have no column '{name}': {did_you_mean(name, self.metadata.columns)}"
                if len(self.metadata.columns)
                else f"the items have no column '{name}', and no metadata at all: a list of the "
                "data brings it as a further column"
            )
        return self.metadata[name].to_numpy(dtype=str)

    def rows(self, kept: np.ndarray) -> EmbeddingSet:
        """Return the set of some items: a mask (N,) of bool, or their places."""
        places = np.arange(len(self.ids)) if self.places is None else self.places
        return replace(
            self,
            places=places[kept],
            embeddings=self.embeddings[kept],
            labels=self.labels[kept],
            ids=self.ids[kept],
            roles=self.roles[kept],
            logits=None if self.logits is None else self.logits[kept],
            metadata=self.metadata.iloc[kept] if len(self.metadata.columns) else self.metadata,
        )


def write_embedding_set(
    folder: Path,
    embeddings: np.ndarray,
    logits: np.ndarray | None,
    items: pd.DataFrame,
    meta: dict[str, Any],
    metadata: Sequence[str] = (),
) -> None:
    """Write an embedding set; ``meta.json``, written last, says that it is whole.

    Args:
        folder: is made where it is missing.
        embeddings: (N, D).
        logits: (N, C) class scores, if there are any.
        items: (N) rows with the columns path, label and role.
        meta: what the embeddings were made of; the hashes of the files are added.
        metadata: further columns of the items that are kept.
    """
    (folder / "meta.json").unlink(missing_ok=True)
    write_atomically(folder / "embeddings.npy", lambda stream: _save(stream, embeddings))
    (folder / "logits.npy").unlink(missing_ok=True)
    if logits is not None:
        write_atomically(folder / "logits.npy", lambda stream: _save(stream, logits))
    table = items[[*_ITEM_COLUMNS, *metadata]].rename(columns=_ITEM_COLUMNS)
    write_text(folder / "items.csv", table.to_csv(index=False, lineterminator="\n"))
    write_json(folder / "meta.json", {"schema": EMBEDDING_SCHEMA, **meta, **_hashes(folder)})


def read_embedding_set(folder: Path) -> EmbeddingSet:
    """Read an embedding set and check that its parts belong together.

    Raises:
        BenchError: a part is missing, has another length, or is not the array meta.json names.
    """
    file = folder / "meta.json"
    meta = read_model(file, _Meta, "the description of an embedding set", "embed again")
    described = {key: value for key in _HASHED if (value := getattr(meta, key)) is not None}
    if _hashes(folder) != described:
        raise BenchError(f"{folder}: the files are not those that meta.json describes; embed again")
    embeddings, scores = read_array(folder / "embeddings.npy"), folder / "logits.npy"
    items = _read_items(folder / "items.csv")
    logits = read_array(scores) if scores.exists() else None
    if len(items) != len(embeddings):
        raise BenchError(
            f"{folder}: embeddings.npy has {len(embeddings)} rows but items.csv has {len(items)}; "
            "embed again"
        )
    if logits is not None:
        fits = logits.shape == (len(items), len(meta.classes))
        if not (fits and items["label"].isin(meta.classes).all()):
            raise BenchError(
                f"{scores}: is not the scores of the items in meta.json's classes; embed again"
            )
    return EmbeddingSet(
        embeddings=embeddings,
        labels=items["label"].to_numpy(dtype=str),
        ids=items["id"].to_numpy(dtype=str),
        roles=items["role"].to_numpy(dtype=str),
        logits=logits,
        meta=meta.model_dump(by_alias=True, exclude_none=True),
        metadata=items.drop(columns=list(_ITEM_COLUMNS.values())),
    )


class _Meta(BaseModel):
    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[1] = Field(alias="schema")
    split: str
    protocol_fingerprint: str
    training_digest: str
    checkpoint_sha256: str
    data_hash: str
    classes: list[str]
    embeddings_sha256: str
    items_sha256: str
    logits_sha256: str | None = None
    versions: dict[str, str]
    near_duplicates: DuplicateItems | None = None
    metadata_sha256: str | None = None  # of the further columns of the items
    channels_last: bool | None = None  # the memory layout that the config asked for
    weighted: bool | None = None  # whether the items it was trained on count by weights


def _read_items(path: Path) -> pd.DataFrame:
    try:
        items = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (ValueError, OSError) as error:  # what pandas raises for a csv is a ValueError
        raise BenchError(f"{path}: cannot be read as csv ({error}); embed again") from None
    if missing := [name for name in _ITEM_COLUMNS.values() if name not in items]:
        raise BenchError(f"{path}: the column '{missing[0]}' is missing; embed again")
    if not items["role"].isin(["query", "gallery", "both"]).all():
        raise BenchError(f"{path}: a role is not query, gallery or both; embed again")
    return items


def _save(stream: IO[bytes], array: np.ndarray) -> None:
    # Into a real file NumPy writes by itself, and does not say why it cannot.
    np.save(SimpleNamespace(write=stream.write), array)


def _hashes(folder: Path) -> dict[str, str]:
    files = [folder / name for name in ("embeddings.npy", "items.csv", "logits.npy")]
    return {f"{file.stem}_sha256": sha256_of(file) for file in files if file.exists()}
