"""Every loss under every option that changes its formula, and batches to try them on."""

import torch

from stt_bench.losses import build_loss

NUM_CLASSES = 4
DIM = 5
METRICS = ("euclidean", "squared_euclidean", "cosine", "cityblock")

CASES = [
    *(("hard_triplet", {"distance": d, "margin": m}) for d in METRICS for m in (0.7, "soft")),
    ("hard_triplet", {"margin": "none", "normalize": True}),
    *(
        ("semi_hard_triplet", {"distance": d, "per": p})
        for d in METRICS
        for p in ("pair", "anchor")
    ),
    ("semi_hard_triplet", {"margin": "soft", "normalize": False}),
    ("semi_hard_triplet", {"margin": "soft", "per": "anchor"}),
    ("semi_hard_triplet", {"semi_margin": 0.3, "per": "anchor", "margin": 1.0}),
    ("semi_hard_triplet", {"semi_margin": -0.3, "margin": 1}),
    *(("batch_all_triplet", {"distance": d}) for d in METRICS),
    ("batch_all_triplet", {"margin": 0, "normalize": True}),
    ("lifted", {}),
    ("lifted", {"margin": 0.2, "normalize": True}),
    ("npairs", {}),
    ("npairs", {"l2_weight": 0.5}),
    ("angular", {}),
    ("angular", {"angle": 36, "normalize": False, "l2_weight": 0.3}),
    ("contrastive", {}),
    ("contrastive", {"margin": 2, "normalize": False}),
    ("contrastive", {"pairs": "fast", "margin": 1.4}),
    ("center", {}),
    ("center", {"alpha": 0.9, "normalize": False, "init": "normal"}),
    *(("priming", {"distance": d}) for d in METRICS),
    ("priming", {"normalize": False}),
    ("softmax", {}),
    ("softmax", {"label_smoothing": 0.2, "bias": False}),
]
IDS = [f"{name}-{'-'.join(map(str, params.values())) or 'default'}" for name, params in CASES]


def make(name, params, dim=DIM, dtype=torch.float64):
    """Build a case at rest: centres stay where they are, and weights are the same every time."""
    torch.manual_seed(0)
    loss = build_loss(name, num_classes=NUM_CLASSES, embedding_dim=dim, **params)
    if name == "center":
        loss.centers.normal_()  # around a centre of 0, unit rows feel no pull
    return loss.to(dtype).eval()


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
