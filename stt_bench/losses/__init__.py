"""Losses for deep metric learning: a pure function and a thin module for each.

>>> import torch
>>> from stt_bench.losses import build_loss
>>> loss = build_loss("hard_triplet", margin=1.5)
>>> loss(torch.tensor([[0.0], [1.0], [3.0], [4.0]]), torch.tensor([0, 0, 1, 1]))
tensor(0.2500)
>>> loss.diagnostics["terms"]
tensor(4)

"""

from stt_bench.losses.angular import AngularLoss, angular_loss
from stt_bench.losses.arcface import ArcFaceLoss, arcface_loss
from stt_bench.losses.base import RankingLoss, loss_function
from stt_bench.losses.batch_all_triplet import BatchAllTripletLoss, batch_all_triplet_loss
from stt_bench.losses.center import CenterLoss, center_loss
from stt_bench.losses.circle import CircleLoss, circle_loss
from stt_bench.losses.contrastive import ContrastiveLoss, contrastive_loss
from stt_bench.losses.cosface import CosFaceLoss, cosface_loss
from stt_bench.losses.easy_positive import EasyPositiveLoss, easy_positive_loss
from stt_bench.losses.hard_triplet import HardTripletLoss, hard_triplet_loss
from stt_bench.losses.lifted import LiftedLoss, lifted_loss
from stt_bench.losses.margin import MarginLoss, margin_loss
from stt_bench.losses.memory import CrossBatchMemory
from stt_bench.losses.multi_similarity import MultiSimilarityLoss, multi_similarity_loss
from stt_bench.losses.normalized_softmax import NormalizedSoftmaxLoss, normalized_softmax_loss
from stt_bench.losses.npairs import NPairsLoss, npairs_loss
from stt_bench.losses.ntxent import NTXentLoss, ntxent_loss
from stt_bench.losses.priming import PrimingLoss, priming_loss
from stt_bench.losses.proxy_anchor import ProxyAnchorLoss, proxy_anchor_loss
from stt_bench.losses.proxy_nca import ProxyNCALoss, proxy_nca_loss
from stt_bench.losses.registry import build_loss, loss_names, loss_parameters, register_loss
from stt_bench.losses.semi_hard_triplet import SemiHardTripletLoss, semi_hard_triplet_loss
from stt_bench.losses.smooth_ap import SmoothAPLoss, smooth_ap_loss
from stt_bench.losses.soft_triple import SoftTripleLoss, soft_triple_loss
from stt_bench.losses.softmax import SoftmaxLoss, softmax_loss
from stt_bench.losses.supcon import SupConLoss, supcon_loss

__all__ = [
    "AngularLoss",
    "ArcFaceLoss",
    "BatchAllTripletLoss",
    "CenterLoss",
    "CircleLoss",
    "ContrastiveLoss",
    "CosFaceLoss",
    "CrossBatchMemory",
    "EasyPositiveLoss",
    "HardTripletLoss",
    "LiftedLoss",
    "MarginLoss",
    "MultiSimilarityLoss",
    "NPairsLoss",
    "NTXentLoss",
    "NormalizedSoftmaxLoss",
    "PrimingLoss",
    "ProxyAnchorLoss",
    "ProxyNCALoss",
    "RankingLoss",
    "SemiHardTripletLoss",
    "SmoothAPLoss",
    "SoftTripleLoss",
    "SoftmaxLoss",
    "SupConLoss",
    "angular_loss",
    "arcface_loss",
    "batch_all_triplet_loss",
    "build_loss",
    "center_loss",
    "circle_loss",
    "contrastive_loss",
    "cosface_loss",
    "easy_positive_loss",
    "hard_triplet_loss",
    "lifted_loss",
    "loss_function",
    "loss_names",
    "loss_parameters",
    "margin_loss",
    "multi_similarity_loss",
    "normalized_softmax_loss",
    "npairs_loss",
    "ntxent_loss",
    "priming_loss",
    "proxy_anchor_loss",
    "proxy_nca_loss",
    "register_loss",
    "semi_hard_triplet_loss",
    "smooth_ap_loss",
    "soft_triple_loss",
    "softmax_loss",
    "supcon_loss",
]
