"""GPUs that are pretended, for machines without one: tensors in CPU memory that say they are there.

They hold real values. Where tensors of two devices meet it raises, as CUDA does; what the host
would wait for is noted with the line of the project that asks for it, and so is every device that
is named. It tells nothing of speed, streams or kernels, and casts by autocast products alone.

    with pretended_gpus(2) as seen:
        x = torch.ones(3, device="cuda:1")
        float(x.sum())
    assert len(seen.waits) == 1
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

ROOMS = ("/stt_bench/losses/", "/stt_bench/evaluation/", "/stt_bench/benchmark/")
_aten = torch.ops.aten
# The size of what these return is known on the device alone, or their value is asked for.
_WAITING = {
    _aten._local_scalar_dense.default,
    _aten.nonzero.default,
    _aten.masked_select.default,
    _aten.equal.default,
    _aten.bincount.default,
    _aten._unique2.default,
    _aten.repeat_interleave.Tensor,
}
_INDEXING = {
    _aten.index.Tensor,
    _aten.index_put.default,
    _aten.index_put_.default,
    _aten._index_put_impl_.default,
}
_COPYING = {_aten.copy_.default, _aten._to_copy.default}
_PRODUCTS = {"linear", "conv1d", "conv2d", "matmul", "mm", "bmm", "addmm", "baddbmm", "einsum"}
_PRODUCTS |= {"__matmul__", "__rmatmul__", "scaled_dot_product_attention"}


@dataclass
class Seen:
    """What was done on the pretended GPUs, by the line of the project that did it."""

    waits: Counter[str] = field(default_factory=Counter)
    devices: Counter[str] = field(default_factory=Counter)

    def forget(self) -> None:
        self.waits.clear()
        self.devices.clear()


_seen = Seen()


def _line() -> str:
    """Return the innermost line of the project that is being run."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if any(room in name for room in ROOMS):
            return f"{name.split('/stt_bench/')[-1]}:{frame.f_lineno}"
        frame = frame.f_back
    return "elsewhere"


def _waits(why: str) -> None:
    _seen.waits[f"{why} at {_line()}"] += 1


class OnGpu(Tensor):
    """A tensor of a pretended GPU; `plain` is the same memory as torch sees it, on the CPU.

    To torch's dispatcher it is a CUDA tensor, to its autograd one of the CPU: that needs no driver.
    """

    plain: Tensor
    number: int

    @staticmethod
    def __new__(cls, plain: Tensor, number: int, requires_grad: bool = False) -> OnGpu:
        with torch._C.DisableTorchFunction():
            kept = plain.detach()
            made = Tensor._make_subclass(
                cls, kept, requires_grad, device_for_backend_keys=torch.device("cuda")
            )
        made.plain, made.number = kept, number
        return made

    @property
    def device(self) -> torch.device:
        return torch.device("cuda", self.number)

    is_cuda = property(lambda _: True)
    is_cpu = property(lambda _: False)

    def cpu(self, *_: Any, **__: Any) -> Tensor:
        _waits("copy to the host")
        return _Down.apply(self) if self.requires_grad else self.plain.clone()

    def tolist(self) -> Any:
        _waits("tolist")
        return self.plain.tolist()

    def numpy(self, *_: Any, **__: Any) -> Any:
        raise TypeError(f"a CUDA tensor is no NumPy array, {_line()}: use cpu() first")

    __array__ = numpy

    def pin_memory(self, *_: Any) -> Tensor:
        raise RuntimeError("only dense CPU tensors can be pinned")

    def record_stream(self, _: Any) -> None:
        """Nothing is reused here."""

    def __deepcopy__(self, _: Any) -> OnGpu:
        return OnGpu(self.plain.clone(), self.number, self.requires_grad)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.plain.__reduce_ex__(protocol)  # what is saved is a plain tensor

    def __repr__(self, **_: Any) -> str:
        return f"{self.device}: {self.plain}"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        leaves = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        number = _the_one_gpu(func, args, leaves)
        if func in _WAITING or (func in _INDEXING and _by_mask(args)):
            _waits(str(func))
        if func is _aten.copy_.default and not isinstance(args[0], cls):
            _waits("copy to the host")
        if "device" in kwargs:
            kwargs["device"] = torch.device("cpu")
        wrapper_of = {id(leaf.plain): leaf for leaf in leaves if isinstance(leaf, cls)}
        with torch._C.DisableTorchFunction():
            found = func(*tree_map(_plain, args), **tree_map(_plain, kwargs))

        def wrapped(value: Any) -> Any:
            if not isinstance(value, Tensor) or (isinstance(args[0], Tensor) and value is args[0]):
                return value
            return wrapper_of.get(id(value)) if id(value) in wrapper_of else cls(value, number)

        return tree_map(wrapped, found)


