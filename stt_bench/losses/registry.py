"""From names to losses: the built-in ones, `--plugin` files, and installed third-party packages."""

import inspect
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from stt_bench.losses.base import RankingLoss
from stt_bench.losses.peer import PREFIX, PeerLoss
from stt_bench.names import did_you_mean

ENTRY_POINT_GROUP = "stt_bench.losses"
# Given by the dataset and the model, not by the user.
CONTEXT = ("num_classes", "embedding_dim", "class_counts")
REQUIRED = inspect.Parameter.empty

Factory = Callable[..., RankingLoss]
F = TypeVar("F", bound=Factory)

_factories: dict[str, Factory] = {}
_from_packages: set[str] = set()


def register_loss(name: str) -> Callable[[F], F]:
    """Make a `RankingLoss` subclass, or a function that returns one, available under `name`.

    Raises:
        ValueError: if the name is taken.

    Example:
        >>> @register_loss("zero")  # doctest: +SKIP
        ... class ZeroLoss(RankingLoss):
        ...     def compute(self, embeddings, labels):
        ...         return 0 * embeddings.sum(), {}

    """

    def register(factory: F) -> F:
        if name in _factories:
            raise ValueError(f"a loss named {name!r} is already registered")
        _factories[name] = factory
        if isinstance(factory, type) and issubclass(factory, RankingLoss):
            factory.name = name
        return factory

    return register


def loss_names() -> tuple[str, ...]:
    """Return the names of all losses, sorted; installed packages are listed, not imported."""
    return tuple(sorted({*_factories, *_packaged()}))


def loss_parameters(name: str) -> dict[str, Any]:
    """Return the parameters of a loss and their defaults (`inspect.Parameter.empty`: required).

    Example:
        >>> loss_parameters("lifted")
        {'margin': 1.0, 'normalize': False, 'form': 'structured'}

    """
    named, _ = _signature(_find(name))
    return {key: default for key, default in named.items() if key not in CONTEXT}


def build_loss(
    name: str,
    *,
    num_classes: int | None = None,
    embedding_dim: int | None = None,
    class_counts: Sequence[int] | None = None,
    **params: Any,
) -> RankingLoss:
    """Return the loss called `name`; see `loss_names` and `loss_parameters`.

    `pml:NAME` is a loss of pytorch-metric-learning, with its parameters and a `miner`; see
    `PeerLoss`.

    `num_classes` and `embedding_dim` are needed by losses that hold vectors of the classes
    (`center`, `softmax`, `cosface`), and ignored by all others; so are `class_counts`, the numbers
    of training images of the classes, by all but `softmax` with `logit_adjustment`.

    Raises:
        ValueError: in one sentence, for an unknown name or parameter, or an impossible value.

    Example:
        >>> build_loss("hard_triplet", margin="soft")
        HardTripletLoss(margin='soft', distance='euclidean', normalize=False)

    """
    if name.startswith(PREFIX):
        sizes = {"num_classes": num_classes, "embedding_dim": embedding_dim}
        return PeerLoss(name.removeprefix(PREFIX), **sizes, **params)
    factory = _find(name)
    named, takes_any = _signature(factory)
    valid = tuple(key for key in named if key not in CONTEXT)
    for key in params:
        if key not in valid and not takes_any:
            raise ValueError(
                f"unknown parameter of the loss {name!r} {key!r}: {did_you_mean(key, valid)}"
            )
    context = {
        "num_classes": num_classes,
        "embedding_dim": embedding_dim,
        "class_counts": class_counts,
    }
    params |= {key: context[key] for key in CONTEXT if key in named and context[key] is not None}
    missing = [key for key, default in named.items() if default is REQUIRED and key not in params]
    if missing:
        raise ValueError(f"the loss {name!r} needs {' and '.join(missing)}")
    loss = factory(**params)
    if not isinstance(loss, RankingLoss):
        raise ValueError(f"the loss {name!r} is a {type(loss).__name__}, not a RankingLoss")
    loss.name = name
    return loss


def _find(name: str) -> Factory:
    if name not in _factories:
        packaged = _packaged()
        if name not in packaged:
            raise ValueError(f"unknown loss {name!r}: {did_you_mean(name, loss_names())}")
        register_loss(name)(packaged[name].load())
        _from_packages.add(name)
    return _factories[name]


def _signature(factory: Factory) -> tuple[dict[str, Any], bool]:
    """Return the named parameters with their defaults, and whether any other is taken too."""
    parameters = inspect.signature(factory).parameters.values()
    open_ended = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    named = {entry.name: entry.default for entry in parameters if entry.kind not in open_ended}
    takes_any = any(entry.kind is inspect.Parameter.VAR_KEYWORD for entry in parameters)
    return named, takes_any


def _packaged() -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=ENTRY_POINT_GROUP):
        if point.name in found or (point.name in _factories and point.name not in _from_packages):
            raise ValueError(
                f"the installed loss {point.name!r} ({point.value}) has a name that is taken"
            )
        found[point.name] = point
    return found
