"""Encoded inputs: what the frozen part of a network makes of the views of some images.

Each view is computed once, and kept by the content of its image: see `store`. A row's bytes depend
on its view alone, not on which others are computed with it nor on what was kept before: batches
have one size, the last is filled up.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import numpy as np
import torch

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.datasets import ItemTable, Split
from stt_bench.benchmark.datasets.batches import Inputs
from stt_bench.benchmark.datasets.image_set import Crops, ImageSet, image_set
from stt_bench.benchmark.datasets.threads import Progress
from stt_bench.benchmark.features.store import FeatureStore, open_store
from stt_bench.benchmark.features.vector_set import VectorSet
from stt_bench.benchmark.models import EmbeddingNetwork
from stt_bench.benchmark.models.names import resolve
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.progress import Reporter

BATCH = 32  # views that are computed at once
_FORMAT = 1  # another one where a row of the same key would be another, or lie otherwise
_KEPT_EVERY = 2048  # views after which what is computed is written
_TRIED = 3  # kept rows that are computed again
_PACKAGES = ("torch", "torchvision", "timm", "numpy", "pillow")


def inputs_of(
    items: ItemTable,
    split: Split,
    experiment: Experiment,
    network: EmbeddingNetwork,
    *,
    training: bool,
    crops: Crops = "center",
    flip: bool = False,
    reporter: Reporter | None = None,
) -> Inputs:
    """Return what a network takes of the items of a split: images, or encoded where it is cut.

    Args:
        items: with the split.
        split: the items' part.
        experiment: how images are prepared.
        network: that takes them.
        training: the random views of training, where the experiment has any.
        crops: of the views that are embedded.
        flip: whether each of those is embedded mirrored as well.
        reporter: is told of features on disk that cannot be used.
    """
    if items.vectors is not None:
        return VectorSet(items.vectors, items.split(split)["path"].tolist())
    images = image_set(items, split, experiment.input, training=training, crops=crops)
    if network.cut is None:
        return images
    return EncodedSet(images, experiment, network, flip=flip, reporter=reporter)


class EncodedSet:
    """The encoded views of an image set's images."""

    def __init__(
        self,
        images: ImageSet,
        experiment: Experiment,
        network: EmbeddingNetwork,
        *,
        flip: bool = False,
        reporter: Reporter | None = None,
    ) -> None:
        """Choose the images; nothing is computed yet."""
        self.images, self.network, self.flip = images, network, flip
        self._reporter = reporter or Reporter(quiet=True)
        self._fixed = images.config.views if images.training else None
        self.key = key_of(images, experiment, network)
        self._rows: np.ndarray | None = None
        self._places = np.empty((0, 0), dtype=np.int64)

    @property
    def is_random(self) -> bool:
        """Tell whether one of several fixed views is drawn."""
        return self._fixed is not None

    @property
    def in_memory(self) -> bool:
        """Tell that nothing has to be read once it is loaded; what is kept on disk is mapped."""
        return True

    @property
    def costly(self) -> bool:
        """Tell that rows are only moved."""
        return False

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    def load(self, progress: Progress | None = None) -> bool:
        """Compute the views that are not kept.

        Raises:
            BenchError: an image cannot be read.
        """
        if self._rows is not None or not len(self):
            return True
        names, contents = self._names(), self._contents()
        store = open_store(self.key) if contents is not None else FeatureStore(self.key, None)
        if contents is None:
            contents = [str(row).encode() for row in range(len(self))]
        ids = [[_id(content, name) for name in names] for content in contents]
        flat = [one for row in ids for one in row]
        missing = store.missing(flat, self._reporter)
        if not store.tried and not self._tried(store, ids, missing):
            self._reporter.warn(
                f"{store.folder}: its features are not those that this machine computes; all are "
                "computed again"
            )
            store.discard()
            missing = set(flat)
        self._compute(store, ids, missing, progress)
        rows, places = store.find(flat)
        self._rows = np.asarray(rows)  # a memory map without numpy's own class, which is slow
        self._places = places.reshape(len(self), len(names))
        if progress is not None:
            progress(len(self), len(self))
        return True

    def check(self, progress: Progress | None = None) -> None:
        """Compute the views that are not kept."""
        self.load(progress)

    def batch(
        self,
        rows: np.ndarray,
        rng: np.random.Generator | None = None,
        part: slice | None = None,
    ) -> torch.Tensor:
        """Return the encoded views of some rows, one each; of several fixed ones, one is drawn.

        They are drawn for all rows; where a part of these is named, only its are returned.
        """
        self.load()
        assert self._rows is not None
        drawn = np.zeros(len(rows), np.int64)
        if rng is not None and self._fixed is not None:
            drawn = rng.integers(0, self._fixed, len(rows))
        places = self._places[rows, drawn][part or slice(None)]
        return torch.from_numpy(self._rows[places])

    def views(self, rows: np.ndarray, *, flip: bool = False) -> list[torch.Tensor]:
        """Return the encoded views of some rows."""
        self.load()
        assert self._rows is not None
        assert flip == self.flip
        return [torch.from_numpy(self._rows[places]) for places in self._places[rows].T]

    def _names(self) -> list[str]:
        """Return what tells the views of an image apart."""
        if self._fixed is not None:
            return [f"fixed {number}" for number in range(self._fixed)]
        crops = [f"corner {number}" for number in range(4)] if self.images.five else []
        crops.append("center")
        return [*crops, *(f"{crop} mirrored" for crop in crops)] if self.flip else crops

    def _contents(self) -> list[bytes] | None:
        items, paths = self.images.items, self.images.paths
        key = ("contents", hashlib.sha256("\n".join(paths).encode()).digest())
        if key not in items.prepared:
            items.prepared[key] = items.contents(paths)
        found: list[bytes] | None = items.prepared[key]
        return found

    def _compute(
        self,
        store: FeatureStore,
        ids: Sequence[Sequence[bytes]],
        missing: set[bytes],
        progress: Progress | None,
    ) -> None:
        """Compute the views that are missing, and keep them."""
        if not missing:
            return
        todo: dict[bytes, tuple[int, int]] = {}
        for row, views in enumerate(ids):
            for number, one in enumerate(views):
                if one in missing:
                    todo.setdefault(one, (row, number))
        if self.images.items.arrays is not None:
            self.images.load()
        wanted, places = list(todo), list(todo.values())
        for start in range(0, len(wanted), _KEPT_EVERY):
            found: list[np.ndarray] = []
            try:
                for at in range(start, min(start + _KEPT_EVERY, len(wanted)), BATCH):
                    found.append(self._encoded(places[at : min(at + BATCH, start + _KEPT_EVERY)]))
                    if progress is not None:
                        progress(min(at + BATCH, len(wanted)) * len(self) // len(wanted), len(self))
            finally:  # stopped, it goes on from here
                if found:
                    done = np.concatenate(found)
                    store.add(wanted[start : start + len(done)], done)
        if store.no_room is not None:
            self._reporter.warn(f"frozen features stay in memory: {store.no_room}")

    def _tried(
        self, store: FeatureStore, ids: Sequence[Sequence[bytes]], missing: set[bytes]
    ) -> bool:
        """Tell whether some kept rows are what is computed now."""
        kept = [
            (row, number)
            for row, views in enumerate(ids)
            for number, one in enumerate(views)
            if one not in missing
        ]
        if not kept:
            return True
        store.tried = True
        seed = np.frombuffer(hashlib.sha256(b"".join(ids[0])).digest(), dtype="<u4").tolist()
        drawn = np.random.default_rng(seed).choice(len(kept), min(_TRIED, len(kept)), replace=False)
        chosen = [kept[at] for at in sorted(drawn.tolist())]
        rows, places = store.find([ids[row][number] for row, number in chosen])
        now = self._encoded(chosen)
        return now.shape[1:] == rows.shape[1:] and now.tobytes() == rows[places].tobytes()

    def _encoded(self, places: Sequence[tuple[int, int]]) -> np.ndarray:
        """Return the encoded views (row, number) of at most `BATCH` places."""
        try:
            views = self._views(places)
        except BenchError:
            self.images.check()  # tells of all images that cannot be read
            raise
        filled = torch.cat([views, views[:1].expand(BATCH - len(views), -1, -1, -1)])
        device = self.network.mean.device
        rows = self.network.encode(filled.to(device, memory_format=torch.channels_last))
        return rows[: len(views)].float().contiguous().cpu().numpy()

    def _views(self, places: Sequence[tuple[int, int]]) -> torch.Tensor:
        if self._fixed is not None:
            return torch.cat([self.images.view(row, number) for row, number in places])
        rows = list(dict.fromkeys(row for row, _ in places))
        views = self.images.views(np.array(rows), flip=self.flip)
        at = {row: place for place, row in enumerate(rows)}
        return torch.stack([views[number][at[row]] for row, number in places])


def key_of(images: ImageSet, experiment: Experiment, network: EmbeddingNetwork) -> dict[str, Any]:
    """Return all that a row depends on but the content of its image."""
    cut, device = network.cut, network.mean.device
    assert cut is not None
    config = images.config
    unused = set() if images.training and config.views else {"crop", "flip", "resize_max"}
    cuda = device.type == "cuda"
    machine = (
        torch.cuda.get_device_name(device) if cuda else torch.backends.cpu.get_cpu_capability()
    )
    return {
        "format": _FORMAT,
        "network": "/".join(resolve(experiment.model.backbone)),
        "layer": cut.name,
        "features": experiment.model.features,
        "weights": cut.weights_sha256(network.backbone.net),
        "input": config.model_dump(mode="json", exclude={"views", "mean", "std", *unused}),
        "mean": network.mean.flatten().tolist(),
        "std": network.std.flatten().tolist(),
        "bits": images.items.bits,
        "dtype": "float32",
        "batch": BATCH,
        "threads": torch.get_num_threads(),
        "machine": machine,
        **({"tf32": torch.backends.cudnn.allow_tf32} if cuda else {}),
        "versions": {name: metadata.version(name) for name in _PACKAGES},
    }


def _id(content: bytes, view: str) -> bytes:
    return hashlib.sha256(content + view.encode()).digest()
