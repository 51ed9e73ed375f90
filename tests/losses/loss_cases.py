"""Every registered loss under every option that changes its formula, and batches to try them on."""

import importlib

import pytest
import torch

from stt_bench.losses import build_loss, loss_names

NUM_CLASSES = 4
DIM = 5
LOOPS = {name: importlib.import_module(f"loops.{name}") for name in loss_names()}
CASES = [(name, params) for name, loops in LOOPS.items() for params in loops.CASES]
IDS = [f"{name}-{'-'.join(map(str, params.values())) or 'default'}" for name, params in CASES]


def cases_where(is_wanted):
    """Return the mark of a test of all cases for which a function of name and parameters holds."""
    wanted = [
        pytest.param(*case, id=text)
        for case, text in zip(CASES, IDS, strict=True)
        if is_wanted(*case)
    ]
    return pytest.mark.parametrize(("name", "params"), wanted)


def make(name, params, dim=DIM, dtype=torch.float64):
    """Build a case at rest: centres stay where they are, and weights are the same every time."""
    torch.default_generator.manual_seed(0)  # torch.manual_seed keeps the stack of each call
    loss = build_loss(name, num_classes=NUM_CLASSES, embedding_dim=dim, **params)
    if name == "center":
        loss.centers.normal_()  # around a centre of 0, unit rows feel no pull
    return loss.to(dtype).eval()


def by_loop(loss, params, x, y):
    """Return value, number of terms and active share of a loss by its loop."""
    loops = LOOPS[loss.name]
    owned = loops.owned(loss) if hasattr(loops, "owned") else {}
    taken = {key: value for key, value in params.items() if key not in owned}
    return loops.loop(x, y, **owned, **taken)


def batch(labels, dim=DIM, dtype=torch.float64, seed=0):
    """Return random embeddings that ask for a gradient, and the labels."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(len(labels), dim, generator=generator, dtype=torch.float64)
    return x.to(dtype).requires_grad_(), torch.tensor(labels)


def value_and_grad(loss, x, y):
    """Return the loss's value and its gradient at x."""
    x = x.detach().requires_grad_()
    value = loss(x, y)
    (grad,) = torch.autograd.grad(value, x)
    return value.detach(), grad
