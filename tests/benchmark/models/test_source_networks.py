"""The networks of the source systems, at their input sizes: features, flattened maps, weights."""

import copy
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from stt_bench.benchmark.config.sections import InputConfig, ModelConfig
from stt_bench.benchmark.models import weights_id
from stt_bench.benchmark.models.backbones import Backbone
from stt_bench.benchmark.models.network import EmbeddingNetwork, build_network, parameter_groups
from stt_bench.benchmark.system.errors import BenchError


class Source(NamedTuple):
    """A network of a source system: its input's side, its widths, and its default weights."""

    name: str
    size: int
    feature_dim: int
    map_shape: tuple[int, int, int]
    weights: str


SOURCES = [
    Source("googlenet", 224, 1024, (1024, 7, 7), "torchvision:GoogLeNet_Weights.IMAGENET1K_V1"),
    Source("inception_v4", 299, 1536, (1536, 8, 8), "timm:inception_v4.tf_in1k"),
    Source("resnet50", 224, 2048, (2048, 7, 7), "torchvision:ResNet50_Weights.IMAGENET1K_V2"),
    Source("resnet101", 224, 2048, (2048, 7, 7), "torchvision:ResNet101_Weights.IMAGENET1K_V2"),
    Source("timm/resnetv2_50", 224, 2048, (2048, 7, 7), "timm:resnetv2_50.a1h_in1k"),
    Source("densenet161", 224, 2208, (2208, 7, 7), "torchvision:DenseNet161_Weights.IMAGENET1K_V1"),
    Source("densenet169", 224, 1664, (1664, 7, 7), "torchvision:DenseNet169_Weights.IMAGENET1K_V1"),
    Source(
        "timm/mobilenetv1_100",
        224,
        1024,
        (1024, 7, 7),
        "timm:mobilenetv1_100.ra4_e3600_r224_in1k",
    ),
    Source(
        "mobilenet_v2", 224, 1280, (1280, 7, 7), "torchvision:MobileNet_V2_Weights.IMAGENET1K_V2"
    ),
    Source(
        "mobilenet_v3_large",
        224,
        1280,
        (960, 7, 7),
        "torchvision:MobileNet_V3_Large_Weights.IMAGENET1K_V2",
    ),
    Source("small_cnn", 28, 64, (64, 5, 5), ""),
]
NAMES = [source.name for source in SOURCES]


def build(name: str, size: int, **model: Any) -> EmbeddingNetwork:
    settings = {"features": "flattened", "embedding_dim": 4, **model}
    return build_network(ModelConfig(backbone=name, **settings), InputConfig(size=size))


