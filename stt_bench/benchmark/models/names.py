"""Backbone names: which exist, and which library a name belongs to."""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import cache
from typing import Literal

from stt_bench.benchmark.system.errors import BenchError
from stt_bench.names import did_you_mean

Library = Literal["own", "torchvision", "timm"]

SMALL_CNN = "small_cnn"
IDENTITY = "identity"

_OTHER_NAMES = {
    "inc3": "inception_v3",
    "inc4": "inception_v4",
    "inception_v1": "googlenet",
    "mobilenet_1_1_224": "timm/mobilenetv1_100",
    "mobilenet_v1": "timm/mobilenetv1_100",
    "mobilenet_v1_1.0_224": "timm/mobilenetv1_100",
    "mobilenet_v1_1_224": "timm/mobilenetv1_100",
    "resnet_v1_50": "resnet50",
    "resnet_v1_101": "resnet101",
    "resnet_v2_50": "timm/resnetv2_50",
    "resnet_v2_101": "timm/resnetv2_101",
}
"""TF-slim's names, for hints: close to ours in writing, some closest to that of another network."""


def backbone_names(pattern: str = "*") -> list[str]:
    """Return the names a config may use: our own first, then torchvision's, then timm's.

    A shell pattern (``resnet*``) selects among the names with and without their ``timm/``.
    """
    names = [
        SMALL_CNN,
        IDENTITY,
        *_torchvision_names(),
        *(f"timm/{name}" for name in _timm_names()),
    ]
    return [
        name
        for name in names
        if fnmatchcase(name, pattern) or fnmatchcase(name.removeprefix("timm/"), pattern)
    ]


def resolve(backbone: str) -> tuple[Library, str]:
    """Return the library of a backbone and its name there.

    A plain name is torchvision's where torchvision has it, else timm's; ``torchvision/NAME`` and
    ``timm/NAME`` force one. A timm name may end in a weights tag: ``timm/resnet50.a1_in1k``.
    """
    if backbone in (SMALL_CNN, IDENTITY):
        return "own", backbone
    library, _, name = backbone.rpartition("/")
    if library in ("", "torchvision") and name in _torchvision_names():
        return "torchvision", name
    if library in ("", "timm") and name.partition(".")[0] in _timm_names():
        _check_tag(name)
        return "timm", name
    raise BenchError(f"model.backbone: no backbone is named '{backbone}': {_hint(backbone)}")


def _hint(backbone: str) -> str:
    known = _OTHER_NAMES.get(backbone.rpartition("/")[2])
    if known is not None:
        return f"did you mean '{known}'?"
    valid = {SMALL_CNN, IDENTITY, *_torchvision_names(), *_timm_names()}
    valid.update(f"torchvision/{name}" for name in _torchvision_names())
    valid.update(f"timm/{name}" for name in _timm_names())
    hint = did_you_mean(backbone, valid)
    return hint if hint.startswith("did you mean") else "`stt-bench list backbones` shows them all"


def _check_tag(name: str) -> None:
    import timm

    architecture, _, tag = name.partition(".")
    if not tag:
        return
    tagged = timm.list_models(f"{architecture}.*", include_tags=True)
    if name not in tagged:
        raise BenchError(
            f"model.backbone: timm has no weights tag '{tag}' for {architecture}: "
            f"{did_you_mean(name, tagged)}"
        )


@cache
def _torchvision_names() -> tuple[str, ...]:
    import torchvision

    return tuple(torchvision.models.list_models(module=torchvision.models))


@cache
def _timm_names() -> tuple[str, ...]:
    import timm

    return tuple(timm.list_models())
