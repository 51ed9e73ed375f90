"""What every loss shares: the batch contract, and the class that the trainer talks to."""

import inspect
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial, wraps
from types import MappingProxyType
from typing import Any, ClassVar, Concatenate, Literal, ParamSpec, Protocol

import torch
from torch import Tensor, nn

from stt_bench.losses.parameters import checked, parameters_of, takes_any, with_parameters
from stt_bench.losses.search import Range
from stt_bench.losses.weights import checked_weights, weighted_by

Diagnostics = dict[str, Tensor]
LossResult = tuple[Tensor, Diagnostics]
BatchLayout = Literal["any", "pairs", "blocks"]

P = ParamSpec("P")


class LossFunction(Protocol[P]):
    """A loss as a function that checks its batch and its parameters; `formula` does not."""

    formula: Callable[..., LossResult]

    def __call__(
        self, embeddings: Tensor, labels: Tensor, *args: P.args, **kwargs: P.kwargs
    ) -> LossResult:
        """Return (loss, diagnostics)."""


def loss_function(
    function: Callable[Concatenate[Tensor, Tensor, P], LossResult],
) -> LossFunction[P]:
    """Give `function(embeddings, labels, ...)` the batch contract of the package.

    The function sees (B,) int64 labels and at least one row of embeddings, of at least float32,
    and runs with autocast switched off: half precision holds neither a squared distance of large
    embeddings nor the difference of two close ones. float64 stays float64. Diagnostics come back
    detached. An empty batch gives 0 without asking the function. Keyword-only parameters are
    checked against their annotations; see `stt_bench.losses.parameters`. Beside them the function
    takes `weights`, as `RankingLoss` does.
    """
    parameters = parameters_of(function)

    @wraps(function)
    def loss(embeddings: Tensor, labels: Tensor, *args: P.args, **kwargs: P.kwargs) -> LossResult:
        weights: Any = kwargs.pop("weights", None)
        known = {name: value for name, value in kwargs.items() if name in parameters}
        kwargs.update(checked(parameters, known))
        return _on_batch(partial(function, **kwargs), embeddings, labels, *args, weights=weights)

    loss.formula = function  # type: ignore[attr-defined]
    return loss  # type: ignore[return-value]


def check_batch(embeddings: Tensor, labels: Tensor) -> Tensor:
    """Return the labels as a (B,) int64 tensor, or raise ValueError if the batch is malformed."""
    for name, given in (("embeddings", embeddings), ("labels", labels)):
        if not isinstance(given, Tensor):
            raise ValueError(f"{name} must be a tensor, got {type(given).__name__}")
    if embeddings.ndim != 2 or embeddings.shape[1] == 0 or not embeddings.is_floating_point():
        raise ValueError(
            f"embeddings must be a (B, D) float tensor, "
            f"got shape {tuple(embeddings.shape)} of {embeddings.dtype}"
        )
    size = embeddings.shape[0]
    if tuple(labels.shape) not in ((size,), (size, 1)):
        raise ValueError(
            f"labels must have shape ({size},) or ({size}, 1) to match the embeddings, "
            f"got {tuple(labels.shape)}"
        )
    if labels.device != embeddings.device:
        raise ValueError(
            f"labels are on {labels.device} but embeddings are on {embeddings.device}: "
            f"move them to one device"
        )
    if labels.dtype == torch.int64 and labels.ndim == 1:
        return labels
    whole = not labels.is_complex()
    if labels.is_floating_point():
        whole = bool(((labels == labels.round()) & labels.isfinite()).all())
    if not whole:
        raise ValueError(f"labels must be whole numbers, got {labels.dtype}")
    return labels.reshape(size).long()


def at_least_float32(x: Tensor) -> Tensor:
    """Return `x`, widened to float32 if it is narrower."""
    return x.float() if x.dtype.itemsize < 4 else x


def _on_batch(
    function: Callable[..., LossResult],
    embeddings: Tensor,
    labels: Tensor,
    *args: Any,
    weights: Tensor | None = None,
) -> LossResult:
    """Return what a function makes of a batch that it may trust; see `loss_function`."""
    labels = check_batch(embeddings, labels)
    embeddings = at_least_float32(embeddings)
    if weights is not None:
        weights = checked_weights(weights, embeddings)
    if embeddings.shape[0] == 0:
        return embeddings.sum(), {"terms": labels.new_zeros(())}
    device = embeddings.device.type
    if weights is None and not torch.is_autocast_enabled(device):  # a context costs time
        loss, diagnostics = function(embeddings, labels, *args)
    else:
        weighted = nullcontext() if weights is None else weighted_by(weights)
        with torch.autocast(device, enabled=False), weighted:
            loss, diagnostics = function(embeddings, labels, *args)
    return loss, {
        key: value.detach() if value.requires_grad else value for key, value in diagnostics.items()
    }


