"""On a GPU each loss has the value and gradient it has on the CPU."""

import pytest
import torch
from loss_cases import CASES, IDS, batch, make, value_and_grad

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here"),
]
LABELS = [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]


@pytest.mark.parametrize(("name", "params"), CASES, ids=IDS)
def test_gpu_agrees_with_cpu(name, params):
    x, y = batch(LABELS)
    value, gradient = value_and_grad(make(name, params), x, y)
    there = x.detach().cuda().requires_grad_()
    gpu_value, gpu_gradient = value_and_grad(make(name, params).cuda(), there, y.cuda())
    torch.testing.assert_close(gpu_value.cpu(), value, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(gpu_gradient.cpu(), gradient, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("name", "params"), CASES, ids=IDS)
def test_gpu_autocast_is_finite(name, params, dtype):
    x, y = batch(LABELS, dtype=torch.float32)
    there = x.detach().cuda().requires_grad_()
    with torch.autocast("cuda", dtype=dtype):
        value = make(name, params, dtype=torch.float32).cuda()(there.to(dtype), y.cuda())
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(there.grad).all()


def test_smooth_ap_is_the_same_by_blocks(monkeypatch):
    x, y = batch(LABELS)
    expected = value_and_grad(make("smooth_ap", {}), x, y)
    monkeypatch.setattr("stt_bench.losses.smooth_ap._DEVICE_BLOCK", 5 * 16 * 16)
    there = x.detach().cuda().requires_grad_()
    found = value_and_grad(make("smooth_ap", {}).cuda(), there, y.cuda())
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.cpu(), other, rtol=1e-9, atol=1e-12)
