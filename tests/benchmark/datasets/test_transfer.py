import pytest
import torch

from stt_bench.benchmark.datasets.batches import Batch
from stt_bench.benchmark.datasets.transfer import on_device, to_device


def batch(step: int, weights: bool = True, size: int = 6) -> Batch:
    torch.manual_seed(step)
    images = torch.randint(0, 256, (4, 3, size, size), dtype=torch.uint8)
    labels = torch.randint(0, 9, (4,))
    return Batch(step, images, labels, torch.rand(4) if weights else None)


def assert_same(one: Batch, other: Batch) -> None:
    assert one.step == other.step
    for a, b in zip(one[1:], other[1:], strict=True):
        assert (a is None) == (b is None)
        assert a is None or torch.equal(a.cpu(), b)


@pytest.mark.parametrize("weights", [True, False])
def test_on_the_cpu_only_the_layout_changes(weights):
    batches = [batch(step, weights) for step in range(3)]
    found = list(on_device(iter(batches), torch.device("cpu")))
    for one, other in zip(found, batches, strict=True):
        assert_same(one, other)
        assert one.images.is_contiguous(memory_format=torch.channels_last)


def test_features_and_vectors_keep_their_layout():
    flat = Batch(0, torch.rand(4, 7), torch.arange(4))
    assert_same(to_device(flat, torch.device("cpu")), flat)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_copies_to_a_gpu_are_right_while_it_works():
    """Memory that is used again too early would hold a later batch."""
    device = torch.device("cuda")
    torch.zeros((), device=device)
    busy = torch.rand(2048, 2048, device=device)
    kept = []
    for one in on_device((batch(step, size=224) for step in range(40)), device):
        for _ in range(20):
            busy = busy @ busy / busy.norm()
        assert one.images.is_contiguous(memory_format=torch.channels_last)
        kept.append((one.step, one.images.float().sum(), one.labels.clone()))
    for step, total, labels in kept:
        expected = batch(step, size=224)
        assert float(total) == pytest.approx(float(expected.images.double().sum()), rel=1e-5)
        assert torch.equal(labels.cpu(), expected.labels)
