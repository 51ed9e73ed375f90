"""ArcFace: normalised softmax in which the angle to a row's own class is widened by a margin."""

import math
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from stt_bench.losses.base import LossResult, loss_function
from stt_bench.losses.parameters import Count, Limits, Positive
from stt_bench.losses.proxies import ProxyLoss, similarities, unit_rows
from stt_bench.losses.registry import register_loss
from stt_bench.losses.search import Range
from stt_bench.losses.terms import mean_cross_entropy

Angle = Annotated[float, Limits(low=0.0, high=math.pi)]


@loss_function
def arcface_loss(
    embeddings: Tensor,
    labels: Tensor,
    proxies: Tensor,
    *,
    scale: Positive = 64.0,
    margin: Angle = 0.5,
    easy_margin: bool = False,
) -> LossResult:
    """Return (loss, diagnostics) of the ArcFace loss.

        mean over i of − log softmax(s · f_c over the classes c)_(y_i)

    where f_c = cos θ_c is the cosine of x_i and its nearest proxy of class c, and for c = y_i

        f_c = cos(θ_c + m)           where θ_c ≤ π − m
        f_c = cos θ_c − m · sin m    beyond, so that it still falls with the angle

    With `easy_margin`, f_c = cos(θ_c + m) where cos θ_c > 0, else cos θ_c.

    No arc cosine is taken: cos(θ + m) = cos θ · cos m − sin θ · sin m, and sin θ is the length of
    what is left of the proxy without its part along the row. So the gradient is finite where a row
    meets its proxy, and no rounding of a cosine beyond 1 has to be cut off.

    Args:
        embeddings: (B, D), normalised by this loss.
        labels: (B,) or (B, 1), from 0 to C − 1.
        proxies: (C, D), or (C, K, D) with K sub-centres a class, normalised by this loss. Only the
            nearest sub-centre of a class has a gradient.
        scale: s.
        margin: m, an angle in radians, from 0 to π.
        easy_margin: leave the rows alone that are farther than 90° from their own class.

    Raises:
        ValueError: for a malformed batch or an impossible parameter, a D that differs from the
            proxies', or (on CPU, where looking costs nothing) a label that is no class of theirs.

    Source: Deng, Guo, Xue and Zafeiriou, "ArcFace: Additive Angular Margin Loss for Deep Face
    Recognition", CVPR 2019; Deng, Guo, Liu, Gong and Zafeiriou, "Sub-center ArcFace", ECCV 2020.

    Example:
        >>> import torch
        >>> x = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
        >>> half = math.pi / 2
        >>> arcface_loss(x, torch.tensor([0, 1]), torch.eye(2), scale=1.0, margin=half)[0]
        tensor(0.6931)

    """
    rows, vectors = unit_rows(embeddings, labels, proxies)
    cosines, own = similarities(rows, vectors), labels
    if vectors.ndim == 3:
        cosines, nearest = cosines.max(2)
        own = vectors.shape[1] * labels + nearest.gather(1, labels[:, None])[:, 0]
        vectors = vectors.flatten(0, 1)
    target = vectors.index_select(0, own)
    cosine = (rows * target).sum(1, keepdim=True)
    sine = torch.linalg.vector_norm(target - cosine * rows, dim=1, keepdim=True)
    turned = math.cos(margin) * cosine - math.sin(margin) * sine
    if easy_margin:
        turned = torch.where(cosine > 0, turned, cosine)
    else:
        beyond = cosine - margin * math.sin(margin)
        turned = torch.where(cosine >= -math.cos(margin), turned, beyond)
    logits = scale * cosines.scatter(1, labels[:, None], turned)
    return mean_cross_entropy(logits, labels)


@register_loss("arcface")
class ArcFaceLoss(ProxyLoss, function=arcface_loss):
    """ArcFace as a module that owns the proxies; see `arcface_loss`.

    Args:
        num_classes: number of classes.
        embedding_dim: size of an embedding.
        sub_centers: K, the proxies of a class; `proxies` is (C, K, D) where it is above 1. The
            paper on sub-centres has 3.

    """

    # The Reality Check's range (Musgrave, Belongie and Lim, ECCV 2020); the scale, linear
    # there, as a logarithm.
    search: ClassVar[dict[str, Range]] = {
        "margin": Range(0.0, math.pi / 2),
        "scale": Range(0.01, 200.0, "log"),
    }

    scale: float
    sub_centers: int

    def __init__(
        self, *, num_classes: Count, embedding_dim: Count, sub_centers: Count = 1, **parameters: Any
    ) -> None:
        """Check and keep the parameters; ValueError for an impossible one."""
        super().__init__(
            num_classes=num_classes,
            embedding_dim=embedding_dim,
            sub_centers=sub_centers,
            **parameters,
        )

    def vectors_of_a_class(self) -> tuple[int, ...]:
        """Return (K,), or () for one vector a class."""
        return (self.sub_centers,) if self.sub_centers > 1 else ()

    def class_scores(self, cosines: Tensor) -> Tensor:
        """Return s · cos, of the nearest sub-centre."""
        return self.scale * (cosines.amax(2) if cosines.ndim == 3 else cosines)
