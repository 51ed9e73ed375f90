"""Backbones by name: `small_cnn`, or a classifier of torchvision or timm without its last layer."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from stt_bench.benchmark.config.sections import InputConfig, ModelConfig
from stt_bench.benchmark.models.feature_maps import features_and_map
from stt_bench.benchmark.models.names import IDENTITY, Library, backbone_names, resolve
from stt_bench.benchmark.models.small_cnn import SmallCNN
from stt_bench.benchmark.models.weights import (
    hub_reachable_or_offline,
    library_tag,
    weights_file,
    weights_id,
)
from stt_bench.benchmark.models.weights_file import first_line, load_strictly, read_weights
from stt_bench.benchmark.system.errors import BenchError

__all__ = ["Backbone", "backbone_names", "build_backbone", "weights_id"]

NO_WIDTH = 64
"""Values of a vector where no data say how many there are."""
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Backbone(nn.Module):
    """Normalised images (B, C, S, S) -> pooled features (B, feature_dim).

    `mean` and `std`, one value per channel of pixels in [0, 1], are what the backbone's images
    should be normalised with. A backbone of three channels repeats the one of a grey image.
    `map_dim` is the number of values in the last feature map of an image, where one was asked for.
    """

    def __init__(
        self,
        net: nn.Module,
        feature_dim: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        map_dim: int | None = None,
    ) -> None:
        """Take a module that returns pooled features."""
        super().__init__()
        self.net = net
        self.feature_dim = feature_dim
        self.map_dim = map_dim
        self.mean = mean
        self.std = std

    def forward(self, images: Tensor, *, encoded: bool = False) -> Tensor:
        """Return the features of normalised images, or of the map that a frozen part gave."""
        features: Tensor = self.net(images if encoded else self._in_colour(images))
        return features

    def with_map(self, images: Tensor, *, encoded: bool = False) -> tuple[Tensor, Tensor]:
        """Return the features and the last feature map, flattened: (B, feature_dim), (B, map_dim).

        The values of the map follow each other channel by channel, row by row.
        """
        images = images if encoded else self._in_colour(images)
        features, feature_map = features_and_map(self.net, images)
        return features, feature_map.flatten(1)

    def _in_colour(self, images: Tensor) -> Tensor:
        return images.expand(-1, len(self.mean), -1, -1)


class _Parts(NamedTuple):
    net: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]
    removed: tuple[str, ...]
    """Modules that a weights file may hold beyond those of `net`: the classifier."""


def build_backbone(model: ModelConfig, input: InputConfig, width: int | None = None) -> Backbone:
    """Build the backbone of a config with the weights it names.

    Random weights come from torch's global generator: seed it first. ``identity`` takes vectors of
    `width` values in place of images, and has none.
    """
    library, name = resolve(model.backbone)
    if name == IDENTITY:
        return Backbone(nn.Identity(), width or NO_WIDTH, (0.0,), (1.0,))
    from_file = weights_file(model)
    tag = library_tag(model) if from_file is None else None
    parts = _build(library, name, input, tag)
    if from_file is not None:
        load_strictly(parts.net, read_weights(from_file), parts.removed, from_file)
    feature_dim, map_dim = _output_sizes(parts, model, input.size)
    return Backbone(parts.net, feature_dim, parts.mean, parts.std, map_dim)


def _build(library: Library, name: str, input: InputConfig, tag: str | None) -> _Parts:
    try:
        if library == "torchvision":
            return _torchvision(name, input.size, tag)
        if library == "timm":
            return _timm(name, input.size, pretrained=tag is not None)
        half = (0.5,) * input.channels
        return _Parts(SmallCNN(input.channels, input.size), mean=half, std=half, removed=())
    except BenchError:
        raise
    except OSError as error:
        raise BenchError(
            f"model.weights: the pretrained weights {tag} could not be fetched "
            f"({first_line(error)}); put the file into a `weights` folder as {name}.safetensors "
            "(or .pth), or name a local file as model.weights"
        ) from error
    except Exception as error:  # the libraries raise what they like on sizes they do not take
        raise BenchError(
            f"model.backbone: cannot build {library}'s {name} for input.size {input.size}: "
            f"{first_line(error)}"
        ) from error


def _torchvision(name: str, size: int, tag: str | None) -> _Parts:
    import torchvision

    options: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):
        # Its weights, downloaded or from a file, expect this; random ones do not mind.
        options = {"transform_input": True, "init_weights": tag is None}
    elif name.startswith("vit_"):
        options = {"image_size": size}
    elif name.startswith("maxvit_"):
        options = {"input_size": (size, size)}
    weights = tag.removeprefix("torchvision:") if tag else None
    net = torchvision.models.get_model(name, weights=weights, **options)
    auxiliary = ("aux1", "aux2", "AuxLogits")
    for head in auxiliary:
        if hasattr(net, head):
            net.aux_logits = False
            setattr(net, head, None)
    removed = (_remove_classifier(net, name), *auxiliary)
    return _Parts(net, mean=IMAGENET_MEAN, std=IMAGENET_STD, removed=removed)


def _remove_classifier(net: nn.Module, name: str) -> str:
    """Replace the final linear layer, and a dropout right before it; return the layer's name."""
    leaves = [(path, module) for path, module in net.named_modules() if not any(module.children())]
    path, last = leaves[-1]
    if not isinstance(last, nn.Linear):
        raise BenchError(
            f"model.backbone: {name} does not end in a linear classifier, "
            "so it has no pooled features to take; choose another backbone"
        )
    net.set_submodule(path, nn.Identity())
    before, module = leaves[-2]
    if isinstance(module, nn.Dropout):
        net.set_submodule(before, nn.Identity())
    return path


def _timm(name: str, size: int, *, pretrained: bool) -> _Parts:
    import timm
    from timm.models import get_pretrained_cfg

    known = get_pretrained_cfg(name)
    assert known is not None  # every registered architecture has one
    resized = known.fixed_input_size and known.input_size[-1] != size
    options: dict[str, Any] = {"img_size": size} if resized else {}
    with hub_reachable_or_offline() if pretrained else nullcontext():
        net = timm.create_model(name, pretrained=pretrained, num_classes=0, **options)
    classifier = known.classifier or ()
    return _Parts(
        net,
        mean=tuple(known.mean),
        std=tuple(known.std),
        removed=(classifier,) if isinstance(classifier, str) else tuple(classifier),
    )


def _output_sizes(parts: _Parts, model: ModelConfig, size: int) -> tuple[int, int | None]:
    """Return the width of the features, and of the flattened map where the head stands on it.

    One blank image goes through; it also proves that the size suits.
    """
    flattened = model.features == "flattened"
    blank = torch.zeros(1, len(parts.mean), size, size)
    parts.net.eval()
    try:
        with torch.no_grad():
            if flattened:
                features, feature_map = features_and_map(parts.net, blank)
            else:
                features, feature_map = parts.net(blank), None
    except Exception as error:
        raise BenchError(
            f"input.size: {model.backbone} does not take images of {size} pixels: "
            f"{first_line(error)}"
        ) from error
    parts.net.train()
    if not isinstance(features, Tensor) or features.ndim != 2:
        raise BenchError(
            f"model.backbone: {model.backbone} does not return one feature vector an image; "
            "choose another backbone"
        )
    if not flattened:
        return features.shape[1], None
    if not isinstance(feature_map, Tensor) or feature_map.ndim != 4:
        raise BenchError(
            f"model.features: {model.backbone} pools no feature map that could be flattened; "
            "use `features: pooled` or a convolutional backbone"
        )
    return features.shape[1], feature_map.numel()