def _plain(value: Any) -> Any:
    return value.plain if isinstance(value, OnGpu) else value


def _the_one_gpu(func: Any, args: Any, leaves: list[Tensor]) -> int:
    """Return the GPU of an operation; raise where CUDA would, since operands lie elsewhere."""
    numbers = {leaf.number for leaf in leaves if isinstance(leaf, OnGpu)}
    host = [leaf for leaf in leaves if not isinstance(leaf, OnGpu) and leaf.ndim]
    if func in _INDEXING and isinstance(args[0], OnGpu):
        values = args[2] if len(args) > 2 else args[0]
        host = [one for one in host if one is values]  # indices may lie on the host
    if len(numbers) > 1 or (host and func not in _COPYING):
        raise RuntimeError(f"{func} at {_line()}: operands on {numbers} and {len(host)} on the CPU")
    return next(iter(numbers))


def _by_mask(args: Any) -> bool:
    masks = [one for one in args[1] if one is not None and one.dtype == torch.bool]
    return bool(masks) and (len(args) < 3 or args[2].numel() != 1)


class _Down(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: OnGpu) -> Tensor:
        ctx.number = tensor.number
        return tensor.plain.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return OnGpu(gradient, ctx.number)


class _Up(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, number: int) -> Tensor:
        return OnGpu(tensor, number)

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        return gradient.plain, None


def _up(tensor: Tensor, number: int) -> Tensor:
    if tensor.requires_grad and tensor.grad_fn is not None:
        return _Up.apply(tensor, number)
    return OnGpu(tensor.detach(), number, tensor.requires_grad)


