import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import timm
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from stt_bench.benchmark.config.sections import InputConfig, ModelConfig
from stt_bench.benchmark.models.backbones import Backbone, build_backbone, weights_id
from stt_bench.benchmark.models.weights import find_weights, load_strictly, read_weights
from stt_bench.benchmark.system import locate
from stt_bench.benchmark.system.errors import BenchError

Tensors = dict[str, Tensor]


def build(backbone: str, weights: object, size: int = 32) -> Backbone:
    return build_backbone(
        ModelConfig(backbone=backbone, weights=str(weights)), InputConfig(size=size)
    )


def message_of(call: Callable[[], object]) -> str:
    with pytest.raises(BenchError) as error:
        call()
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture(scope="module")
def tensors() -> Tensors:
    """Return all tensors of a classifier, random and none of them constant."""
    state = timm.create_model("test_resnet").state_dict()
    return {k: torch.rand_like(v) if v.is_floating_point() else v for k, v in state.items()}


def assert_loaded(backbone: Backbone, tensors: Tensors) -> None:
    own = backbone.net.state_dict()
    assert own.keys() == {key for key in tensors if not key.startswith("fc.")}
    for key, value in own.items():
        assert torch.equal(value, tensors[key]), key


@pytest.mark.parametrize("form", ["plain", "state_dict", "model", "module"])
@pytest.mark.parametrize("suffix", [".pth", ".pt"])
def test_round_trip_of_a_torch_file(
    form: str, suffix: str, tensors: Tensors, tmp_path: Path
) -> None:
    content: Any = {
        "plain": tensors,
        "state_dict": {"epoch": 3, "state_dict": tensors},
        "model": {"model": {f"module.{k}": v for k, v in tensors.items()}},
        "module": {f"module.{k}": v for k, v in tensors.items()},
    }[form]
    file = tmp_path / f"weights{suffix}"
    torch.save(content, file)
    assert_loaded(build("timm/test_resnet", file), tensors)


def test_round_trip_of_a_safetensors_file(tensors: Tensors, tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    save_file(tensors, file)
    assert_loaded(build("timm/test_resnet", file), tensors)


def test_classifier_and_step_counters_may_be_absent(tensors: Tensors, tmp_path: Path) -> None:
    kept = {
        k: v
        for k, v in tensors.items()
        if not k.startswith("fc.") and not k.endswith("num_batches_tracked")
    }
    assert len(kept) < len(tensors) - 2
    file = tmp_path / "weights.safetensors"
    save_file(kept, file)
    loaded = build("timm/test_resnet", file).net.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in kept.items())


