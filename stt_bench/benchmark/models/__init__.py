"""Backbones, embedding heads and the network made of the two."""

from stt_bench.benchmark.models.backbones import Backbone, build_backbone
from stt_bench.benchmark.models.heads import build_head
from stt_bench.benchmark.models.names import backbone_names
from stt_bench.benchmark.models.names import resolve as check_backbone
from stt_bench.benchmark.models.network import EmbeddingNetwork, build_network, parameter_groups
from stt_bench.benchmark.models.weights import library_tag, weights_id

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
