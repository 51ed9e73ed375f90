"""What all rows of a comparison share: network, input, batch and length, by data and hardware."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from stt_bench.benchmark.datasets.items import ItemTable
from stt_bench.benchmark.datasets.training_items import Fold, folds_of
from stt_bench.benchmark.models import check_backbone
from stt_bench.benchmark.models.names import IDENTITY, SMALL_CNN
from stt_bench.benchmark.models.weights import PRETRAINED
from stt_bench.benchmark.system.errors import BenchError

BACKBONE = "timm/tf_efficientnet_lite0"
SIZES = (224, 160, 128, 96, 64)  # pixels, the largest first
DIM = 128
FOLDS, FEWEST_FOLDS = 3, 2
_P, _K = 8, 4
_SMALLEST, _LARGEST_SMALL = 16, 64  # of the small network, which trains from nothing
_THREADS = 4
# At most so many items: so many steps, at most. On the 1,402 of CUB-50 half of the winners of a
# search up to 600 steps had stopped by 300, and the others were better by 0.7 points there.
_STEPS = ((5_000, 300), (20_000, 600), (float("inf"), 1200))
_STEPS_OF_ALL = 600
ROUNDS = 6  # validations of a trial, at most

Trains = Literal["head", "all"]
Sections = dict[str, Any]


@dataclass(frozen=True)
class Wish:
    """What the user asked for; None: as fits the data."""

    backbone: str | None = None
    weights: str | None = None
    size: int | None = None
    trains: Literal["auto", "head", "all"] = "auto"


@dataclass(frozen=True)
class Network:
    """What embeds the items, and whether all of it trains; of vectors the backbone is none."""

    backbone: str
    weights: str | None
    trains: Trains
    threads: int
    why: str

    @property
    def is_frozen(self) -> bool:
        """Tell whether images pass the network once and only the head trains."""
        return self.trains == "head"

    def model(self, dim: int = DIM) -> Sections:
        """Return the section `model`."""
        head = {"head": "linear", "embedding_dim": dim, "normalize": True}
        if self.backbone == IDENTITY:
            return {"backbone": IDENTITY, **head, "head_start": "pca"}
        own: Sections = {"backbone": self.backbone}
        if self.weights is not None:
            own["weights"] = self.weights
        return {**own, **head, **({"head_start": "pca", "freeze": "all"} if self.is_frozen else {})}


def vectors() -> Network:
    """Return the network of vectors: a head alone."""
    return Network(IDENTITY, None, "head", 1, "a head is trained on the vectors as they are")


def network_for_images(wish: Wish) -> Network:
    """Return the network that embeds images.

    Without a GPU only a head trains, on frozen features; with one the whole network does.

    Raises:
        BenchError: there is no such backbone, or a network without weights would stay as it is.
    """
    name = wish.backbone or BACKBONE
    check_backbone(name)
    if name == IDENTITY:
        raise BenchError("--backbone identity takes vectors, and the data are images")
    weights = wish.weights or (None if name == SMALL_CNN else PRETRAINED)
    weights = None if weights == "none" else weights
    if weights is None and wish.trains == "head":
        raise BenchError(
            f"--train head with {name} without weights would learn from random features: give "
            "--weights, or --train all"
        )
    cuda = torch.cuda.is_available()
    trains: Trains = "head" if wish.trains == "head" else "all"
    if wish.trains == "auto" and weights is not None:
        trains = "all" if cuda else "head"
    why = {
        ("head", False): "there is no GPU, so that it stays as it is and a head is trained",
        ("head", True): "it stays as it is and a head is trained",
        ("all", False): "all of it trains, on the CPU",
        ("all", True): "all of it trains, on the GPU",
    }[trains, cuda]
    return Network(name, weights, trains, min(_THREADS, torch.get_num_threads()), why)


def with_a_way_out(error: BenchError) -> BenchError:
    """Add to the sentence on weights that cannot be had what to do without them."""
    if "model.weights" not in str(error):
        return error
    told = str(error).replace("as model.weights", "with --weights").removeprefix("model.weights: ")
    return BenchError(f"{told}; --backbone small_cnn trains a small network from nothing")


def sizes_to_try(network: Network, wish: Wish, side: int) -> list[int]:
    """Return the input sizes that suit images of a shorter side, the largest first.

    None is larger than the images need: the next of `SIZES` above their side is.
    """
    if wish.size is not None:
        return [wish.size]
    if network.backbone == SMALL_CNN:
        return [min(max(side, _SMALLEST), _LARGEST_SMALL)]
    enough = [size for size in SIZES if size >= side]
    return [size for size in SIZES if size <= (min(enough) if enough else SIZES[0])]


def input_of(network: Network, size: int) -> Sections:
    """Return the section `input`: a central crop where images pass the network once."""
    resize = size if network.backbone == SMALL_CNN else round(size * 8 / 7)
    own: Sections = {"size": size, **({"resize": resize} if resize > size else {})}
    return own if network.is_frozen else {**own, "crop": "random", "flip": True}


def folds_for(items: ItemTable) -> list[Fold]:
    """Return the folds of training items: three, or two where three are too many.

    Raises:
        BenchError: with two, too, a fold has too few classes of two items.
    """
    for count in range(FOLDS, FEWEST_FOLDS - 1, -1):
        with suppress(BenchError):
            cut = folds_of(items, "retrieval", count)
            batch_of(cut)
            return cut
    raise BenchError(
        "there are too few classes of two items to learn from in each fold of the search: add "
        "items to the small classes, or let --split made divide the classes anew"
    )


def batch_of(folds: Sequence[Fold]) -> tuple[int, int]:
    """Return P and K: 8 × 4, or what can be drawn from what every fold trains on.

    Raises:
        BenchError: a fold trains on a single class of two items.
    """
    counts = [fold.items.split("train")["label"].value_counts().to_numpy() for fold in folds]
    p = min(_P, *(int((some > 1).sum()) for some in counts))
    if p < 2:
        raise BenchError(
            "a fold of the search trains on a single class of two items: add items to the small "
            "classes"
        )
    several = min(int((some // 2 * 2).sum()) for some in counts)  # a batch may be one of pairs
    return p, _K if p * _K <= several else 2


def dim_of(width: int, folds: Sequence[Fold]) -> int:
    """Return the size of the embedding: 128, or what the features and the smallest fold allow."""
    return min(DIM, width, *(len(fold.trained) - 1 for fold in folds))


def shared_sections(
    network: Network, *, size: int | None, dim: int, batch: tuple[int, int], items: int
) -> Sections:
    """Return the sections of the table that all rows share, but the data.

    Args:
        network: what embeds the items.
        size: of the images.
        dim: of the embedding.
        batch: P and K.
        items: that are learned from; more take longer.
    """
    steps = next(steps for most, steps in _STEPS if items <= most)
    if not network.is_frozen:
        steps = max(steps, _STEPS_OF_ALL)
    length = {"steps": steps, "log_every": 100, "checkpoint_every": steps}
    return {
        **({} if size is None else {"input": input_of(network, size)}),
        "model": network.model(dim),
        "sampler": {"name": "pxk", "p": batch[0], "k": batch[1]},
        "optimizer": {"name": "adam", "lr": 0.001 if network.is_frozen else 0.0001},
        "train": {**length, "threads": network.threads},
        "evaluation": {"ks": [1, 2, 4, 8], "distance": "cosine", "clustering": False},
    }


def search_of(sections: Sections) -> Sections:
    """Return when a trial is validated and ended."""
    return {"every": max(1, sections["train"]["steps"] // ROUNDS), "patience": 2}


def shorter_side(sizes: Sequence[tuple[int, int]]) -> int:
    """Return the median of the shorter sides of some images, pixels."""
    return int(np.median([min(size) for size in sizes])) if len(sizes) else SIZES[0]


def weights_place(weights: str | None) -> str | None:
    """Return a weights file as a table anywhere can name it."""
    if weights in (None, PRETRAINED, "none"):
        return weights
    assert weights is not None
    return str(Path(weights).resolve()) if Path(weights).expanduser().is_file() else weights
