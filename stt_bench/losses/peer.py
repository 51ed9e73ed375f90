"""Every loss and miner of pytorch-metric-learning, by name: `pml:ContrastiveLoss`."""

import inspect
from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stt_bench.losses.base import LossResult, RankingLoss
from stt_bench.losses.others import all_rows, others_now
from stt_bench.losses.peer_search import PEER_RANGES
from stt_bench.losses.search import Range
from stt_bench.names import did_you_mean

PREFIX = "pml:"
PARTS = {  # a parameter that names a class, and the module that has it
    "miner": "miners",
    "distance": "distances",
    "reducer": "reducers",
    "embedding_regularizer": "regularizers",
    "weight_regularizer": "regularizers",
}
SIZES = {  # a parameter that the data or the model gives, by its name here
    "num_classes": "num_classes",
    "embedding_size": "embedding_dim",
    "descriptors_dim": "embedding_dim",
}
INNER = ("collect_stats", "mat_based_loss")  # what classes pass to their bases themselves
# Bases of other losses, and two that take no labels.
NO_LOSSES = ("BaseMetricLossFunction", "GenericPairLoss", "ManifoldLoss", "VICRegLoss")
NO_PARTS = ("EmbeddingsAlreadyPackagedAsTriplets",)  # asks for other batches than are drawn here


class PeerLoss(RankingLoss):
    """A loss of pytorch-metric-learning as one of ours.

    Weights of the loss are parameters, tensors that it changes as it goes are buffers, and what it
    or its miner draws is seeded by torch's generator.

    Args:
        name: of a class in `pytorch_metric_learning.losses`.
        num_classes: number of classes, for a loss that asks for it.
        embedding_dim: size of an embedding, for a loss that asks for it.
        parameters: of the class. `miner`, `distance`, `reducer` and regularizers are names too, or
            {name: …} with their own parameters.

    Raises:
        ValueError: in one sentence, for an unknown name or parameter, or an impossible value.

    Source: Musgrave, Belongie and Lim, "PyTorch Metric Learning", 2020.

    """

    def __init__(
        self,
        name: str,
        *,
        num_classes: int | None = None,
        embedding_dim: int | None = None,
        **parameters: Any,
    ) -> None:
        """Build the loss and its miner."""
        super().__init__()
        self.name = PREFIX + name
        library = _module("losses")
        sizes = {"num_classes": num_classes, "embedding_dim": embedding_dim}
        miner = parameters.pop("miner", None)
        self.miner = None if miner is None else _part(self.name, "miner", miner, sizes)
        self.peer = _build(self.name, library, name, parameters, sizes, _losses(library))
        _keep_state(self.peer)
        supported = library.CrossBatchMemory.supported_losses()
        self.with_memory = name in supported
        # Losses that own vectors of the classes compare rows with those.
        self.needs_positives = self.needs_negatives = not _required(type(self.peer), "num_classes")

    def search_ranges(self) -> dict[str, Range]:
        """Return the ranges of the parameters of well-known losses; none of the others."""
        return dict(PEER_RANGES.get(self.name.removeprefix(PREFIX), {}))

    def compute(self, embeddings: Tensor, labels: Tensor) -> LossResult:
        """Return (loss, diagnostics): `terms` are the pairs or triplets that were mined."""
        common: Any = import_module("pytorch_metric_learning.utils.common_functions")
        common.NUMPY_RANDOM = np.random.RandomState(int(torch.randint(2**31, ())))
        others = others_now()
        if others is None:
            mined = None if self.miner is None else self.miner(embeddings, labels)
            return self.peer(embeddings, labels, mined), _terms(mined)
        rows = all_rows(embeddings, others.rows, others.with_batch)
        of_rows = all_rows(labels, others.labels, others.with_batch)
        if self.miner is None:
            pairs = import_module("pytorch_metric_learning.utils.loss_and_miner_utils")
            mined = pairs.get_all_pairs_indices(labels, of_rows)
        else:
            mined = self.miner(embeddings, labels, rows, of_rows)
        if others.with_batch:  # row a of the memory is the copy of anchor a
            mined = _without_itself(mined)
        return self.peer(embeddings, labels, mined, rows, of_rows), _terms(mined)


def peer_names() -> tuple[str, ...]:
    """Return the names of all losses of pytorch-metric-learning that can be used, sorted."""
    return tuple(sorted(_losses(_module("losses"))))


