import pytest
import torch
from torch import nn

from stt_bench.benchmark.models.heads import build_head
from stt_bench.benchmark.system.errors import BenchError


def test_none_is_the_identity() -> None:
    features = torch.randn(3, 10)
    assert torch.equal(build_head("none", 10, None)(features), features)


@pytest.mark.parametrize(("feature_dim", "embedding_dim"), [(64, 16), (16, 64)])
def test_linear_starts_orthogonal(feature_dim: int, embedding_dim: int) -> None:
    head = build_head("linear", feature_dim, embedding_dim)
    assert isinstance(head, nn.Linear)
    assert torch.equal(head.bias, torch.zeros(embedding_dim))
    weight = head.weight.detach()
    small = weight @ weight.T if embedding_dim <= feature_dim else weight.T @ weight
    torch.testing.assert_close(small, torch.eye(16), atol=1e-5, rtol=0)
    features = torch.randn(3, feature_dim)
    torch.testing.assert_close(head(features), features @ weight.T)


def test_fc1024_by_hand() -> None:
    head = build_head("fc1024", 20, 8)
    parameters = list(head.parameters())
    assert [tuple(p.shape) for p in parameters] == [(1024, 20), (1024,), (1024,), (8, 1024), (8,)]
    hidden_weight, scale, shift, weight, bias = parameters
    nn.init.uniform_(scale)
    nn.init.normal_(shift)
    nn.init.normal_(bias)
    features = torch.randn(6, 20)
    hidden = features @ hidden_weight.T
    mean, variance = hidden.mean(0), hidden.var(0, unbiased=False)
    normed = (hidden - mean) / (variance + 1e-5).sqrt() * scale + shift
    torch.testing.assert_close(
        head(features), normed.clamp_min(0) @ weight.T + bias, atol=1e-4, rtol=1e-4
    )
    norm = next(m for m in head.modules() if isinstance(m, nn.BatchNorm1d))
    torch.testing.assert_close(norm.running_mean, 0.1 * mean)


def test_errors() -> None:
    with pytest.raises(BenchError, match="no head is named 'fc124': did you mean 'fc1024'"):
        build_head("fc124", 4, 4)
    with pytest.raises(BenchError, match="head 'linear' needs it"):
        build_head("linear", 4, None)
