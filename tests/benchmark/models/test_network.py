import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from stt_bench.benchmark.config.sections import InputConfig, ModelConfig
from stt_bench.benchmark.models.network import (
    EmbeddingNetwork,
    build_network,
    parameter_groups,
)
from stt_bench.benchmark.system.errors import BenchError


def build(input: InputConfig | None = None, **model: Any) -> EmbeddingNetwork:
    return build_network(ModelConfig(**model), input or InputConfig(size=32))


def images(batch: int = 4, channels: int = 3, size: int = 32) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (batch, channels, size, size)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def step(network: EmbeddingNetwork, **options: Any) -> None:
    """Train one step on everything the network returns."""
    groups = parameter_groups(network, lr=0.1, **options)
    features, embedding = network(images())
    (features.square().mean() + embedding.square().mean()).backward()
    torch.optim.SGD(groups).step()


def changed(before: dict[str, Tensor], network: nn.Module) -> set[str]:
    now = network.state_dict()
    return {key for key in before if not torch.equal(before[key], now[key])}


def test_the_fashion_mnist_network_has_27456_parameters() -> None:
    network = build(InputConfig(size=28, channels=1))
    assert sum(p.numel() for p in network.parameters()) == 27_456
    features, embedding = network(images(2, channels=1, size=28))
    assert features.shape == embedding.shape == (2, 64)
    assert (network.feature_dim, network.embedding_dim) == (64, 64)
    torch.testing.assert_close(embedding, network.head(features))


def test_head_none_returns_the_features() -> None:
    network = build(head="none", embedding_dim=7)
    features, embedding = network(images())
    assert network.embedding_dim == network.feature_dim == 64
    assert torch.equal(features, embedding)


@pytest.mark.parametrize("size", [5, 200])
def test_embedding_dim(size: int) -> None:
    network = build(embedding_dim=size, head="fc1024")
    features, embedding = network(images())
    assert features.shape == (4, 64)
    assert embedding.shape == (4, size)
    assert network.embedding_dim == size


def test_pixels_are_normalised_by_the_given_statistics() -> None:
    mean, std = [0.1, 0.2, 0.3], [0.5, 0.25, 0.125]
    network = build(InputConfig(size=32, mean=mean, std=std))
    pixels = images()
    expected = torch.empty(pixels.shape)
    for c in range(3):
        expected[:, c] = (pixels[:, c].double() / 255 - mean[c]) / std[c]
    torch.testing.assert_close(network(pixels)[0], network.backbone(expected))


def test_pixels_are_normalised_by_the_backbones_statistics() -> None:
    network = build(backbone="resnet18").eval()
    white = torch.full((1, 3, 32, 32), 255, dtype=torch.uint8)
    normalised = torch.tensor([(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225])
    expected = network.backbone(normalised.view(1, 3, 1, 1).expand(1, 3, 32, 32))
    torch.testing.assert_close(network(white)[0], expected)
    assert network.mean.dtype == network.std.dtype == torch.float32


@pytest.mark.parametrize("given", [None, 0.3])
def test_a_grey_image_equals_the_same_image_in_colour(given: float | None) -> None:
    statistics = {} if given is None else {"mean": [given], "std": [0.4]}
    grey = build(InputConfig(size=32, channels=1, **statistics), backbone="resnet18").eval()
    in_colour = {key: value * 3 for key, value in statistics.items()}
    colour = build(InputConfig(size=32, **in_colour), backbone="resnet18").eval()
    colour.backbone.load_state_dict(grey.backbone.state_dict())
    pixels = images(2, channels=1)
    torch.testing.assert_close(grey(pixels)[0], colour(pixels.repeat(1, 3, 1, 1))[0])


def test_only_uint8_images_are_taken() -> None:
    with pytest.raises(TypeError, match=r"images must be uint8 in 0\.\.255, not torch\.float32"):
        build()(torch.rand(1, 3, 32, 32))


def test_normalize() -> None:
    network = build(normalize=True)
    features, embedding = network(images())
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(4))
    raw = network.head(features)
    torch.testing.assert_close(embedding, raw / raw.norm(dim=1, keepdim=True))


def test_outputs_are_float32_under_autocast() -> None:
    network = build(normalize=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features, embedding = network(images())
    assert features.dtype == embedding.dtype == torch.float32
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(4))


def test_same_seed_same_network() -> None:
    def network(seed: int) -> dict[str, Tensor]:
        torch.manual_seed(seed)
        return build(head="fc1024").state_dict()

    first, again = network(1), network(1)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(network(1)["head.0.weight"], network(2)["head.0.weight"])


def test_freeze_stops_parameters_and_statistics() -> None:
    network = build(backbone="resnet18", freeze=["conv1", "bn1", "layer1", "layer2.0"]).train()
    frozen = ("conv1.", "bn1.", "layer1.", "layer2.0.")
    assert network.training
    assert network.backbone.net.layer2[1].training
    assert not any(m.training for m in network.backbone.net.layer1.modules())
    before = copy.deepcopy(network.backbone.net.state_dict())
    step(network)
    moved = changed(before, network.backbone.net)
    assert moved == {key for key in before if not key.startswith(frozen)}
    for name, parameter in network.backbone.net.named_parameters():
        assert (parameter.grad is None) == name.startswith(frozen), name


