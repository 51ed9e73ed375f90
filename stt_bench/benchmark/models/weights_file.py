"""Weights files as people have them: suffixes, wrappers and prefixes; and strict loading."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.tensor_files import read_tensors

SUFFIXES = (".safetensors", ".pth", ".pt", ".pth.tar", ".ckpt", ".bin")
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "weights")
_TRAINED = ("encoder_q", "student", "model", "backbone")
"""Of two equal networks in one file, the one that training updated bears such a name."""


def is_weights_file(name: str) -> bool:
    """Tell whether a name ends as a weights file's does."""
    return name.lower().endswith(SUFFIXES)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the named tensors of a weights file, taken out of a training checkpoint's wrapping.

    Raises:
        BenchError: the file cannot be read, or holds anything but named tensors that are finite.
    """
    if not is_weights_file(path.name):
        raise BenchError(f"model.weights: '{path}' ends in none of {', '.join(SUFFIXES)}")
    content = _unwrapped(_read(path))
    if not _is_named_tensors(content):
        raise BenchError(f"model.weights: '{path}' does not hold a dictionary of named tensors")
    for key, value in content.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise BenchError(f"model.weights: '{path}' holds NaN or infinite values in {key}")
    return {_current_key(key): value for key, value in content.items()}


def load_strictly(
    net: nn.Module, tensors: Mapping[str, Tensor], leftovers: Sequence[str], source: Path
) -> None:
    """Load every tensor of `net` from a file's, or raise.

    Where the file's network has more around it (``module.``, ``backbone.``, ``encoder_q.``, a
    run's ``network.backbone.net.``), the prefix under which all of `net` stands is found, and what
    stands outside it is passed over; so are the modules `leftovers`. Only batch norm's step
    counters may be absent: older files have none.
    """
    own = net.state_dict()
    prefix = _prefix_of(own, tensors, source)
    passed_over = tuple(f"{module}." for module in leftovers)
    inside = {
        key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)
    }
    inside = {key: value for key, value in inside.items() if not key.startswith(passed_over)}
    differences = {
        "missing": [
            key for key in own if key not in inside and not key.endswith("num_batches_tracked")
        ],
        "unexpected": [key for key in inside if key not in own],
        "of another shape": [
            f"{key}: {tuple(value.shape)} instead of {tuple(own[key].shape)}"
            for key, value in inside.items()
            if key in own and value.shape != own[key].shape
        ],
    }
    if any(differences.values()):
        told = "; ".join(
            f"{len(keys)} {kind} ({', '.join(keys[:3])}{', …' if len(keys) > 3 else ''})"
            for kind, keys in differences.items()
            if keys
        )
        under = f" under '{prefix}'" if prefix else ""
        raise BenchError(f"model.weights: '{source}' does not fit the backbone{under}: {told}")
    net.load_state_dict(inside)  # it fills in absent step counters


def first_line(error: BaseException) -> str:
    """Return the kind of an error and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].rstrip('.')}" if lines else type(error).__name__


def _read(path: Path) -> Any:
    try:
        if path.name.lower().endswith(".safetensors"):
            return read_tensors(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        # torch's own message explains how to run whatever the file holds.
        raise BenchError(
            f"model.weights: cannot read '{path}': it is damaged, or holds Python objects beside "
            "its tensors, and reading those could run a stranger's code: save the state_dict "
            "alone, best as .safetensors"
        ) from None
    except BenchError:
        raise
    except Exception as error:  # whatever the readers make of a damaged file
        raise BenchError(f"model.weights: cannot read '{path}': {first_line(error)}") from error


def _unwrapped(content: Any) -> Any:
    """Return the innermost dictionary of tensors: a checkpoint keeps it beside its bookkeeping."""
    for _ in _WRAPPERS:  # none is met twice, but in a dictionary that holds itself
        if not isinstance(content, Mapping) or _is_named_tensors(content):
            break
        inside = (content.get(key) for key in _WRAPPERS)
        content = next((inner for inner in inside if isinstance(inner, Mapping)), content)
    return content


def _is_named_tensors(content: Any) -> bool:
    return (
        isinstance(content, Mapping)
        and bool(content)
        and all(isinstance(key, str) for key in content)
        and all(isinstance(value, Tensor) for value in content.values())
    )


def _prefix_of(own: Iterable[str], keys: Iterable[str], source: Path) -> str:
    """Return the prefix under which most of a network's keys stand in a file; empty if as is."""
    wanted = {key for key in own if not key.endswith("num_batches_tracked")}
    found: dict[str, int] = {}
    for key in keys:
        parts = key.split(".")
        for cut in range(len(parts)):
            if ".".join(parts[cut:]) in wanted:
                prefix = "".join(f"{part}." for part in parts[:cut])
                found[prefix] = found.get(prefix, 0) + 1
    most = max(found.values(), default=0)
    best = [prefix for prefix, count in found.items() if count == most]
    if not best or "" in best:
        return ""
    if len(best) > 1:  # a network and its moving average, or a pair that look at each other
        trained = [p for p in best if any(name in p.split(".") for name in _TRAINED)]
        best = trained if len(trained) == 1 else best
    if len(best) > 1:
        raise BenchError(
            f"model.weights: '{source}' holds several networks, under "
            f"{', '.join(repr(prefix) for prefix in sorted(best))}: save one of them alone"
        )
    return best[0]


def _current_key(key: str) -> str:
    """Rename ``denselayer1.norm.1.weight`` of torchvision's DenseNet files to ``…norm1.weight``."""
    return re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2", key)
