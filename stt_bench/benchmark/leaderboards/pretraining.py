"""Which images starting weights have seen, and which test sets those are known to contain.

A small table of known pairs, each with its source. That a pair is missing here does not mean that
the sets have no photo in common.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_OF_FILES = {
    "3c78b436c42fed0f": "timm:tf_efficientnet_lite0.in1k",
    "57fa2d5d0a66461c": "timm:tf_efficientnet_lite2.in1k",
    "44ea6306a6b51295": "timm:mobilenetv2_100.in1k",
}
"""Weights files by the first digits of their sha256, as the libraries name what they hold."""

_SETS = {
    "ImageNet-1k": r"in1k|imagenet1k",
    "ImageNet-21k": r"in21k|in22k|in12k|imagenet21k",
    "web images": r"laion|openai|clip|webli|datacomp|dfn|merged2b|yfcc|ig1b|swag|jft|lvd|seer",
}
"""Pretraining sets, and what names them in the tags of torchvision and timm."""


class Overlap(NamedTuple):
    """What is known of a pretraining set and a test set."""

    told: str
    source: str


_BIRDS = Overlap(
    "the authors of CUB-200-2011 warn that it shares photos with ImageNet; 22 of the 5,794 test "
    "photos of its classification split were found in ImageNet's training set",
    "https://guopei.github.io/2016/Overlap-Between-Imagenet-And-CUB/",
)
_DOGS = Overlap(
    "Stanford Dogs was made of ImageNet's photos and labels: the test photos and classes are known "
    "from pretraining",
    "http://vision.stanford.edu/aditya86/ImageNetDogs/",
)
_NABIRDS = Overlap(
    "59 of ImageNet-1k's classes are birds, many of them of NABirds' species: kinds of bird are "
    "known from pretraining; whether photos are shared is not",
    "the class list of ILSVRC-2012, classes 7 to 24, 80 to 100 and 127 to 146 from 0",
)
_FLOWERS = Overlap(
    "two of ImageNet-1k's classes are flowers, daisy and yellow lady's slipper, of which the first "
    "is near oxeye daisy of the 102; whether photos are shared is not known",
    "the class list of ILSVRC-2012, and www.robots.ox.ac.uk/~vgg/data/flowers/102/categories.html",
)
_CARS = Overlap(
    "ImageNet-1k tells cars by their kind (convertible, sports car, minivan, jeep and others), not "
    "by make and model; whether photos are shared is not known",
    "the class list of ILSVRC-2012; Krause et al. 2013, 3D Object Representations for Fine-Grained "
    "Categorization",
)
_AIRCRAFT = Overlap(
    "ImageNet-1k has airliner and warplane and no models of aircraft; whether photos are shared is "
    "not known",
    "the class list of ILSVRC-2012; Maji et al. 2013, arXiv:1306.5151",
)
_DRAWN = Overlap(
    "Omniglot's characters were drawn for it in strokes on a screen, and ImageNet holds photos: "
    "they share nothing",
    "Lake et al. 2015, Science 350, 1332",
)
_SCANNED = Overlap(
    "the digits are scans of handwriting at 8 × 8 pixels, and ImageNet holds photos: they share "
    "nothing",
    "Alpaydin and Kaynak 1998, UCI repository, Optical Recognition of Handwritten Digits",
)
_WEB = Overlap(
    "photos taken from the web may contain any public test set: the authors of CLIP found a median "
    "of 2.2 % of the test images of 35 data sets in theirs",
    "Radford et al. 2021, section 5, arXiv:2103.00020",
)
_PHOTOS = [
    "aircraft",
    "cars196",
    "cub200",
    "cub50",
    "dogs",
    "flowers102",
    "inshop",
    "inshop_merged",
    "nabirds",
    "sop",
]
_IMAGENETS = ("ImageNet-1k", "ImageNet-21k")  # the first is a part of the second

KNOWN: dict[tuple[str, str], Overlap] = {
    **{(of, name): _BIRDS for of in _IMAGENETS for name in ("cub200", "cub50")},
    **{(of, "dogs"): _DOGS for of in _IMAGENETS},
    **{(of, name): _DRAWN for of in _IMAGENETS for name in ("omniglot", "omniglot_mini")},
    **{(of, "digits"): _SCANNED for of in _IMAGENETS},
    ("ImageNet-1k", "nabirds"): _NABIRDS,
    ("ImageNet-1k", "flowers102"): _FLOWERS,
    ("ImageNet-1k", "cars196"): _CARS,
    ("ImageNet-1k", "aircraft"): _AIRCRAFT,
    **{("web images", name): _WEB for name in _PHOTOS},
}
"""Of (pretraining set, dataset) what is known."""


def pretraining_sets(weights: str) -> list[str] | None:
    """Return the sets that weights were pretrained on; None where that is not known.

    Args:
        weights: as a protocol names them (see `models.weights_id`), not ``random``.
    """
    tag = _held_by(weights).lower()
    return [of for of, pattern in _SETS.items() if re.search(pattern, tag)] or None


def _held_by(weights: str) -> str:
    """Return the library's name of what a weights file holds; of other weights their own."""
    kind, _, name = weights.partition(":")
    return _OF_FILES.get(name, "") if kind == "file" else weights


def pretraining_note(weights: str, dataset: str) -> str:
    """Return the sentences on what starting weights may know of a dataset's test images."""
    sets = pretraining_sets(weights)
    if sets is None:
        return (
            f"Starting weights {weights}: what they were pretrained on is not known, so the test "
            "images may have been part of it."
        )
    file = f" ({weights})" if weights.startswith("file:") else ""
    named = f"Starting weights {_held_by(weights)}{file}, pretrained on {' and '.join(sets)}"
    known = dict.fromkeys(KNOWN[of, dataset] for of in sets if (of, dataset) in KNOWN)
    if not known:
        of = "these images" if dataset in ("images", "clips") else dataset
        return (
            f"{named}: no photo in common with {of} is known, which does not mean that there is "
            "none."
        )
    return f"{named}: " + "; ".join(f"{one.told} ({one.source})" for one in known) + "."