def test_frozen_leading_modules_cost_no_backward() -> None:
    network = build(backbone="resnet18", freeze=["conv1", "bn1", "layer1"]).train()
    seen: list[bool] = []
    network.backbone.net.layer2.register_forward_pre_hook(
        lambda _, args: seen.append(args[0].requires_grad)
    )
    network(images())
    assert seen == [False]


def test_a_freeze_prefix_is_a_whole_path() -> None:
    first = "features.denseblock3.denselayer1"
    network = build(backbone="densenet121", freeze=[first])
    trains = {n: p.requires_grad for n, p in network.backbone.net.named_parameters()}
    assert any(name.startswith(f"{first}0.") for name in trains)
    frozen = {name for name, value in trains.items() if not value}
    assert frozen == {name for name in trains if name.startswith(f"{first}.")}


def test_a_single_parameter_can_be_frozen() -> None:
    network = build(backbone="timm/test_vit", freeze=["pos_embed"])
    frozen = [n for n, p in network.backbone.net.named_parameters() if not p.requires_grad]
    assert frozen == ["pos_embed"]


@pytest.mark.parametrize("backbone", ["resnet18", "timm/test_efficientnet"])
def test_freeze_batch_norm(backbone: str) -> None:
    network = build(backbone=backbone, head="fc1024", freeze_batch_norm=True).train()
    norms = {n: m for n, m in network.backbone.net.named_modules() if isinstance(m, _BatchNorm)}
    assert len(norms) > 5
    assert not any(norm.training for norm in norms.values())
    before = copy.deepcopy(network.state_dict())
    step(network)
    moved = changed(before, network)
    of_norms = {f"backbone.net.{name}.{key}" for name, m in norms.items() for key in m.state_dict()}
    assert of_norms <= before.keys()
    assert not moved & of_norms
    assert {"head.1.weight", "head.1.running_mean", "head.1.num_batches_tracked"} <= moved
    assert moved >= {n for n, p in network.named_parameters() if p.requires_grad and p.ndim > 1}


def test_without_freezing_everything_trains() -> None:
    network = build(backbone="timm/test_efficientnet").train()
    before = copy.deepcopy(network.backbone.net.state_dict())
    step(network)
    assert changed(before, network.backbone.net) == before.keys()


def test_frozen_modules_survive_changes_of_mode_and_copies() -> None:
    network = build(backbone="resnet18", freeze=["layer1"], freeze_batch_norm=True)
    assert not network.backbone.net.layer1.training
    assert network.backbone.net.layer4.training
    for net in (network, copy.deepcopy(network)):
        assert net.eval().train() is net
        assert not net.backbone.net.layer1.training
        assert not net.backbone.net.layer4[0].bn1.training
        assert net.backbone.net.layer4[0].conv1.training
        assert not any(m.training for m in net.eval().modules())


@pytest.mark.parametrize(
    ("prefix", "message"),
    [
        ("laier1", "the backbone has no module 'laier1': did you mean 'layer1'?"),
        ("", "the backbone has no module ''"),
        ("xyzzy", "it consists of conv1, bn1, relu, maxpool, layer1, layer2, layer3, layer4"),
    ],
)
def test_freezing_what_is_not_there(prefix: str, message: str) -> None:
    with pytest.raises(BenchError) as error:
        build(backbone="resnet18", freeze=[prefix])
    assert message in str(error.value)


def test_parameter_groups() -> None:
    network = build(freeze=["conv1"])
    backbone, head = parameter_groups(network, lr=0.2, backbone_lr_factor=0.1)
    net = network.backbone.net
    assert [id(p) for p in backbone["params"]] == [
        id(p) for p in (net.conv2.weight, net.conv2.bias, net.conv3.weight, net.conv3.bias)
    ]
    assert backbone["lr"] == pytest.approx(0.02)
    assert [id(p) for p in head["params"]] == [id(network.head.weight), id(network.head.bias)]
    assert head["lr"] == 0.2


def test_parameter_groups_leave_out_what_does_not_train() -> None:
    (only,) = parameter_groups(build(), lr=0.2, backbone_lr_factor=0)
    assert only["lr"] == 0.2
    (only,) = parameter_groups(build(head="none"), lr=0.2, backbone_lr_factor=0.5)
    assert only["lr"] == 0.1
    assert parameter_groups(build(head="none"), lr=0.2, backbone_lr_factor=0) == []
    (only,) = parameter_groups(build(freeze=["conv1", "conv2", "conv3"]), lr=0.2)
    assert len(only["params"]) == 2


def test_a_backbone_that_stays_is_built_once_and_leaves_the_draws_alone(tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.safetensors" for number in range(2)]
    for file in files:
        save_file(build(backbone="small_cnn").backbone.net.state_dict(), file)

    def still(file: Path, **more: Any) -> EmbeddingNetwork:
        torch.manual_seed(7)
        return build(backbone="small_cnn", weights=str(file), freeze="all", **more)

    first, again, other = still(files[0]), still(files[0], normalize=True), still(files[1])
    assert first.backbone is again.backbone
    assert first.head is not again.head
    torch.testing.assert_close(first.head.state_dict(), again.head.state_dict(), rtol=0, atol=0)
    assert changed(first.backbone.net.state_dict(), other.backbone.net)
    trains = build(backbone="small_cnn", weights=str(files[0]))
    assert trains.backbone is not build(backbone="small_cnn", weights=str(files[0])).backbone