def test_every_misfit_is_named(tensors: Tensors, tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    changed = dict(tensors)
    first, *others = [key for key in tensors if key.endswith("conv1.weight")]
    changed[first] = torch.zeros(1, 2)
    del changed[others[0]]
    changed |= {f"extra.{i}": torch.zeros(1) for i in range(5)}
    save_file(changed, file)
    told = message_of(lambda: build("timm/test_resnet", file))
    assert f"'{file}' does not fit the backbone" in told
    assert f"1 missing ({others[0]})" in told
    assert "5 unexpected (extra.0, extra.1, extra.2, …)" in told
    assert f"1 of another shape ({first}: (1, 2) instead of {tuple(tensors[first].shape)})" in told


def test_a_misfit_leaves_the_module_untouched() -> None:
    net = nn.Linear(2, 2)
    before = net.weight.detach().clone()
    told = message_of(lambda: load_strictly(net, {"weight": torch.ones(2, 2)}, (), Path("w.pt")))
    assert "1 missing (bias)" in told
    assert torch.equal(net.weight, before)


def test_only_the_final_classifier_may_be_left_over(tmp_path: Path) -> None:
    state = torchvision.models.mobilenet_v3_small().state_dict()
    assert "classifier.0.weight" in state  # part of the features
    file = tmp_path / "weights.pth"
    torch.save({k: v for k, v in state.items() if not k.startswith("classifier.0")}, file)
    told = message_of(lambda: build("mobilenet_v3_small", file))
    assert "2 missing (classifier.0.weight, classifier.0.bias)" in told


def test_auxiliary_classifiers_may_be_left_over(tmp_path: Path) -> None:
    state = torchvision.models.googlenet(init_weights=False).state_dict()
    assert "aux1.fc1.weight" in state
    file = tmp_path / "weights.pth"
    torch.save(state, file)
    own = build("googlenet", file).net.state_dict()
    file.unlink()
    assert own.keys() == {k for k in state if not k.startswith(("aux1.", "aux2.", "fc."))}
    assert all(torch.equal(value, state[key]) for key, value in own.items())


def test_old_densenet_names(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    old = "features.denseblock1.denselayer2."
    torch.save({f"{old}norm.1.weight": torch.zeros(1), f"{old}conv.2.weight": torch.ones(1)}, file)
    assert list(read_weights(file)) == [f"{old}norm1.weight", f"{old}conv2.weight"]


def test_small_cnn_from_a_file(tmp_path: Path) -> None:
    source = build_backbone(ModelConfig(), InputConfig(size=28))
    file = tmp_path / "weights.safetensors"
    save_file(source.net.state_dict(), file)
    loaded = build("small_cnn", file)
    assert torch.equal(loaded.net.conv3.weight, source.net.conv3.weight)


def test_unreadable_files(tmp_path: Path) -> None:
    for name in ("a.pth", "a.safetensors"):
        (tmp_path / name).write_bytes(b"not weights")
        told = message_of(lambda name=name: read_weights(tmp_path / name))
        assert f"cannot read '{tmp_path / name}'" in told
    (tmp_path / "a.npz").write_bytes(b"")
    told = message_of(lambda: read_weights(tmp_path / "a.npz"))
    assert "ends in none of .safetensors, .pth, .pt" in told
    for content in ({"weight": 3}, [torch.zeros(1)], {}):
        torch.save(content, tmp_path / "b.pth")
        told = message_of(lambda: read_weights(tmp_path / "b.pth"))
        assert "does not hold a dictionary of named tensors" in told


def test_a_pickled_object_is_not_run(tmp_path: Path) -> None:
    torch.save(nn.Linear(1, 1), tmp_path / "a.pth")
    assert "cannot read" in message_of(lambda: read_weights(tmp_path / "a.pth"))


def test_where_a_file_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, shared = tmp_path / "here", tmp_path / "shared"
    (shared / "weights").mkdir(parents=True)
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("STT_BENCH_DATA", str(shared))

    told = message_of(lambda: find_weights("net.pth"))
    assert "neither 'pretrained' nor an existing file: 'net.pth' was looked for at net.pth" in told
    assert str(shared / "weights" / "net.pth") in told

    (shared / "weights" / "net.pth").touch()
    assert find_weights("net.pth") == shared / "weights" / "net.pth"
    (here / "net.pth").touch()
    assert find_weights("net.pth").resolve() == here / "net.pth"
    absolute = shared / "weights" / "net.pth"
    assert find_weights(str(absolute)) == absolute


def test_pretrained_torchvision_from_its_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cached = torchvision.models.get_model_weights("resnet18").DEFAULT.url.rpartition("/")[2]
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    state = torchvision.models.resnet18().state_dict()
    torch.save(state, tmp_path / "hub" / "checkpoints" / cached)
    backbone = build("resnet18", "pretrained")
    assert torch.equal(backbone.net.conv1.weight, state["conv1.weight"])


def test_a_torchvision_tag_from_its_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both weights of MobileNet v2 lie in the cache: the tag, or the default, is the one loaded."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    state = torchvision.models.mobilenet_v2().state_dict()
    values = {"IMAGENET1K_V1": 1.0, "IMAGENET1K_V2": 2.0}
    for tag, value in values.items():
        cached = torchvision.models.MobileNet_V2_Weights[tag].url.rpartition("/")[2]
        state["features.0.0.weight"].fill_(value)
        torch.save(state, tmp_path / "hub" / "checkpoints" / cached)
    for weights, value in {**values, "pretrained": 2.0}.items():
        assert build("mobilenet_v2", weights).net.features[0][0].weight.eq(value).all()


@pytest.mark.parametrize(
    ("weights", "hint"),
    [
        ("IMAGENET1K_V3", "did you mean 'IMAGENET1K_V"),
        ("imagenet1k_v1", "did you mean 'IMAGENET1K_V1'?"),
        ("ResNet50_Weights.IMAGENET1K_V1", "did you mean 'IMAGENET1K_V1'?"),
        ("q", "valid: IMAGENET1K_V1, IMAGENET1K_V2 (a file ends in .safetensors, .pth, .pt)"),
    ],
)
def test_an_unknown_torchvision_tag(weights: str, hint: str) -> None:
    told = message_of(lambda: build("resnet50", weights))
    assert f"model.weights: torchvision has no weights '{weights}' of resnet50: {hint}" in told


def test_torchvision_download_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*args: object, **kwargs: object) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "urlopen", no_network)
    told = message_of(lambda: build("resnet18", "pretrained"))
    assert "torchvision:ResNet18_Weights.IMAGENET1K_V1 could not be fetched" in told
    assert "Name or service not known" in told
    assert "model.weights may also name a local file" in told


