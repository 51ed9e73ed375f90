"""Backbones, embedding heads and the network made of the two."""

from benchmark.models.backbones import Backbone, build_backbone
from benchmark.models.heads import build_head
from benchmark.models.names import backbone_names
from benchmark.models.names import resolve as check_backbone
from benchmark.models.network import EmbeddingNetwork, build_network, parameter_groups
from benchmark.models.weights import library_tag, weights_id

__all__ = [
    "Backbone",
    "EmbeddingNetwork",
    "backbone_names",
    "build_backbone",
    "build_head",
    "build_network",
    "check_backbone",
    "library_tag",
    "parameter_groups",
    "weights_id",
]
