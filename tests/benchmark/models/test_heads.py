import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch import nn

from stt_bench.benchmark.models.heads import build_head, components, start_from
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


def test_mlp_by_hand() -> None:
    head = build_head("mlp", 6, 3)
    first, first_bias, last, last_bias = head.parameters()
    assert [tuple(p.shape) for p in head.parameters()] == [(6, 6), (6,), (3, 6), (3,)]
    features = torch.randn(5, 6)
    hidden = (features @ first.T + first_bias).clamp_min(0)
    torch.testing.assert_close(head(features), hidden @ last.T + last_bias)
    torch.testing.assert_close(last @ last.T, torch.eye(3), atol=1e-5, rtol=0)


def test_identity_gives_the_first_features() -> None:
    features = torch.randn(5, 6)
    assert torch.equal(build_head("linear", 6, 4, "identity")(features), features[:, :4])
    assert torch.equal(build_head("linear", 6, 6, "identity")(features), features)


@pytest.mark.parametrize("start", ["identity", "pca"])
def test_no_more_values_than_features(start: str) -> None:
    with pytest.raises(BenchError, match=rf"head_start: {start} .* 4 features .* lower .* \(5\)"):
        build_head("linear", 4, 5, start)


def test_components_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 8)) @ rng.normal(size=(8, 8)) + 3
    head = build_head("linear", 8, 5, "pca")
    assert isinstance(head, nn.Linear)
    start_from(head, *components(len(x), x.sum(axis=0), x.T @ x, head.out_features))
    expected = PCA(5, svd_solver="full").fit(x)
    weight = head.weight.detach().numpy()
    largest = np.abs(expected.components_).argmax(axis=1)
    sign = np.sign(expected.components_[np.arange(5), largest])[:, None]
    np.testing.assert_allclose(weight, expected.components_ * sign, atol=1e-5)
    assert (weight[np.arange(5), largest] > 0).all()
    found = head(torch.from_numpy(x).float()).detach().numpy()
    np.testing.assert_allclose(found, expected.transform(x) * sign.T, atol=1e-4)


def test_more_components_than_rows() -> None:
    with pytest.raises(BenchError, match=r"5 training images have at most 4 principal components"):
        components(5, np.zeros(8), np.zeros((8, 8)), 5)
