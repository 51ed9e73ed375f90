"""What is minimised: Softmax, a ranking loss, or both on the two heads of one network."""

from __future__ import annotations

from torch import Tensor, nn

from benchmark.config import Experiment
from losses import build_loss


class Objective(nn.Module):
    """Total loss of a batch from the network's pooled features and embeddings.

    - ``loss: softmax``: cross-entropy of a linear classifier on the embedding.
    - a ranking loss: that loss on the embedding.
    - a ranking loss with ``softmax_head``: cross-entropy of a linear classifier on the pooled
      features + ``loss_weight`` × ranking loss on the embedding (the two-head network of
      arXiv:1901.08616).
    """

    def __init__(
        self, experiment: Experiment, num_classes: int, feature_dim: int, embedding_dim: int
    ) -> None:
        """Build the loss modules for ``num_classes`` training classes."""
        super().__init__()
        name, params = experiment.loss.name, experiment.loss.params
        self.softmax_head = experiment.softmax_head
        self.weight = experiment.loss_weight
        self.ranking: nn.Module | None = None
        self.softmax: nn.Module | None = None
        if name == "softmax":
            self.softmax = build_loss(
                "softmax", num_classes=num_classes, embedding_dim=embedding_dim, **params
            )
        else:
            self.ranking = build_loss(
                name, num_classes=num_classes, embedding_dim=embedding_dim, **params
            )
            if self.softmax_head:
                self.softmax = build_loss(
                    "softmax", num_classes=num_classes, embedding_dim=feature_dim
                )

    def forward(
        self, features: Tensor, embeddings: Tensor, labels: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the total and its parts, for (B, F) features and (B, D) embeddings."""
        parts: dict[str, Tensor] = {}
        total = embeddings.new_zeros(())
        if self.softmax is not None:
            parts["softmax_loss"] = self.softmax(self._classified(features, embeddings), labels)
            total = total + parts["softmax_loss"]
        if self.ranking is not None:
            parts["ranking_loss"] = self.ranking(embeddings, labels)
            total = total + self.weight * parts["ranking_loss"]
        return total, {name: value.detach() for name, value in parts.items()}

    def logits(self, features: Tensor, embeddings: Tensor) -> Tensor | None:
        """Return (B, C) class scores, or None where no classifier was trained."""
        if self.softmax is None:
            return None
        return self.softmax.logits(self._classified(features, embeddings))  # type: ignore[operator]

    def diagnostics(self) -> dict[str, Tensor]:
        """Return the ranking loss's own diagnostics of the last batch."""
        return dict(getattr(self.ranking, "diagnostics", {}))

    def _classified(self, features: Tensor, embeddings: Tensor) -> Tensor:
        return features if self.softmax_head else embeddings
