"""Every loss stays on its device and never makes the host wait, shown on a pretended GPU."""

import pytest
import torch
from loss_cases import CASES, IDS, make
from pretend_cuda import OnGpu, pretended_gpus


@pytest.mark.parametrize(("name", "params"), CASES, ids=IDS)
def test_a_loss_stays_on_the_device_and_never_waits(name, params):
    y = torch.arange(16) // 4
    plain = torch.randn(16, 5, generator=torch.Generator().manual_seed(0))
    expected = make(name, params, dtype=torch.float32)(plain, y)
    with pretended_gpus() as seen:
        loss = make(name, params, dtype=torch.float32).to("cuda")
        for dtype in (torch.float32, torch.float16):
            x = plain.to("cuda").to(dtype).requires_grad_()
            labels = y.to("cuda")
            seen.forget()
            with torch.autocast("cuda", dtype=dtype, enabled=dtype != torch.float32):
                value = loss(x, labels)
            value.backward()
            assert not seen.waits
            assert isinstance(x.grad, OnGpu)
            assert x.grad.dtype == dtype
            if dtype == torch.float32:
                torch.testing.assert_close(value.detach().cpu(), expected.detach())