def test_timm_download_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    create_model = timm.create_model

    def no_network(*args: Any, pretrained: bool, **kwargs: Any) -> nn.Module:
        if pretrained:
            raise FileNotFoundError("cannot find the requested files\nin the cache")
        return create_model(*args, **kwargs)

    monkeypatch.setattr(timm, "create_model", no_network)
    told = message_of(lambda: build("tf_efficientnet_lite0", "pretrained"))
    assert "timm:tf_efficientnet_lite0.in1k could not be fetched" in told
    assert "model.weights may also name a local file" in told


def test_weights_id(tmp_path: Path) -> None:
    def identity(backbone: str, weights: str | None) -> str:
        return weights_id(ModelConfig(backbone=backbone, weights=weights))

    assert identity("resnet50", None) == "random"
    assert identity("resnet50", "pretrained") == "torchvision:ResNet50_Weights.IMAGENET1K_V2"
    assert identity("resnet50", "IMAGENET1K_V2") == identity("resnet50", "pretrained")
    assert identity("resnet50", "IMAGENET1K_V1") == "torchvision:ResNet50_Weights.IMAGENET1K_V1"
    assert identity("tf_efficientnet_lite0", "pretrained") == "timm:tf_efficientnet_lite0.in1k"
    assert identity("timm/resnet50.a2_in1k", "pretrained") == "timm:resnet50.a2_in1k"
    file = tmp_path / "weights.pth"
    file.write_bytes(b"some bytes")
    digest = hashlib.sha256(b"some bytes").hexdigest()
    assert identity("resnet50", str(file)) == f"file:{digest[:16]}"


@pytest.mark.parametrize("backbone", ["small_cnn", "timm/coatnet_0_224"])
def test_no_pretrained_weights_exist(backbone: str) -> None:
    model = ModelConfig(backbone=backbone, weights="pretrained")
    for call in (lambda: weights_id(model), lambda: build_backbone(model, InputConfig())):
        assert "there are no pretrained weights of" in message_of(call)


@pytest.mark.data
def test_real_weights() -> None:
    name = "tf_efficientnet_lite0.safetensors"
    file = locate.find_folder("weights", name)
    if file is None:
        pytest.skip(f"{name} lies neither in STT_BENCH_DATA nor in ../shared/weights")
    backbone = build("tf_efficientnet_lite0", name, size=64).eval()
    stored = load_file(file)
    parameters = dict(backbone.net.named_parameters())
    assert parameters.keys() < stored.keys()
    assert all(torch.equal(value, stored[key]) for key, value in parameters.items())
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        features = backbone(torch.randn(8, 3, 64, 64, generator=generator))
    assert torch.linalg.matrix_rank(features - features.mean(0)) == 7
    assert (features.std(dim=0) > 1e-3).float().mean() > 0.1
