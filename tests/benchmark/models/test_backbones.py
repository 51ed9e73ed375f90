"""Features are compared with what a hook sees entering the classifier of the untouched model."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from stt_bench.benchmark.config.sections import InputConfig, ModelConfig
from stt_bench.benchmark.models.backbones import Backbone, build_backbone
from stt_bench.benchmark.system.errors import BenchError


def build(backbone: str, size: int = 64, **settings: Any) -> Backbone:
    channels = settings.pop("channels", 3)
    return build_backbone(
        ModelConfig(backbone=backbone, **settings), InputConfig(size=size, channels=channels)
    )


def classifier_input(model: nn.Module, classifier: nn.Module, images: Tensor) -> Tensor:
    seen: list[Tensor] = []
    hook = classifier.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        model.eval()(images)
    hook.remove()
    return seen[0]


def scramble(model: nn.Module) -> None:
    """Give batch norms statistics and weights of their own, as training would."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)


def test_small_cnn_follows_the_source() -> None:
    backbone = build("small_cnn", size=28, channels=1)
    assert sum(p.numel() for p in backbone.parameters()) == 27_456 - 65 * 64
    assert (backbone.feature_dim, backbone.mean, backbone.std) == (64, (0.5,), (0.5,))
    conv1, conv2, conv3 = backbone.net.conv1, backbone.net.conv2, backbone.net.conv3
    images = torch.randn(2, 1, 28, 28)
    maps = images
    for conv, side in ((conv1, 13), (conv2, 11), (conv3, 5)):
        maps = conv(maps).clamp_min(0)
        assert maps.shape[2:] == (side, side)
    torch.testing.assert_close(backbone(images), maps.flatten(2).mean(2))


def test_small_cnn_smallest_input() -> None:
    assert build("small_cnn", size=11)(torch.zeros(2, 3, 11, 11)).shape == (2, 64)
    with pytest.raises(BenchError, match="small_cnn needs at least 11 pixels, not 10"):
        build("small_cnn", size=10)


@pytest.mark.parametrize(
    ("name", "size", "path", "feature_dim", "options"),
    [
        ("resnet18", 64, "fc", 512, {}),
        ("mobilenet_v3_small", 64, "classifier.3", 1024, {}),
        ("densenet121", 64, "classifier", 1024, {}),
        ("shufflenet_v2_x0_5", 64, "fc", 1024, {}),
        ("vit_b_32", 64, "heads.head", 768, {"image_size": 64}),
        ("googlenet", 64, "fc", 1024, {"init_weights": False, "transform_input": True}),
        ("inception_v3", 75, "fc", 2048, {"init_weights": False, "transform_input": True}),
    ],
)
def test_torchvision_features(
    name: str, size: int, path: str, feature_dim: int, options: dict[str, Any]
) -> None:
    original = torchvision.models.get_model(name, weights=None, **options)
    scramble(original)
    backbone = build(name, size)
    shared = backbone.net.state_dict().keys()
    backbone.net.load_state_dict({k: v for k, v in original.state_dict().items() if k in shared})
    images = torch.randn(3, 3, size, size)
    expected = classifier_input(original, original.get_submodule(path), images)
    with torch.no_grad():
        features = backbone.eval()(images)
    assert features.shape == (3, feature_dim)
    assert backbone.feature_dim == feature_dim
    assert features.std(dim=0).max() > 0
    torch.testing.assert_close(features, expected)
    assert backbone.mean == (0.485, 0.456, 0.406)
    assert backbone.std == (0.229, 0.224, 0.225)


@pytest.mark.parametrize(
    ("name", "feature_dim", "mean"),
    [
        ("tf_efficientnet_lite0", 1280, (0.5, 0.5, 0.5)),
        ("timm/test_resnet", 96, (0.5, 0.5, 0.5)),
        ("timm/test_vit.r160_in1k", 64, (0.5, 0.5, 0.5)),
        ("timm/test_byobnet", 256, (0.485, 0.456, 0.406)),
    ],
)
def test_timm_features(
    name: str, feature_dim: int, mean: tuple[float, ...], tmp_path: Path
) -> None:
    options = {"img_size": 64} if "vit" in name else {}
    original = timm.create_model(name.removeprefix("timm/"), **options)
    scramble(original)
    file = tmp_path / "original.pth"
    torch.save(original.state_dict(), file)
    backbone = build(name, weights=str(file))
    images = torch.randn(3, 3, 64, 64)
    expected = classifier_input(original, original.get_classifier(), images)
    with torch.no_grad():
        features = backbone.eval()(images)
    assert features.shape == (3, feature_dim)
    assert backbone.feature_dim == feature_dim
    assert features.std(dim=0).max() > 0
    torch.testing.assert_close(features, expected)
    assert backbone.mean == mean


def test_a_new_backbone_is_in_training_mode_with_untouched_statistics() -> None:
    backbone = build("resnet18")
    assert all(module.training for module in backbone.modules())
    assert torch.equal(backbone.net.bn1.num_batches_tracked, torch.tensor(0))


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "googlenet"])
def test_no_dropout_and_no_auxiliary_output_in_training(name: str) -> None:
    backbone = build(name).train()
    images = torch.randn(4, 3, 64, 64)
    first, second = backbone(images), backbone(images)
    assert isinstance(first, Tensor)
    assert torch.equal(first, second)


@pytest.mark.parametrize("name", ["resnet18", "timm/test_resnet"])
def test_a_grey_image_is_repeated(name: str) -> None:
    backbone = build(name, channels=1).eval()
    assert len(backbone.mean) == 3
    grey = torch.randn(2, 1, 64, 64)
    torch.testing.assert_close(backbone(grey), backbone(grey.repeat(1, 3, 1, 1)))


@pytest.mark.parametrize("name", ["small_cnn", "resnet18", "timm/test_vit"])
def test_same_seed_same_weights(name: str) -> None:
    def weights(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return torch.cat([p.detach().flatten() for p in build(name).parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("squeezenet1_1", 64, "squeezenet1_1 does not end in a linear classifier"),
        ("vit_b_32", 50, "cannot build torchvision's vit_b_32 for input.size 50: "),
        ("timm/crossvit_9_240", 64, "input.size: timm/crossvit_9_240 does not take images of 64"),
    ],
)
def test_unsuitable_backbones(name: str, size: int, message: str) -> None:
    with pytest.raises(BenchError) as error:
        build(name, size)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_map_is_not_a_feature_vector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timm, "create_model", lambda *args, **kwargs: nn.Conv2d(3, 8, 3))
    with pytest.raises(BenchError, match="does not return one feature vector an image"):
        build("timm/test_resnet")