def peer_miners() -> tuple[str, ...]:
    """Return the names of all miners of pytorch-metric-learning that can be used, sorted."""
    return tuple(sorted(_parts(_module(PARTS["miner"]))))


def _losses(library: ModuleType) -> dict[str, type]:
    base = library.BaseMetricLossFunction
    return {
        name: entry
        for name, entry in vars(library).items()
        if inspect.isclass(entry) and issubclass(entry, base) and name not in NO_LOSSES
    }


def _module(part: str) -> ModuleType:
    return import_module(f"pytorch_metric_learning.{part}")  # when it is asked for: it is slow


def _part(loss: str, key: str, given: Any, sizes: Mapping[str, int | None]) -> nn.Module:
    """Return a miner, distance, reducer or regularizer from its name, or name and parameters."""
    if isinstance(given, str):
        given = {"name": given}
    if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
        raise ValueError(f"{key} of the loss {loss!r} must be a name or {{name: …}}, got {given!r}")
    library = _module(PARTS[key])
    parameters = {name: value for name, value in given.items() if name != "name"}
    return _build(loss, library, given["name"], parameters, sizes, _parts(library), key)


def _parts(library: ModuleType) -> dict[str, type]:
    return {
        name: entry
        for name, entry in vars(library).items()
        if inspect.isclass(entry) and not name.startswith("Base") and name not in NO_PARTS
    }


def _build(
    loss: str,
    library: ModuleType,
    name: str,
    parameters: Mapping[str, Any],
    sizes: Mapping[str, int | None],
    classes: Mapping[str, type],
    what: str = "loss",
) -> nn.Module:
    """Return an object of a class by its name, its parameters checked against the class's."""
    of = "" if what == "loss" else f" of the loss {loss!r}"
    if name not in classes:
        shown = loss if what == "loss" else name
        raise ValueError(f"unknown {what} {shown!r}{of}: {did_you_mean(name, classes)}")
    known = _parameters(classes[name])
    valid = [key for key in known if key not in SIZES]
    given = {}
    for key, value in parameters.items():
        if key not in valid and not (key in known and what != "loss"):
            raise ValueError(
                f"unknown parameter of the {what} {name!r}{of} {key!r}: {did_you_mean(key, valid)}"
            )
        given[key] = _part(loss, key, value, sizes) if key in PARTS else value
    for key, ours in SIZES.items():
        if key in known and key not in given and sizes[ours] is not None:
            given[key] = sizes[ours]
    missing = [key for key in known if _required(classes[name], key) and key not in given]
    if missing:
        raise ValueError(f"the {what} {name!r}{of} needs {' and '.join(missing)}")
    try:
        built = classes[name](**given)
    except (TypeError, ValueError, AssertionError, AttributeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"the {what} {name!r}{of} cannot be built: {reason}") from None
    assert isinstance(built, nn.Module)
    return built


def _parameters(cls: type) -> dict[str, inspect.Parameter]:
    """Return the parameters of a class and of those it stands on, to which it passes them."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    found: dict[str, inspect.Parameter] = {}
    for base in cls.__mro__:
        if base is nn.Module:
            break
        if "__init__" in vars(base):
            entries = inspect.signature(vars(base)["__init__"]).parameters
            for key, entry in entries.items():
                if entry.kind in named and key != "self":
                    found.setdefault(key, entry)
    return {key: entry for key, entry in found.items() if key not in INNER}


def _required(cls: type, key: str) -> bool:
    entry = _parameters(cls).get(key)
    return entry is not None and entry.default is inspect.Parameter.empty


def _keep_state(loss: nn.Module) -> None:
    """Make buffers of the tensors that a loss keeps beside them, so that a checkpoint has them."""
    for module in loss.modules():
        for name, value in list(vars(module).items()):
            if isinstance(value, Tensor):
                delattr(module, name)
                module.register_buffer(name, value)


def _terms(mined: Any) -> dict[str, Tensor]:
    """Return how many triplets (of three columns) or pairs (of two times two) were mined."""
    if mined is None:
        return {}
    count = len(mined[0]) + (len(mined[2]) if len(mined) == 4 else 0)
    return {"terms": mined[0].new_full((), count)}


def _without_itself(mined: Any) -> Any:
    """Leave out the pairs, or triplets, in which an anchor is its own positive."""
    kept = mined[0] != mined[1]
    rest = mined[2:] if len(mined) == 4 else (mined[2][kept],)
    return (mined[0][kept], mined[1][kept], *rest)
