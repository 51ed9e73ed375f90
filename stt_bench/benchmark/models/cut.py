"""Where a network is cut: what lies before is frozen, so that an image passes it once.

The frozen part must be a chain from the input on. Whether the rest can be computed from what the
chain gives, and gives the same bits, is tried on random images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from stt_bench.benchmark.config.sections import InputConfig, ModelConfig

if TYPE_CHECKING:
    from stt_bench.benchmark.models.network import EmbeddingNetwork

_RANDOM = ("dropout", "droppath", "stochasticdepth", "dropblock")
"""Parts of the names of modules that do otherwise in training."""
_TRIED = 2  # images


class Cut:
    """The frozen part of a network: its modules in the order in which an image passes them.

    Without modules the whole backbone is frozen.
    """

    def __init__(self, modules: dict[str, nn.Module] | None = None) -> None:
        """Take the modules of the backbone's net by their paths."""
        self.modules = modules or {}

    @property
    def is_whole(self) -> bool:
        """Tell whether the whole backbone lies before the cut."""
        return not self.modules

    @property
    def name(self) -> str:
        """Return the path of the last module before the cut, or ``all``."""
        return list(self.modules)[-1] if self.modules else "all"

    def reach(self, backbone: nn.Module, images: Tensor) -> Tensor:
        """Return what the last module before the cut gives; nothing after it is computed."""
        *_, last = self.modules.values()
        handle = last.register_forward_hook(_stop)
        try:
            backbone(images)
        except _Reached as reached:
            return reached.output
        finally:
            handle.remove()
        raise AssertionError(f"{self.name} was not reached")

    @contextmanager
    def skipped(self) -> Iterator[None]:
        """Let the modules before the cut return what they are given."""
        for module in self.modules.values():
            module.forward = _as_given
        try:
            yield
        finally:
            for module in self.modules.values():
                del module.forward

    @property
    def prefixes(self) -> tuple[str, ...]:
        """Return how the names of the network's tensors before the cut begin."""
        return tuple(f"backbone.net.{path}." for path in self.modules) or ("backbone.",)

    def weights_sha256(self, net: nn.Module) -> str:
        """Return the sha256 of all parameters and buffers before the cut, with their names."""
        digest = hashlib.sha256()
        starts = tuple(f"{path}." for path in self.modules) or ("",)
        for name, tensor in net.state_dict().items():
            if name.startswith(starts):
                digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
                digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
        return digest.hexdigest()


class _Reached(Exception):  # noqa: N818  (no error)
    def __init__(self, output: Any) -> None:
        self.output = output


def _stop(_module: nn.Module, _given: Any, output: Any) -> None:
    raise _Reached(output)


def _as_given(x: Any, *_: Any, **__: Any) -> Any:
    return x


_found: dict[str, list[str]] = {}


def cut_of(network: EmbeddingNetwork, model: ModelConfig, input: InputConfig) -> Cut | None:
    """Return where a network is cut, or None: see `find_cut`, which is asked once of its kind."""
    if not input.is_fixed or not network.frozen:
        return None
    if any(module is network.backbone for module in network.frozen):
        return Cut()
    kind = f"{model.model_dump_json(exclude={'weights'})} {input.channels} {input.size}"
    if kind not in _found:
        cut = find_cut(network, input.channels, input.size)
        _found[kind] = list(cut.modules) if cut is not None else []
    modules = {path: network.backbone.net.get_submodule(path) for path in _found[kind]}
    return Cut(modules) if modules else None


def find_cut(network: EmbeddingNetwork, channels: int, size: int) -> Cut | None:
    """Return where a network can be cut, or None: its first layers train, or it is no chain.

    Args:
        network: some of whose modules are frozen.
        channels: of its images.
        size: of its images, pixels.
    """
    generator = torch.Generator().manual_seed(0)
    shape = (_TRIED, channels, size, size)
    images = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    images = images.to(network.mean.device)
    with torch.random.fork_rng(devices=[]), _as_it_was(network), torch.no_grad():
        modules = _chain(network, images)
        cut = Cut(modules)
        return cut if modules and _is_exact(network, cut, images) else None


def _chain(network: EmbeddingNetwork, images: Tensor) -> dict[str, nn.Module]:
    """Return the modules that an image passes before the first that trains."""
    net = network.backbone.net
    frozen = {id(module) for module in network.frozen}
    units: dict[str, nn.Module] = {}
    for path, module in net.named_modules():  # parents first
        if any(path.startswith(f"{unit}.") for unit in units):
            continue
        if path and (id(module) in frozen or not any(module.children())):
            units[path] = module
    passed: list[str] = []
    handles = [
        unit.register_forward_hook(lambda *_, path=path: passed.append(path))
        for path, unit in units.items()
    ]
    network.eval()
    try:
        network(images)
    finally:
        for handle in handles:
            handle.remove()
    chain: dict[str, nn.Module] = {}
    for path in passed:
        if not (id(units[path]) in frozen or _is_still(units[path])):
            break
        chain[path] = units[path]
    if not any(unit.state_dict() for unit in chain.values()):
        return {}
    return chain


def _is_still(module: nn.Module) -> bool:
    """Tell whether a module without children has nothing to train and does the same in training."""
    kind = type(module).__name__.lower()
    return not module.state_dict() and not any(word in kind for word in _RANDOM)


def _is_exact(network: EmbeddingNetwork, cut: Cut, images: Tensor) -> bool:
    """Tell whether the part after the cut gives the bits of the whole, trained and measured."""
    for training in (False, True):
        network.train(training)
        torch.manual_seed(0)
        whole = network(images)
        network.cut = cut
        try:
            rows = network.encode(images).clone()
            torch.manual_seed(0)
            parted = network(rows)
        except Exception:  # a module that is skipped may change what those after it are given
            return False
        finally:
            network.cut = None
        if not all(map(_same_bits, whole, parted)):
            return False
    return True


def _same_bits(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one.view(torch.int32), other.view(torch.int32))


@contextmanager
def _as_it_was(network: nn.Module) -> Iterator[None]:
    """Give a network back its mode and buffers: batch norm counts what passes it."""
    training = network.training
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    try:
        yield
    finally:
        for name, buffer in network.named_buffers():
            buffer.copy_(before[name])
        network.train(training)
