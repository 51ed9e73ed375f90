"""One batch shared among several processes, with the loss and the gradients of one process.

Each encodes its part of the batch. The embeddings of all parts are gathered, so that a ranking loss
sees the whole batch; every process takes the same loss of it, and so keeps the same proxies,
centres, memory, bounds and classifier without exchanging them. Of the gradient of that loss, a
process takes its own rows back through the network; the sum over the processes, which
DistributedDataParallel makes while the backward pass goes on, is the gradient of the whole batch.

Two things are not as in one process. Dropout draws each process's masks apart, from the seed, the
step and the process's number. Batch norm that trains sees a process's own part, and keeps the first
one's running statistics, unless ``model.sync_batch_norm`` is set.
"""

import platform
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.models.synced_batch_norm import sync_batch_norms
from stt_bench.benchmark.store.facts import Origin
from stt_bench.benchmark.store.weights import Checkpoint
from stt_bench.benchmark.system.errors import BenchError
from stt_bench.benchmark.system.machine import seed_torch
from stt_bench.benchmark.system.processes import Processes, processes
from stt_bench.benchmark.training.learner import Learner

_APART = 2**40  # between the seeds of two processes, far beyond seed and step of any run


def share(learner: Learner, experiment: Experiment) -> None:
    """Let the steps of a learner take this process's parts of batches.

    Raises:
        BenchError: a batch has fewer images than there are processes, or a layer of batch norm is
            of an unknown kind.
    """
    present = processes()
    if present.size == 1:
        return
    size = experiment.sampler.images_per_batch
    if size < present.size:
        raise BenchError(
            f"sampler: batches of {size} images cannot be shared among {present.size} processes: "
            "start fewer, or enlarge the batch"
        )
    if experiment.model.sync_batch_norm:
        sync_batch_norms(learner.network)
    assert isinstance(learner.forward, nn.Module)
    forward = SharedForward(learner.forward, learner.network, learner.objective.on_features)
    learner.forward, learner.gather = forward, forward.gather


def begin_alike(learner: Learner, origin: Origin) -> None:
    """Let the learners of all processes be where that of the first is.

    Raises:
        BenchError: this process sees other data or starting weights than the first.
    """
    present = processes()
    if present.size == 1:
        return
    mine = {**origin.model_dump(), **learner.state()} if present.leads else None
    state = Checkpoint.model_validate(present.shared(mine))
    if present.leads:
        return
    other = [name for name, value in origin.model_dump().items() if getattr(state, name) != value]
    if other:
        raise BenchError(
            f"process {present.rank} of {present.size} (from 0) on {platform.node()} has another "
            f"{other[0]} than the first: give all machines the same data, weights and version"
        )
    learner.load(state)


def stay_alike(learner: Learner) -> None:
    """Give all processes the first one's buffers and objective.

    On a CPU the objectives are equal in every bit; on a GPU, where some sums depend on the order of
    threads, they may part by rounding.
    """
    present, network, objective = processes(), learner.network, learner.objective
    if present.size > 1:
        present.alike([*network.buffers(), *objective.parameters(), *objective.buffers()])


