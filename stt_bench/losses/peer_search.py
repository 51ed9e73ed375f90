"""Search ranges of the best-known losses of pytorch-metric-learning, by class and parameter.

Source: the Reality Check (Musgrave, Belongie and Lim, ECCV 2020) where it has the loss, with scales
and temperatures as logarithms; else those of our own loss of that name. A loss that is not here is
tuned in its learning rates alone.
"""

from stt_bench.losses.search import Range

_MARGIN = Range(-0.2, 2.0)
_SHARE = Range(0.0, 1.0)
_SCALE = Range(0.01, 100.0, "log")
_CLASS_SCALE = Range(0.01, 200.0, "log")
_TEMPERATURE = Range(1e-4, 1e2, "log")
_DEGREES = Range(0.0, 90.0)

PEER_RANGES: dict[str, dict[str, Range]] = {
    "AngularLoss": {"alpha": Range(30.0, 60.0)},
    "ArcFaceLoss": {"margin": _DEGREES, "scale": _CLASS_SCALE},
    "CircleLoss": {"m": _SHARE, "gamma": Range(1.0, 1000.0, "log")},
    "ContrastiveLoss": {"pos_margin": _MARGIN, "neg_margin": _MARGIN},
    "CosFaceLoss": {"margin": _SHARE, "scale": _CLASS_SCALE},
    "GeneralizedLiftedStructureLoss": {"neg_margin": Range(0.1, 2.0)},
    "LiftedStructureLoss": {"neg_margin": Range(0.1, 2.0)},
    "MarginLoss": {"margin": _MARGIN, "beta": _MARGIN},
    "MultiSimilarityLoss": {"alpha": _SCALE, "beta": _SCALE, "base": _SHARE},
    "NTXentLoss": {"temperature": _TEMPERATURE},
    "NormalizedSoftmaxLoss": {"temperature": Range(1e-2, 1e2, "log")},
    "ProxyAnchorLoss": {"alpha": _SCALE, "margin": _SHARE},
    "ProxyNCALoss": {"softmax_scale": _SCALE},
    "SignalToNoiseRatioContrastiveLoss": {
        "pos_margin": Range(0.0, 2.0),
        "neg_margin": Range(0.0, 2.0),
    },
    "SmoothAPLoss": {"temperature": Range(1e-3, 1.0, "log")},
    "SoftTripleLoss": {"la": _SCALE, "gamma": _SCALE, "margin": _SHARE},
    "SubCenterArcFaceLoss": {"margin": _DEGREES, "scale": _CLASS_SCALE},
    "SupConLoss": {"temperature": _TEMPERATURE},
    "TripletMarginLoss": {"margin": _MARGIN},
}
