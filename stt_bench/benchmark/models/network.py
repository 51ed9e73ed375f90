"""The network every experiment trains: a backbone, and on what it sees an embedding head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from stt_bench.benchmark.config.sections import InputConfig, ModelConfig
from stt_bench.benchmark.models.backbones import Backbone, build_backbone, weights_id
from stt_bench.benchmark.models.cut import Cut
from stt_bench.benchmark.models.heads import build_head
from stt_bench.benchmark.models.names import IDENTITY
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.names import did_you_mean
from stt_bench.unit_length import unit_length


class EmbeddingNetwork(nn.Module):
    """uint8 images (B, C, S, S) -> (pooled features (B, F), embedding (B, D)).

    In place of images it takes what its frozen part made of them, where it is cut: see `encode`.

    The head stands on the features or, where the backbone has a `map_dim`, on its last feature
    map, flattened. A classifier of two-head training stands on the features and is no part of the
    network. Frozen modules stay in evaluation mode, whatever `train` is told.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: Backbone,
        head: nn.Module,
        *,
        embedding_dim: int,
        mean: Sequence[float],
        std: Sequence[float],
        normalize: bool = False,
    ) -> None:
        """Take a backbone, a head for its features or map, and the statistics of the images."""
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.feature_dim = backbone.feature_dim
        self.embedding_dim = embedding_dim
        self.normalize = normalize
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, -1, 1, 1))
        self.cut: Cut | None = None
        self._frozen: list[nn.Module] = []

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return features and embedding of images, or of what `encode` made of them.

        Both are in float32 also under autocast.
        """
        if images.dtype == torch.uint8:
            features, seen = self._seen(self._normalised(images))
        elif self.cut is None:
            raise TypeError(f"images must be uint8 in 0..255, not {images.dtype}")
        elif self.cut.is_whole:
            features, seen = self._parted(images)
        else:
            with self.cut.skipped():
                features, seen = self._seen(images, encoded=True)
        embedding = _at_least_float32(self.head(seen))
        if self.normalize:
            embedding = unit_length(embedding, divide=True)
        return _at_least_float32(features), embedding

    @torch.inference_mode()
    def encode(self, images: Tensor) -> Tensor:
        """Return what the frozen part before the cut makes of uint8 images, a row for each.

        Where the whole backbone is frozen these are the features, (B, F), and where the head
        stands on the flattened map that map after them; else the map at the cut.
        """
        assert self.cut is not None
        training = self.training
        self.eval()
        try:
            normalised = self._normalised(images)
            if not self.cut.is_whole:
                return self.cut.reach(self.backbone, normalised)
            features, seen = self._seen(normalised)
            return features if self.backbone.map_dim is None else torch.cat([features, seen], dim=1)
        finally:
            self.train(training)

    def _normalised(self, images: Tensor) -> Tensor:
        # One channel against three means gives three: grey images for a backbone of colour.
        return (images / 255 - self.mean) / self.std

    def _seen(self, images: Tensor, *, encoded: bool = False) -> tuple[Tensor, Tensor]:
        """Return the features, and what the head stands on."""
        if self.backbone.map_dim is None:
            features = self.backbone(images, encoded=encoded)
            return features, features
        return self.backbone.with_map(images, encoded=encoded)

    def _parted(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features and what the head stands on, from rows that hold both."""
        if self.backbone.map_dim is None:
            return rows, rows
        return rows[:, : self.feature_dim], rows[:, self.feature_dim :]

    def train(self, mode: bool = True) -> EmbeddingNetwork:
        """Set the mode of everything that is not frozen."""
        self.training = mode
        for part in self.children():
            if not any(part is module for module in self._frozen):
                part.train(mode)
        for module in self._frozen:
            if module.training:
                module.eval()
        return self

    @property
    def frozen(self) -> list[nn.Module]:
        """Return the frozen modules; one of them may be within another."""
        return list(self._frozen)

    @property
    def before_the_cut(self) -> list[str]:
        """Return the names of the tensors of the frozen part that is computed once."""
        if self.cut is None:
            return []
        return [name for name in self.state_dict() if name.startswith(self.cut.prefixes)]

    def freeze(
        self, prefixes: Sequence[str] | Literal["all"] = (), *, batch_norm: bool = False
    ) -> None:
        """Stop modules of the backbone from training: parameters and running statistics stay.

        A prefix is a path of whole names: ``blocks.1`` is that module and all in it, never
        ``blocks.10``; it may also name a single parameter (``pos_embed``). `batch_norm` adds all
        batch norms of the backbone.
        """
        modules = dict(self.backbone.net.named_modules())
        parameters = dict(self.backbone.net.named_parameters())
        if prefixes == "all":
            self._frozen.append(self.backbone)
            prefixes = ()
        for prefix in prefixes:
            if prefix in parameters:
                parameters[prefix].requires_grad_(False)
            elif prefix and prefix in modules:
                self._frozen.append(modules[prefix])
            else:
                raise BenchError(
                    f"model.freeze: the backbone has no module '{prefix}': "
                    f"{_hint(prefix, self.backbone.net)}"
                )
        if batch_norm:
            self._frozen += [m for m in modules.values() if isinstance(m, _BatchNorm)]
        for module in self._frozen:
            module.requires_grad_(False)
        self.train(self.training)


def build_network(
    model: ModelConfig, input: InputConfig, width: int | None = None
) -> EmbeddingNetwork:
    """Build the network of a config; random weights come from torch's global generator.

    Of vectors in place of images, `width` is how many values each has.
    """
    backbone = _backbone(model, input, width)
    embedding_dim = None if model.head == "none" else model.embedding_dim
    network = EmbeddingNetwork(
        backbone,
        build_head(
            model.head, backbone.map_dim or backbone.feature_dim, embedding_dim, model.head_start
        ),
        embedding_dim=embedding_dim or backbone.feature_dim,
        mean=input.mean or backbone.mean,
        std=input.std or backbone.std,
        normalize=model.normalize,
    )
    if model.backbone == IDENTITY:
        network.cut = Cut()
    network.freeze(model.freeze, batch_norm=model.freeze_batch_norm)
    return network


_still: dict[str, Backbone] = {}


def _backbone(model: ModelConfig, input: InputConfig, width: int | None) -> Backbone:
    """Return the backbone of a config; one that stays as its weights file says is built once.

    What the head draws then does not depend on whether the backbone was there already.
    """
    if model.freeze != "all" or model.weights is None:
        return build_backbone(model, input, width)
    key = f"{model.backbone} {weights_id(model)} {model.features} {input.size} {input.channels}"
    if key not in _still:
        with torch.random.fork_rng(devices=[]):
            built = build_backbone(model, input, width)
        _still.clear()
        _still[key] = built
    return _still[key]


def parameter_groups(
    network: EmbeddingNetwork, lr: float, backbone_lr_factor: float = 1.0
) -> list[dict[str, Any]]:
    """Return the optimiser's groups: backbone at lr × factor, head at lr, only what trains.

    A group without parameters is left out, and so is the backbone when the factor is 0.
    """
    groups = [
        {"params": _trained(network.backbone), "lr": lr * backbone_lr_factor},
        {"params": _trained(network.head), "lr": lr},
    ]
    return [group for group in groups if group["params"] and group["lr"] != 0]


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _trained(module: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def _hint(prefix: str, net: nn.Module) -> str:
    names = [name for name, _ in (*net.named_modules(), *net.named_parameters()) if name]
    hint = did_you_mean(prefix, names)
    if hint.startswith("did you mean"):
        return hint
    return f"it consists of {', '.join(name for name, _ in net.named_children())}"
