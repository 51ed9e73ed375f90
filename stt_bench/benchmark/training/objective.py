"""What is minimised: Softmax, a ranking loss, or both on the two heads of one network."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from torch import Tensor, nn

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.config.loss_sections import LossConfig
from stt_bench.benchmark.datasets.sampler import Needs
from stt_bench.losses import CrossBatchMemory, RankingLoss, SoftmaxLoss, build_loss

_TOGETHER = {"any": 1, "pairs": 2, "blocks": 4}


class Objective(nn.Module):
    """Total loss of a batch from the network's pooled features and embeddings.

    - `loss: softmax`: cross-entropy of a linear classifier on the embedding.
    - a ranking loss: that loss on the embedding. One with proxies of the classes, as `cosface`,
      classifies by them.
    - a ranking loss with `softmax_head`: cross-entropy of a linear classifier on the pooled
      features + `loss_weight` × ranking loss on the embedding (the two-head network of
      arXiv:1901.08616). With `softmax_on: embedding` the classifier stands on the embedding, too:
      where the features are frozen, it is only from there that it teaches the head anything.

    With `phases` the loss on the embedding changes at the steps they end; the network, the
    optimiser and the classifier of two-head training go on as they are.
    """

    def __init__(
        self,
        experiment: Experiment,
        num_classes: int,
        feature_dim: int,
        embedding_dim: int,
        class_counts: Sequence[int] | None = None,
    ) -> None:
        """Build the loss modules for `num_classes` training classes of so many images each."""
        super().__init__()

        def build(loss: LossConfig) -> RankingLoss:
            return build_loss(
                loss.name,
                num_classes=num_classes,
                embedding_dim=embedding_dim,
                class_counts=class_counts,
                **loss.params,
            )

        last = build(experiment.loss)
        if experiment.memory is not None:
            last = CrossBatchMemory(
                last, embedding_dim=embedding_dim, **experiment.memory.model_dump()
            )
        self.two_heads = experiment.softmax_head
        self.on_features = self.two_heads and experiment.softmax_on == "features"
        self.weight = experiment.loss_weight
        self.ranking: RankingLoss | None = None
        self.softmax: SoftmaxLoss | None = None  # the classifier that is kept
        if isinstance(last, SoftmaxLoss) and last.name == "softmax":
            self.softmax = last
        else:
            self.ranking = last
            if self.two_heads:
                seen = feature_dim if self.on_features else embedding_dim
                self.softmax = SoftmaxLoss(num_classes=num_classes, embedding_dim=seen)
        self.earlier = nn.ModuleList([build(phase.loss) for phase in experiment.phases])
        self._ends = list(accumulate(phase.steps for phase in experiment.phases))
        self._losses = [*self.earlier, last]

    def forward(
        self,
        features: Tensor,
        embeddings: Tensor,
        labels: Tensor,
        step: int | None = None,
        weights: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the total and its parts, for (B, F) features and (B, D) embeddings.

        The (B,) weights, if any, are those of the rows in every loss.
        """
        loss = self.loss(step)
        total = loss(embeddings, labels, weights)
        if not self.two_heads:
            name = "softmax_loss" if loss.name == "softmax" else "ranking_loss"
            return total, {name: total}
        assert self.softmax is not None
        softmax = self.softmax(features if self.on_features else embeddings, labels, weights)
        parts = {"softmax_loss": softmax, "ranking_loss": total}
        return softmax + self.weight * total, parts

    def phase(self, step: int | None) -> int:
        """Return the phase (from 0) that a step (from 0) belongs to; None: the last."""
        return len(self._ends) if step is None else sum(step >= end for end in self._ends)

    def loss(self, step: int | None = None) -> RankingLoss:
        """Return the step's loss on the embedding."""
        return self._losses[self.phase(step)]

    def diagnostics(self, step: int | None = None) -> dict[str, Tensor]:
        """Return the diagnostics that the step's loss on the embedding kept of its last batch."""
        return dict(self.loss(step).diagnostics)

    def logits(self, features: Tensor, embeddings: Tensor) -> Tensor | None:
        """Return (B, C) class scores, or None where no classifier was trained to the end.

        They are those of Softmax; where it does not train, of a loss on the embedding that knows
        the classes by its proxies, as `normalized_softmax` does.
        """
        if self.softmax is None:
            assert self.ranking is not None
            return self.ranking.logits(embeddings)
        return self.softmax.logits(features if self.on_features else embeddings)

    @property
    def needs(self) -> Needs:
        """Return what the batches must hold for every loss on the embedding, in every phase."""
        needs = [needs_of(self.loss(step)) for step in (*(end - 1 for end in self._ends), None)]
        return Needs(
            positives=any(one.positives for one in needs),
            negatives=any(one.negatives for one in needs),
            images=max(one.images for one in needs),
            together=max(one.together for one in needs),
        )


def row_needs(experiment: Experiment) -> Needs:
    """Return what the batches of a row must hold, before its data and network are there."""
    return Objective(experiment, num_classes=2, feature_dim=2, embedding_dim=2).needs


def needs_of(loss: RankingLoss) -> Needs:
    """Return what a batch must hold so that a loss can learn from it."""
    return Needs(
        positives=loss.needs_positives,
        negatives=loss.needs_negatives,
        images=loss.least_rows,
        together=_TOGETHER[loss.batch_layout],
    )