class _Calls(TorchFunctionMode):
    """What names a device: moves, new tensors, and autocast."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if name == "to" and isinstance(args[0], Tensor):
            return self._to(func, *args, **kwargs)
        if name in _PRODUCTS and torch.is_autocast_enabled("cuda"):
            args, kwargs = tree_map(_cast, args), tree_map(_cast, kwargs)
        number = _number(kwargs.get("device"))
        if number is None or not isinstance(kwargs["device"], str | torch.device):
            return func(*args, **kwargs)
        if any(isinstance(leaf, OnGpu) for leaf in tree_leaves((args, kwargs))):
            del kwargs["device"]  # as `torch.zeros_like(x, device=x.device)`
            return func(*args, **kwargs)
        kwargs["device"] = "cpu"
        return _up(func(*args, **kwargs), number)

    @staticmethod
    def _to(func: Any, tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
        if args and isinstance(args[0], OnGpu):
            args = (args[0].device, args[0].dtype, *args[1:])
        copied = kwargs.pop("copy", False)
        device, dtype, _, layout = torch._C._nn._parse_to(*args, **kwargs)
        number = _number(device)
        rest = {"dtype": dtype or tensor.dtype, "copy": copied}
        if layout is not None:
            rest["memory_format"] = layout
        if device is not None and number is None and isinstance(tensor, OnGpu):
            return tensor.cpu().to(**rest)
        if number is None or (isinstance(tensor, OnGpu) and tensor.number == number):
            return func(tensor, **rest)
        if isinstance(tensor, OnGpu):
            return OnGpu(func(tensor, **rest).plain.clone(), number)
        if tensor.ndim and not getattr(tensor, "is_pretended_pinned", False):
            _waits("copy from memory that is not pinned")
        moved = func(tensor, **rest)
        return _up(moved.clone() if moved is tensor and not tensor.requires_grad else moved, number)


def _pinned(tensor: Tensor) -> Tensor:
    """Stand in for `pin_memory` of tensors on the CPU, in any thread."""
    pinned = tensor.clone()
    pinned.is_pretended_pinned = True  # type: ignore[attr-defined]
    return pinned


def _number(device: Any) -> int | None:
    """Return the number of the GPU that is meant, or None where none is."""
    if device is None or torch.device(device).type != "cuda":
        return None
    _seen.devices[f"{torch.device(device)} at {_line()}"] += 1
    return torch.device(device).index or 0


def _cast(value: Any) -> Any:
    kinds = (torch.float32, torch.float16, torch.bfloat16)
    if isinstance(value, OnGpu) and value.dtype in kinds:
        return value.to(torch.get_autocast_dtype("cuda"))
    return value


_GROUPS = "_group_tensors_by_device_and_dtype"
_by_memory = getattr(torch.optim.Optimizer, _GROUPS)


def _grouped(*args: Any, **kwargs: Any) -> Any:
    """Group by the pretended device what torch's C++ groups by where the memory is."""
    groups = _by_memory(*args, **kwargs)
    return {
        (lists[0][0].device if lists[0] else device, dtype): (lists, indices)
        for (device, dtype), (lists, indices) in groups.items()
    }


class _Stream:
    """A stream that is always done."""

    def __init__(self, *_: Any, **__: Any) -> None:
        """Do nothing."""

    def record_event(self, *_: Any) -> None:
        """Do nothing."""

    wait_event = wait_stream = synchronize = record_event


@contextmanager
def pretended_gpus(count: int = 1) -> Iterator[Seen]:
    """Let torch find so many GPUs within; yield what is seen of their use."""
    instead: dict[str, Any] = {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "init": lambda: None,
        "device_count": lambda: count,
        "current_device": lambda: 0,
        "get_device_name": lambda device=None: "Pretended GPU",
        "manual_seed": lambda seed: None,
        "manual_seed_all": lambda seed: None,
        "reset_peak_memory_stats": lambda device=None: None,
        "max_memory_allocated": lambda device=None: 123 * 2**20,
        "empty_cache": lambda: None,
        "synchronize": lambda device=None: None,
        "is_bf16_supported": lambda *_: True,
        "is_current_stream_capturing": lambda: False,
        "Stream": _Stream,
        "stream": lambda stream: nullcontext(),
        "current_stream": _Stream,
    }
    available = "amp_definitely_not_available"
    _seen.forget()
    with ExitStack() as stack:
        for name, one in instead.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, one))
        for module in ("common", "grad_scaler"):
            place = f"torch.cuda.amp.{module}.{available}"
            stack.enter_context(mock.patch(place, return_value=False, create=True))
        check = "_accelerator_graph_capture_health_check"
        stack.enter_context(mock.patch.object(torch.optim.Optimizer, check))
        stack.enter_context(
            mock.patch.object(torch.optim.Optimizer, _GROUPS, staticmethod(_grouped))
        )
        before = torch.__future__.get_overwrite_module_params_on_conversion()
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        stack.callback(torch.__future__.set_overwrite_module_params_on_conversion, before)
        stack.enter_context(mock.patch.object(Tensor, "pin_memory", _pinned))
        is_pinned = lambda tensor: getattr(tensor, "is_pretended_pinned", False)  # noqa: E731
        stack.enter_context(mock.patch.object(Tensor, "is_pinned", is_pinned))
        stack.enter_context(_Calls())
        yield _seen
