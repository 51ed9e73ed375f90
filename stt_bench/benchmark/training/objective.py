"""What is minimised: Softmax, a ranking loss, or both on the two heads of one network."""

from __future__ import annotations

from itertools import accumulate

from torch import Tensor, nn

from stt_bench.benchmark.config.experiment import Experiment
from stt_bench.benchmark.config.sections import LossConfig
from stt_bench.losses import build_loss


class Objective(nn.Module):
    """Total loss of a batch from the network's pooled features and embeddings.

    - ``loss: softmax``: cross-entropy of a linear classifier on the embedding.
    - a ranking loss: that loss on the embedding.
    - a ranking loss with ``softmax_head``: cross-entropy of a linear classifier on the pooled
      features + ``loss_weight`` × ranking loss on the embedding (the two-head network of
      arXiv:1901.08616).

    With ``phases`` the loss on the embedding changes at the steps they end; the network, the
    optimiser and the classifier of two-head training go on as they are.
    """

    def __init__(
        self, experiment: Experiment, num_classes: int, feature_dim: int, embedding_dim: int
    ) -> None:
        """Build the loss modules for ``num_classes`` training classes."""
        super().__init__()

        def build(loss: LossConfig) -> nn.Module:
            return build_loss(
                loss.name, num_classes=num_classes, embedding_dim=embedding_dim, **loss.params
            )

        self.softmax_head = experiment.softmax_head
        self.weight = experiment.loss_weight
        self.ranking: nn.Module | None = None
        self.softmax: nn.Module | None = None
        if experiment.loss.name == "softmax":
            self.softmax = build(experiment.loss)
        else:
            self.ranking = build(experiment.loss)
            if self.softmax_head:
                self.softmax = build_loss(
                    "softmax", num_classes=num_classes, embedding_dim=feature_dim
                )
        self.earlier = nn.ModuleList(build(phase.loss) for phase in experiment.phases)
        self._ends = list(accumulate(phase.steps for phase in experiment.phases))
        self._names = [
            "softmax_loss" if phase.loss.name == "softmax" else "ranking_loss"
            for phase in experiment.phases
        ]

    def phase(self, step: int | None) -> int:
        """Return the phase (from 0) that a step (from 0) belongs to; None: the last."""
        return len(self._ends) if step is None else sum(step >= end for end in self._ends)

    def forward(
        self, features: Tensor, embeddings: Tensor, labels: Tensor, step: int | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the total and its parts, for (B, F) features and (B, D) embeddings."""
        name, loss = self._loss(step)
        value = loss(embeddings, labels)
        parts, total = {name: value}, value
        if self.softmax_head:
            assert self.softmax is not None
            parts = {"softmax_loss": self.softmax(features, labels), **parts}
            total = parts["softmax_loss"] + self.weight * value
        return total, {name: part.detach() for name, part in parts.items()}

    def logits(self, features: Tensor, embeddings: Tensor) -> Tensor | None:
        """Return (B, C) class scores, or None where no classifier was trained to the end."""
        if self.softmax is None:
            return None
        scores: Tensor = self.softmax.logits(features if self.softmax_head else embeddings)  # type: ignore[operator]
        return scores

    def diagnostics(self, step: int | None = None) -> dict[str, Tensor]:
        """Return the diagnostics that the step's loss on the embedding kept of its last batch."""
        return dict(getattr(self._loss(step)[1], "diagnostics", {}))

    def _loss(self, step: int | None) -> tuple[str, nn.Module]:
        """Return the step's loss on the embedding and what its value is called."""
        phase = self.phase(step)
        if phase < len(self.earlier):
            return self._names[phase], self.earlier[phase]
        if self.ranking is not None:
            return "ranking_loss", self.ranking
        assert self.softmax is not None
        return "softmax_loss", self.softmax
