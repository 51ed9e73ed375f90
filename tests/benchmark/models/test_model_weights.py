import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import timm
import torch
import torchvision
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from stt_bench.benchmark.config.sections import InputConfig, ModelConfig
from stt_bench.benchmark.models import build_network, weights
from stt_bench.benchmark.models.backbones import Backbone, build_backbone, weights_id
from stt_bench.benchmark.models.weights import find_weights
from stt_bench.benchmark.models.weights_file import load_strictly, read_weights
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


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder that is the present one, where no weights can be found."""
    monkeypatch.delenv("STT_BENCH_DATA", raising=False)
    folder = tmp_path / "nowhere" / "near"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


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


def prefixed(prefix: str, tensors: Tensors) -> Tensors:
    return {f"{prefix}{key}": value for key, value in tensors.items()}


FORMS: dict[str, Callable[[Tensors], Any]] = {
    "plain": dict,
    "state_dict": lambda t: {"epoch": 3, "state_dict": t},
    "model": lambda t: {"model": prefixed("module.", t)},
    "net": lambda t: {"net": t, "acc": 93.1, "epoch": 7},
    "model_state_dict": lambda t: {"model_state_dict": t, "optimizer_state_dict": {}},
    "twice": lambda t: {"state_dict": {"model": prefixed("backbone.", t), "step": 1}},
    **{
        prefix: lambda t, prefix=prefix: prefixed(prefix, t)
        for prefix in (
            "module.",
            "model.",
            "backbone.",
            "base.",
            "encoder_q.",
            "_orig_mod.",
            "module.encoder_q.",
            "_orig_mod.module.net.",
        )
    },
    "moco": lambda t: {
        "state_dict": {
            **prefixed("module.encoder_k.", {k: torch.zeros_like(v) for k, v in t.items()}),
            **prefixed("module.encoder_q.", t),
            "module.queue": torch.zeros(4, 2),
        }
    },
    "with a projector": lambda t: {
        **prefixed("backbone.", {k: v for k, v in t.items() if not k.startswith("fc.")}),
        "projector.0.weight": torch.zeros(2, 2),
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_round_trip_of_a_torch_file(form: str, tensors: Tensors, tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    torch.save(FORMS[form](tensors), file)
    assert_loaded(build("timm/test_resnet", file), tensors)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt", ".pth.tar", ".bin", ".PTH"])
def test_suffixes_of_a_torch_file(suffix: str, tensors: Tensors, tmp_path: Path) -> None:
    file = tmp_path / f"weights{suffix}"
    torch.save(tensors, file)
    assert_loaded(build("timm/test_resnet", file), tensors)


def test_two_networks_that_cannot_be_told_apart(tensors: Tensors, tmp_path: Path) -> None:
    file = tmp_path / "pair.pth"
    torch.save({**prefixed("left.", tensors), **prefixed("right.", tensors)}, file)
    told = message_of(lambda: build("timm/test_resnet", file))
    assert "holds several networks, under 'left.', 'right.': save one of them alone" in told


def test_a_misfit_below_a_prefix_is_named_without_it(tensors: Tensors, tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    first = next(key for key in tensors if key.endswith("conv1.weight"))
    torch.save(prefixed("backbone.", {k: v for k, v in tensors.items() if k != first}), file)
    told = message_of(lambda: build("timm/test_resnet", file))
    assert f"does not fit the backbone under 'backbone.': 1 missing ({first})" in told


def test_a_trained_run_is_a_start(tmp_path: Path) -> None:
    """`model.safetensors` of a run holds the network, its head and the objective."""
    model, size = ModelConfig(embedding_dim=8), InputConfig(size=16)
    network = build_network(model, size)
    tensors = prefixed("network.", network.state_dict())
    file = tmp_path / "model.safetensors"
    save_file({**tensors, "objective.classifier.weight": torch.ones(2, 2)}, file)
    started = build("small_cnn", file, size=16).net.state_dict()
    for key, value in network.backbone.net.state_dict().items():
        assert torch.equal(started[key], value), key


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(value: float, tensors: Tensors, tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    key = next(k for k, v in tensors.items() if v.is_floating_point())
    torch.save({**tensors, key: torch.full_like(tensors[key], value)}, file)
    told = message_of(lambda: build("timm/test_resnet", file))
    assert f"holds NaN or infinite values in {key}" in told


@pytest.mark.parametrize(
    ("backbone", "name"),
    [
        ("timm/test_resnet", "test_resnet.safetensors"),
        ("timm/test_resnet", "test_resnet.r160_in1k.pth"),
        ("timm/test_resnet.r160_in1k", "test_resnet.r160_in1k.safetensors"),
    ],
)
def test_pretrained_is_a_file_of_the_name_where_there_is_one(
    backbone: str,
    name: str,
    tensors: Tensors,
    nowhere: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(timm.models, "load_pretrained", None)  # nothing is fetched
    (nowhere / "weights").mkdir()
    file = nowhere / "weights" / name
    if name.endswith(".pth"):
        torch.save(tensors, file)
    else:
        save_file(tensors, file)
    assert_loaded(build(backbone, "pretrained"), tensors)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    model = ModelConfig(backbone=backbone, weights="pretrained")
    assert weights_id(model) == f"file:{digest[:16]}"


def test_a_server_that_cannot_be_reached_is_asked_once(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def refuse(address: object, timeout: float) -> None:
        asked.append(address)
        raise OSError("Name or service not known")

    def from_the_cache_alone(*_: object, **__: object) -> None:
        assert constants.HF_HUB_OFFLINE
        raise FileNotFoundError("not in the cache")

    weights._is_reachable.cache_clear()
    monkeypatch.setattr(weights, "getproxies", dict)
    monkeypatch.setattr(weights.socket, "create_connection", refuse)
    monkeypatch.setattr(constants, "ENDPOINT", "https://hub.example")
    monkeypatch.setattr(timm, "create_model", from_the_cache_alone)
    for _ in range(2):
        told = message_of(lambda: build("timm/test_resnet", "pretrained", size=160))
        assert "could not be fetched" in told
        assert "put the file into a `weights` folder as test_resnet.safetensors" in told
    weights._is_reachable.cache_clear()
    assert asked == [("hub.example", 443)]
    assert not constants.HF_HUB_OFFLINE


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
    endless: dict[str, Any] = {}
    endless["model"] = endless
    for content in ({"weight": 3}, [torch.zeros(1)], {}, endless):
        torch.save(content, tmp_path / "b.pth")
        told = message_of(lambda: read_weights(tmp_path / "b.pth"))
        assert "does not hold a dictionary of named tensors" in told


def test_a_pickled_object_is_not_run(tmp_path: Path) -> None:
    torch.save(nn.Linear(1, 1), tmp_path / "a.pth")
    told = message_of(lambda: read_weights(tmp_path / "a.pth"))
    assert "cannot read" in told
    assert "save the state_dict alone" in told
    assert "weights_only" not in told  # torch's own message says how to run it


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
    for wanted, value in {**values, "pretrained": 2.0}.items():
        assert build("mobilenet_v2", wanted).net.features[0][0].weight.eq(value).all()


@pytest.mark.parametrize(
    ("weights", "hint"),
    [
        ("IMAGENET1K_V3", "did you mean 'IMAGENET1K_V"),
        ("imagenet1k_v1", "did you mean 'IMAGENET1K_V1'?"),
        ("ResNet50_Weights.IMAGENET1K_V1", "did you mean 'IMAGENET1K_V1'?"),
        ("q", "valid: IMAGENET1K_V1, IMAGENET1K_V2 (a file ends in .safetensors, .pth, .pt, "),
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
    assert "or name a local file as model.weights" in told


def test_timm_download_fails(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "_is_reachable", lambda address: True)
    create_model = timm.create_model

    def no_network(*args: Any, pretrained: bool, **kwargs: Any) -> nn.Module:
        if pretrained:
            raise FileNotFoundError("cannot find the requested files\nin the cache")
        return create_model(*args, **kwargs)

    monkeypatch.setattr(timm, "create_model", no_network)
    told = message_of(lambda: build("tf_efficientnet_lite0", "pretrained"))
    assert "timm:tf_efficientnet_lite0.in1k could not be fetched" in told
    assert "or name a local file as model.weights" in told


def test_weights_id(nowhere: Path, tmp_path: Path) -> None:
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