class RankingLoss(nn.Module):
    """A loss on a batch of embeddings: `loss(embeddings, labels, weights=None) -> 0-d tensor`.

    `embeddings` is (B, D) float, `labels` (B,) or (B, 1), whole numbers. Half-precision embeddings
    are widened, so the value is float32 or float64, also under autocast.

    `weights` (B,), at least 0, say how much each row counts where it is an anchor, or is
    classified: every term is multiplied by the weight w of its anchor, and a mean over terms
    becomes Σ w·term / Σ w. So only their ratios matter, equal weights are no weights, and a row of
    weight 0 is no anchor; as a positive or a negative of the others each row counts as before.

    An anchor (or pair) without a positive or without a negative contributes nothing, and is not
    counted in the mean: this differs on purpose from the source systems, where such an anchor
    counts as a term with distance 0 to its missing positive, or dilutes the mean with a 0. If no
    term is left, as in an empty batch, the loss is exactly 0 and still differentiable, with
    gradient 0.

    A subclass names its function, `class ZeroLoss(RankingLoss, function=zero_loss)`, whose
    keyword-only parameters become those of the constructor: checked, kept in attributes of the
    same names, and explained in the docstring of the class by the words of the function's. A loss
    with more parameters, or with weights of its own, lists those in an `__init__` that passes all
    of them on to `super().__init__`, and overrides `compute`; `function.formula` is the function
    without its checks. The trainer reads:

    - `name`: the name in the registry, set by `register_loss`;
    - `batch_layout`: "any"; "pairs" (rows 2i and 2i + 1 are an anchor and its positive); or
      "blocks" (the rows of a class follow each other, four of each class);
    - `needs_positives`, `needs_negatives`: whether a batch that lacks them contributes nothing;
    - `least_rows`: a batch of fewer contributes nothing, too;
    - `logits(embeddings)`: (B, C) class scores, of a loss that knows the classes; else None;
    - the parameters called `proxies` or `beta`: they learn at a rate of their own, without weight
      decay;
    - `with_memory`: whether `CrossBatchMemory` can wrap it: its anchors are compared with rows by
      `pairwise_distances` and `same_class` alone, which may be a memory's;
    - `with_weights`: whether the loss takes `weights`;
    - `search`: between which values each parameter is tuned, the same for all data, and
      `search_weight`: the weight of the loss beside a classifier; see `search_ranges`;
    - `diagnostics`: detached 0-d tensors about the last call, left on the device of the batch:
      `terms` (number of valid terms), `active` (share of the terms above 0; only for losses with
      a hinge, since a smooth term is never 0), `anchors_without_positive`,
      `anchors_without_negative`, and for losses that read pairs off the batch order
      `pairs_skipped`.

    Raises:
        ValueError: when built with an impossible parameter, or called with a batch of the wrong
            shape, dtype or device.

    """

    name: str = ""
    batch_layout: BatchLayout = "any"
    needs_positives: bool = True
    needs_negatives: bool = True
    least_rows: int = 1
    with_memory: bool = False
    with_weights: bool = False
    search: ClassVar[Mapping[str, Range]] = MappingProxyType({})
    search_weight: ClassVar[Range] = Range(0.03, 3.0, "log")

    function: LossFunction[...] | None = None
    _options: Mapping[str, inspect.Parameter] = MappingProxyType({})
    _formula_options: tuple[str, ...] = ()

    def __init_subclass__(cls, function: LossFunction[...] | None = None) -> None:
        """Take the parameters of the function, and those of an `__init__` of the class's own."""
        super().__init_subclass__()
        own = "__init__" in vars(cls)
        if function is not None:
            cls.function = staticmethod(function)  # type: ignore[assignment]
        if cls.function is None or not (own or function):
            return
        formula = cls.function.formula
        named = parameters_of(cls.__init__)  # of the class, or of the one it stands on
        cls._formula_options = tuple(parameters_of(formula))
        cls._options = {**named, **parameters_of(formula)}
        shown = cls._options if takes_any(cls.__init__) else named
        cls.__signature__ = inspect.Signature(list(shown.values()))  # type: ignore[attr-defined]
        cls.__doc__ = with_parameters(cls.__doc__ or "", formula.__doc__ or "", shown)

    def __init__(self, **parameters: Any) -> None:
        """Check and keep the parameters; ValueError for an impossible one."""
        super().__init__()
        self.diagnostics: Diagnostics = {}
        for name in parameters:
            if name not in self._options:
                raise TypeError(f"{type(self).__name__} has no parameter {name!r}")
        optional = {
            name: entry.default
            for name, entry in self._options.items()
            if entry.default is not entry.empty
        }
        for name, value in checked(self._options, optional | parameters).items():
            setattr(self, name, value)

    def forward(self, embeddings: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the loss of the batch and keep its diagnostics."""
        if weights is not None and not self.with_weights:
            raise ValueError(f"the loss {self.name!r} takes no sample weights")
        loss, found = _on_batch(self.compute, embeddings, labels, weights=weights)
        object.__setattr__(self, "diagnostics", found)  # a module's own way takes longer
        return loss

    def compute(self, embeddings: Tensor, labels: Tensor) -> LossResult:
        """Return (loss, diagnostics) of a checked batch; see `loss_function`."""
        if self.function is None:
            raise NotImplementedError(f"{type(self).__name__} has neither a function nor `compute`")
        options = {name: getattr(self, name) for name in self._options}
        return self.function.formula(embeddings, labels, **options)

    def search_ranges(self) -> dict[str, Range]:
        """Return the ranges of `search` whose parameters are numbers here, and so can be tuned.

        A margin that is "soft" stays, and so does what is null. A subclass leaves out what has no
        effect beside its other parameters.
        """
        return {
            name: bounds
            for name, bounds in self.search.items()
            if not isinstance(getattr(self, name), str | None)
        }

    def logits(self, embeddings: Tensor) -> Tensor | None:
        """Return the (B, C) class scores of (B, D) embeddings, or None: the loss has no classes."""
        return None

    def extra_repr(self) -> str:
        """Show the parameters when the module is printed."""
        parameters = inspect.signature(type(self)).parameters
        return ", ".join(
            f"{key}={getattr(self, key)!r}" for key in parameters if hasattr(self, key)
        )
