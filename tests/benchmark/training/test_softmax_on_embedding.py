"""Softmax beside a ranking loss on one head: what is minimised, and what it teaches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.training.objective import Objective

ROW = {
    "data": {"name": "digits"},
    "loss": {"name": "contrastive", "margin": 1.0},
    "softmax_head": True,
    "loss_weight": 0.5,
    "train": {"steps": 3},
}
LABELS = torch.tensor([0, 0, 1, 1, 2, 2])


def objective(softmax_on: str) -> Objective:
    torch.manual_seed(0)
    experiment = Experiment.model_validate({**ROW, "softmax_on": softmax_on})
    return Objective(experiment, 3, feature_dim=4, embedding_dim=2).double()


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    features = torch.randn(6, 4, dtype=torch.float64)
    embeddings = torch.randn(6, 2, dtype=torch.float64, requires_grad=True)
    return features, embeddings


def test_the_total_is_cross_entropy_on_the_embedding_plus_the_weighted_loss() -> None:
    both, (features, embeddings) = objective("embedding"), batch()
    total, parts = both(features, embeddings, LABELS)
    x, labels = embeddings.detach().numpy(), LABELS.numpy()
    assert both.softmax is not None
    weight, bias = (
        parameter.detach().numpy()
        for parameter in (both.softmax.linear.weight, both.softmax.linear.bias)
    )
    scores = x @ weight.T + bias
    entropy = np.mean([np.log(np.exp(s).sum()) - s[c] for s, c in zip(scores, labels, strict=True)])
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    pairs = [
        d**2 if labels[a] == labels[b] else max(0.0, 1.0 - d) ** 2
        for a in range(6)
        for b in range(6)
        if a != b
        for d in [np.sqrt(((unit[a] - unit[b]) ** 2).sum() + 1e-5)]
    ]
    assert parts["softmax_loss"].item() == pytest.approx(entropy, abs=1e-12)
    assert total.item() == pytest.approx(entropy + 0.5 * np.mean(pairs), abs=1e-9)
    logits = both.logits(features, embeddings)
    assert logits is not None
    np.testing.assert_allclose(logits.detach().numpy(), scores)


def test_only_there_does_softmax_teach_a_head_on_frozen_features() -> None:
    """The gradient of the cross-entropy on features that nothing trains reaches no embedding."""
    gradients = {}
    for where in ("features", "embedding"):
        one, (features, embeddings) = objective(where), batch()
        total, _ = one(features, embeddings, LABELS)
        assert one.ranking is not None
        alone = 0.5 * one.ranking(embeddings, LABELS)
        (gradients[where],) = torch.autograd.grad(total - alone, embeddings)
    assert float(gradients["features"].abs().max()) < 1e-15
    assert float(gradients["embedding"].abs().min()) > 1e-4


def test_it_needs_a_second_loss() -> None:
    with pytest.raises(ValidationError, match="softmax_on needs softmax_head: true"):
        Experiment.model_validate(
            {"data": {"name": "digits"}, "loss": {"name": "contrastive"}, "softmax_on": "embedding"}
        )