def photos(size: int, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (batch, 3, size, size)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def settle(backbone: Backbone, images: Tensor) -> None:
    """Let batch norms take the statistics of images: else a random network's output is near 0."""
    norms = [module for module in backbone.modules() if isinstance(module, _BatchNorm)]
    for norm in norms:
        nn.init.normal_(norm.bias, std=0.1)
        norm.momentum = 1.0
    with torch.no_grad():
        backbone.train()(images.float() / 127.5 - 1)


def pooled(net: nn.Module, feature_map: Tensor) -> Tensor:
    """Return the features that a network makes of its last feature map."""
    means = feature_map.double().mean(dim=(2, 3)).float()
    is_v3 = type(net).__name__ == "MobileNetV3"  # it has one more layer after its pooling
    return net.classifier(means) if is_v3 else means


@pytest.mark.parametrize("source", SOURCES, ids=NAMES)
def test_each_network_at_its_size(source: Source) -> None:
    network, images = build(source.name, source.size), photos(source.size, batch=1)
    settle(network.backbone, images)
    network.head = nn.Identity()  # lets the flattened map through
    backbone = network.eval().backbone
    calls: list[Tensor] = []
    first = next(module for module in backbone.modules() if isinstance(module, nn.Conv2d))
    first.register_forward_pre_hook(lambda _, inputs: calls.append(inputs[0]))
    with torch.no_grad():
        features, flat = network(images)
        assert len(calls) == 1  # one pass gives both
        plain = backbone((images / 255 - network.mean) / network.std)
        expected = pooled(backbone.net, flat.unflatten(1, source.map_shape))
    assert features.shape == (1, source.feature_dim)
    assert network.feature_dim == source.feature_dim
    assert features.abs().mean() > 0.01
    assert torch.equal(features, plain)
    torch.testing.assert_close(expected, features, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("source", SOURCES[:-1], ids=NAMES[:-1])
def test_each_networks_default_weights(source: Source) -> None:
    model = ModelConfig(backbone=source.name, weights="pretrained")
    assert weights_id(model) == source.weights


@pytest.mark.parametrize(
    "name", ["googlenet", "inception_v4", "timm/resnetv2_50", "densenet169", "mobilenet_v2"]
)
def test_freezing_under_a_flattened_head(name: str) -> None:
    torch.manual_seed(0)
    network = build(name, 96)
    settle(network.backbone, photos(96))
    modules = network.backbone.net.named_modules()
    first = next(path for path, module in modules if isinstance(module, nn.Conv2d))
    network.freeze([first], batch_norm=True)
    network.train()
    before = copy.deepcopy(network.state_dict())
    _, embedding = network(photos(96))
    embedding.square().mean().backward()
    torch.optim.SGD(parameter_groups(network, lr=0.1)).step()
    moved = {key for key, value in network.state_dict().items() if not value.equal(before[key])}
    of_norms = {
        f"{path}.{key}"
        for path, module in network.named_modules()
        if isinstance(module, _BatchNorm)
        for key in module.state_dict()
    }
    assert len(of_norms) > 100
    assert not moved & of_norms
    assert f"backbone.net.{first}.weight" not in moved
    assert {"head.weight", "head.bias"} <= moved
    assert len(moved) > len(of_norms) // 10


def test_the_sources_head_has_its_25_7_million_parameters() -> None:
    network = build("resnet50", 224, embedding_dim=256)
    assert sum(p.numel() for p in network.head.parameters()) == 7 * 7 * 2048 * 256 + 256


def test_the_names_of_the_weights_are_the_same() -> None:
    flattened, pooled = build("small_cnn", 28), build("small_cnn", 28, features="pooled")
    shapes = {key: tuple(value.shape) for key, value in flattened.state_dict().items()}
    assert shapes["head.weight"] == (4, 64 * 5 * 5)
    shapes["head.weight"] = (4, 64)
    assert shapes == {key: tuple(value.shape) for key, value in pooled.state_dict().items()}


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_order_of_a_flattened_map(memory_format: torch.memory_format) -> None:
    network = build("timm/test_resnet", 64, embedding_dim=3).eval().double()
    network = network.to(memory_format=memory_format)  # type: ignore[call-overload]
    images = photos(64).to(memory_format=memory_format)
    with torch.no_grad():
        normalised = (images / 255 - network.mean) / network.std
        maps = network.backbone.net.forward_features(normalised)
        _, embedding = network(images)
    channels, height, width = maps.shape[1:]
    assert (height, width) == (2, 2)
    weight, bias = network.head.weight.tolist(), network.head.bias.tolist()
    for image, feature_map in enumerate(maps.tolist()):
        for d in range(3):
            expected, position = bias[d], 0
            for c in range(channels):
                for y in range(height):
                    for x in range(width):
                        expected += weight[d][position] * feature_map[c][y][x]
                        position += 1
            assert float(embedding[image, d]) == pytest.approx(expected, abs=1e-9)


def test_densenets_map_is_rectified_and_so_is_its_gradient() -> None:
    backbone = build("densenet121", 64).backbone.train()
    images = torch.randn(3, 3, 64, 64)
    settle(backbone, images)
    direction = torch.randn(3, 1024 * 2 * 2)
    kernel = backbone.net.features.conv0.weight

    def gradient(flat: Tensor) -> Tensor:
        return torch.autograd.grad((flat * direction).sum(), kernel, retain_graph=True)[0]

    flat = backbone.with_map(images)[1]
    raw = backbone.net.features(images)
    assert (raw < 0).any()
    assert (flat >= 0).all()
    rectified = functional.relu(raw).flatten(1)
    torch.testing.assert_close(flat, rectified)
    torch.testing.assert_close(gradient(flat), gradient(rectified))
    assert not gradient(raw.flatten(1)).allclose(gradient(flat))


def test_nothing_stays_hooked_to_the_network() -> None:
    for name in ("resnet18", "mobilenet_v2"):
        backbone = build(name, 64).backbone
        backbone.with_map(torch.zeros(2, 3, 64, 64))
        for module in backbone.modules():
            assert not module._forward_hooks
            assert not module._forward_pre_hooks


@pytest.mark.parametrize("name", ["vit_b_32", "timm/test_vit"])
def test_a_network_without_a_map(name: str) -> None:
    with pytest.raises(BenchError) as error:
        build(name, 64)
    assert f"model.features: {name} pools no feature map" in str(error.value)