class SharedForward:
    """A network whose gradients, from parts of a batch, are added up over the processes."""

    def __init__(self, module: nn.Module, network: nn.Module, on_features: bool) -> None:
        """Wrap a module, the network itself or compiled; features are read with `on_features`."""
        self._module, self._network, self._on_features = module, network, on_features
        self._present = processes()
        self._wrapped: Any = None

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (B', F) and embeddings (B', D) of this process's B' images."""
        if self._wrapped is None:
            self._wrapped = self._wrap(images)
        number = torch.initial_seed()
        if not self._present.leads:
            seed_torch(0, number + self._present.rank * _APART)
        made: tuple[Tensor, Tensor] = self._wrapped(images)
        seed_torch(0, number)  # a loss that draws does so alike in all processes
        return made

    def no_sync(self) -> AbstractContextManager[None]:
        """Return a context in which gradients stay with the process, until the next pass."""
        wrapped: AbstractContextManager[None] = self._wrapped.no_sync()
        return wrapped

    def gather(
        self, features: Tensor, embeddings: Tensor, labels: Tensor, weights: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Return those of the whole batch; labels and weights are the whole batch's already.

        Features that no loss reads stay this process's own.
        """
        size = len(labels)
        if self._on_features:
            features = gathered(features, size, self._present)
        return features, gathered(embeddings, size, self._present), labels, weights

    def _wrap(self, images: Tensor) -> Any:
        """Return the module in DistributedDataParallel, or itself where nothing of it trains."""
        unreached = _unreached(self._network, images[:1], self._on_features)
        ignored = [name for name, one in self._module.named_parameters() if id(one) in unreached]
        if all(id(one) in unreached for one in self._module.parameters() if one.requires_grad):
            return _NotShared(self._module)
        buffers = [name for name, _ in self._module.named_buffers()]
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(
            self._module, [*ignored, *buffers]
        )
        wrapped = DistributedDataParallel(self._module, gradient_as_bucket_view=True)
        wrapped.register_comm_hook(self._present, _add_up)
        return wrapped


class _NotShared:
    """A module without gradients."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module

    def __call__(self, images: Tensor) -> Any:
        return self._module(images)

    def no_sync(self) -> AbstractContextManager[None]:
        return nullcontext()


def _unreached(network: nn.Module, images: Tensor, on_features: bool) -> set[int]:
    """Return the ids of the parameters that train and that no gradient of a loss reaches."""
    training = network.training
    network.eval()  # so that nothing is drawn, and no statistics move
    with torch.enable_grad():
        features, embeddings = network(images)
        reached = embeddings.sum() + features.sum() if on_features else embeddings.sum()
        trained = [one for one in network.parameters() if one.requires_grad]
        found = (
            torch.autograd.grad(reached, trained, allow_unused=True)
            if trained and reached.requires_grad
            else [None] * len(trained)
        )
    network.train(training)
    return {id(one) for one, gradient in zip(trained, found, strict=True) if gradient is None}


def _add_up(
    present: Processes, bucket: distributed.GradBucket
) -> torch.futures.Future[torch.Tensor]:
    """Add up the gradients of a bucket: those of the parts are no means, but parts of a sum."""
    present.exchanges += 1
    work = distributed.all_reduce(bucket.buffer(), async_op=True)
    assert work is not None
    added: torch.futures.Future[Tensor] = work.get_future().then(lambda done: done.value()[0])
    return added


def whole_batch(images: Tensor, size: int) -> Tensor:
    """Return the batch of which this process has its part; features and vectors as they are.

    Every process must come here in the same step.

    Args:
        images: (B', C, S, S) uint8, this process's part; or what is no image.
        size: B, of the whole batch.
    """
    present = processes()
    if present.size == 1 or images.dtype != torch.uint8:
        return images
    return gathered(images, size, present)


def gathered(rows: Tensor, size: int, present: Processes) -> Tensor:
    """Return the (size, D) rows of all processes in the order of their parts; differentiable.

    Args:
        rows: (B', D), this process's part.
        size: B, of the whole batch.
        present: whose parts they are.
    """
    present.exchanges += 1
    result: Tensor = _Gather.apply(rows, size, present)
    return result


class _Gather(torch.autograd.Function):
    """Each process takes the same loss, so its own rows have their whole gradient from itself."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, size: int, present: Processes) -> Tensor:
        ctx.part = present.share(size)
        parts = [present.share(size, rank) for rank in range(present.size)]
        most = parts[0].stop
        padded = rows.new_zeros(most, *rows.shape[1:])
        padded[: len(rows)] = rows
        found = [torch.empty_like(padded) for _ in parts]
        distributed.all_gather(found, padded)
        return torch.cat(
            [one[: part.stop - part.start] for one, part in zip(found, parts, strict=True)]
        )

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0][ctx.part], None, None
