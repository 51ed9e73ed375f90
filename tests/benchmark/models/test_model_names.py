import pytest
import timm
import torchvision

from stt_bench.benchmark.models.backbones import backbone_names
from stt_bench.benchmark.models.names import _OTHER_NAMES, resolve
from stt_bench.benchmark.system.errors import BenchError


def test_backbone_names_hold_every_library() -> None:
    names = backbone_names()
    assert names[0] == "small_cnn"
    assert {"resnet50", "googlenet", "vit_b_16"} < set(names)
    assert {f"timm/{name}" for name in timm.list_models()} < set(names)
    classifiers = torchvision.models.list_models(module=torchvision.models)
    assert len(names) == len(set(names)) == 2 + len(classifiers) + len(timm.list_models())


def test_backbone_names_by_pattern() -> None:
    assert backbone_names("small*") == ["small_cnn"]
    assert backbone_names("resnet50") == ["resnet50", "timm/resnet50"]
    assert backbone_names("timm/resnet50") == ["timm/resnet50"]
    assert backbone_names("no such thing") == []


@pytest.mark.parametrize(
    ("backbone", "expected"),
    [
        ("small_cnn", ("own", "small_cnn")),
        ("resnet50", ("torchvision", "resnet50")),
        ("torchvision/resnet50", ("torchvision", "resnet50")),
        ("timm/resnet50", ("timm", "resnet50")),
        ("timm/resnet50.a1_in1k", ("timm", "resnet50.a1_in1k")),
        ("resnet50.a1_in1k", ("timm", "resnet50.a1_in1k")),
        ("tf_efficientnet_lite0", ("timm", "tf_efficientnet_lite0")),
    ],
)
def test_resolve(backbone: str, expected: tuple[str, str]) -> None:
    assert resolve(backbone) == expected


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        ("resnt50", "no backbone is named 'resnt50': did you mean 'resnet50'?"),
        ("timm/resnt50", "did you mean 'timm/resnet50'?"),
        ("resnet_v1_50", "did you mean 'resnet50'?"),
        ("torchvision/resnet_v1_101", "did you mean 'resnet101'?"),
        ("resnet_v2_50", "did you mean 'timm/resnetv2_50'?"),
        ("inception_v1", "did you mean 'googlenet'?"),
        ("timm/inception_v1", "did you mean 'googlenet'?"),
        ("densenet_161", "did you mean 'densenet161'?"),
        ("mobilenet_v1", "did you mean 'timm/mobilenetv1_100'?"),
        ("mobilenet_1_1_224", "did you mean 'timm/mobilenetv1_100'?"),
        ("mobilenet_v1_1.0_224", "did you mean 'timm/mobilenetv1_100'?"),
        ("smallcnn", "did you mean 'small_cnn'?"),
        ("torchvision/tf_efficientnet_lite0", "no backbone is named 'torchvision/"),
        ("qqqqqqqqqqqqqqq", "`stt-bench list backbones` shows them all"),
        (
            "resnet50.a1_in1",
            "tag 'a1_in1' for resnet50: did you mean 'resnet50.a1_in1k'?",
        ),
    ],
)
def test_unknown_names(backbone: str, message: str) -> None:
    with pytest.raises(BenchError) as error:
        resolve(backbone)
    assert message in str(error.value)
    assert len(str(error.value)) < 200


def test_other_systems_names_lead_to_names_that_exist() -> None:
    names = backbone_names()
    for other, ours in _OTHER_NAMES.items():
        assert other not in names
        assert ours in names or f"timm/{ours}" in names
