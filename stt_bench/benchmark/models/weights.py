"""The weights a backbone starts from: where they lie, and what identifies them."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from stt_bench.benchmark.config.sections import ModelConfig
from stt_bench.benchmark.models.names import Library, resolve
from stt_bench.benchmark.models.weights_file import SUFFIXES, is_weights_file
from stt_bench.benchmark.system.errors import BenchError, NotHereError
from stt_bench.benchmark.system.locate import find_folder, search_places
from stt_bench.names import did_you_mean

PRETRAINED = "pretrained"
CONNECT_SECONDS = 5.0


def weights_id(model: ModelConfig) -> str:
    """Return what identifies the weights a backbone starts from, for the protocol fingerprint.

    ``random``, ``file:`` and the first 16 hex digits of the file's sha256, or the library's own
    tag: ``torchvision:ResNet50_Weights.IMAGENET1K_V2``, ``timm:tf_efficientnet_lite0.in1k``.
    """
    if model.weights is None:
        return "random"
    file = weights_file(model)
    if file is None:
        return str(library_tag(model))
    with file.open("rb") as stream:
        return f"file:{hashlib.file_digest(stream, 'sha256').hexdigest()[:16]}"


def weights_file(model: ModelConfig) -> Path | None:
    """Return the local file of a config's weights, or None: random, or the library downloads them.

    ``pretrained`` is a file of the backbone's name in a `weights` folder, where there is one.
    """
    if model.weights is None:
        return None
    tag = library_tag(model)
    if tag is None:
        return find_weights(model.weights)
    if model.weights != PRETRAINED:
        return None
    _, name = resolve(model.backbone)
    stems = dict.fromkeys([name, tag.partition(":")[2]])
    for stem in stems:
        for suffix in SUFFIXES:
            found = find_folder("weights", f"{stem}{suffix}")
            if found is not None and found.is_file():
                return found
    return None


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
    if library == "torchvision" and not is_weights_file(model.weights):
        return _torchvision_tag(name, model.weights)
    return None


def find_weights(name: str) -> Path:
    """Return the weights file of that name: as given, or in a known `weights` folder."""
    given = Path(name).expanduser()
    if given.is_file():
        return given
    found = find_folder("weights", name)
    if found is not None and found.is_file():
        return found
    places = dict.fromkeys([given, *search_places("weights", name)])
    raise NotHereError(
        f"model.weights is neither '{PRETRAINED}' nor an existing file: '{name}' was looked for at "
        f"{', '.join(str(place) for place in places)}"
    )


def is_fetched(model: ModelConfig) -> bool:
    """Tell whether a library fetches the weights, or has them from before; its server answers."""
    tag = library_tag(model)
    if tag is None or weights_file(model) is not None:
        return False
    if tag.startswith("torchvision:"):
        return _is_reachable("https://download.pytorch.org")
    from huggingface_hub import constants

    return not constants.HF_HUB_OFFLINE and _is_reachable(constants.ENDPOINT)


@contextmanager
def hub_reachable_or_offline() -> Iterator[None]:
    """Let timm's hub take only what it has cached while its server cannot be reached.

    Otherwise it tries again for most of a minute, for each row of a table.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _is_reachable(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


@cache
def _is_reachable(address: str) -> bool:
    """Tell whether a server takes connections; behind a proxy that is not for us to say."""
    if getproxies():
        return True
    parts = urlsplit(address)
    port = parts.port or (80 if parts.scheme == "http" else 443)
    try:
        socket.create_connection((parts.hostname or "", port), CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


def _torchvision_tag(name: str, wanted: str) -> str:
    import torchvision

    known = {weights.name: weights for weights in torchvision.models.get_model_weights(name)}
    if wanted not in known:
        raise BenchError(
            f"model.weights: torchvision has no weights '{wanted}' of {name}: "
            f"{did_you_mean(wanted.upper(), known)} (a file ends in {', '.join(SUFFIXES)})"
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
