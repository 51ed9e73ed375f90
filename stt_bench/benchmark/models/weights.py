"""Weights of a backbone: their identity, the file they lie in, and strict loading from it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stt_bench.benchmark.config.sections import ModelConfig
from stt_bench.benchmark.models.names import Library, resolve
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.names import did_you_mean

PRETRAINED = "pretrained"
_SUFFIXES = (".safetensors", ".pth", ".pt")


def weights_id(model: ModelConfig) -> str:
    """Return what identifies the weights a backbone starts from, for the protocol fingerprint.

    ``random``, ``file:`` and the first 16 hex digits of the file's sha256, or the library's own
    tag: ``torchvision:ResNet50_Weights.IMAGENET1K_V2``, ``timm:tf_efficientnet_lite0.in1k``.
    """
    if model.weights is None:
        return "random"
    tag = library_tag(model)
    if tag is not None:
        return tag
    with find_weights(model.weights).open("rb") as file:
        return f"file:{hashlib.file_digest(file, 'sha256').hexdigest()[:16]}"


def library_tag(model: ModelConfig) -> str | None:
    """Return the library's tag of the weights it would download, or None: a file or no weights.

    Raises:
        BenchError: the library has no such weights of the backbone.
    """
    library, name = resolve(model.backbone)
    if model.weights is None:
        return None
    if model.weights == PRETRAINED:
        return _default_tag(library, name)
    if library == "torchvision" and Path(model.weights).suffix not in _SUFFIXES:
        return _torchvision_tag(name, model.weights)
    return None


def _torchvision_tag(name: str, wanted: str) -> str:
    import torchvision

    known = {weights.name: weights for weights in torchvision.models.get_model_weights(name)}
    if wanted not in known:
        raise BenchError(
            f"model.weights: torchvision has no weights '{wanted}' of {name}: "
            f"{did_you_mean(wanted.upper(), known)} (a file ends in {', '.join(_SUFFIXES)})"
        )
    return f"torchvision:{known[wanted]}"


def _default_tag(library: Library, name: str) -> str:
    if library == "torchvision":
        import torchvision

        return f"torchvision:{torchvision.models.get_model_weights(name).DEFAULT}"
    if library == "timm":
        from timm.models import get_pretrained_cfg

        known = get_pretrained_cfg(name)
        if known is not None and known.has_weights:
            return f"timm:{known.architecture}.{known.tag}"
    raise BenchError(
        f"model.weights: there are no pretrained weights of {name} to download; "
        "name a local file, or leave weights out for a random start"
    )


def find_weights(name: str) -> Path:
    """Return the weights file of that name: as given, or in a known `weights` folder."""
    from stt_bench.benchmark.system.locate import find_folder, search_places

    given = Path(name).expanduser()
    if given.is_file():
        return given
    found = find_folder("weights", name)
    if found is not None and found.is_file():
        return found
    places = dict.fromkeys([given, *search_places("weights", name)])
    raise BenchError(
        f"model.weights is neither '{PRETRAINED}' nor an existing file: '{name}' was looked for at "
        f"{', '.join(str(place) for place in places)}"
    )


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a weights file, under the names they have in the backbone."""
    if path.suffix not in _SUFFIXES:
        raise BenchError(f"model.weights: '{path}' ends in none of {', '.join(_SUFFIXES)}")
    try:
        content = _read(path)
    except Exception as error:  # whatever a damaged or foreign file makes the readers raise
        raise BenchError(f"model.weights: cannot read '{path}': {first_line(error)}") from error
    for wrapper in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not (
        isinstance(content, Mapping)
        and content
        and all(isinstance(value, Tensor) for value in content.values())
    ):
        raise BenchError(f"model.weights: '{path}' does not hold a dictionary of named tensors")
    parallel = all(key.startswith("module.") for key in content)
    return {
        _current_key(key.removeprefix("module.") if parallel else key): value
        for key, value in content.items()
    }


def load_strictly(
    net: nn.Module, tensors: Mapping[str, Tensor], leftovers: Sequence[str], source: Path
) -> None:
    """Load every tensor into `net`, or raise; tensors of the modules `leftovers` are passed over.

    Only batch norm's step counters may be absent: older files have none.
    """
    passed_over = tuple(f"{module}." for module in leftovers)
    tensors = {key: value for key, value in tensors.items() if not key.startswith(passed_over)}
    own = net.state_dict()
    differences = {
        "missing": [
            key for key in own if key not in tensors and not key.endswith("num_batches_tracked")
        ],
        "unexpected": [key for key in tensors if key not in own],
        "of another shape": [
            f"{key}: {tuple(value.shape)} instead of {tuple(own[key].shape)}"
            for key, value in tensors.items()
            if key in own and value.shape != own[key].shape
        ],
    }
    if any(differences.values()):
        told = "; ".join(
            f"{len(keys)} {kind} ({', '.join(keys[:3])}{', …' if len(keys) > 3 else ''})"
            for kind, keys in differences.items()
            if keys
        )
        raise BenchError(f"model.weights: '{source}' does not fit the backbone: {told}")
    net.load_state_dict(tensors)  # it fills in absent step counters


def first_line(error: BaseException) -> str:
    """Return the kind of an error and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].rstrip('.')}" if lines else type(error).__name__


def _read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _current_key(key: str) -> str:
    """Rename ``denselayer1.norm.1.weight`` of torchvision's DenseNet files to ``…norm1.weight``."""
    return re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2", key)
