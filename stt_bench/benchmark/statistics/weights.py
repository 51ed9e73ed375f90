"""From class means to class values whose mean is the metric that is shown."""

from __future__ import annotations

import numpy as np


def linearised(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the influence values of (..., C) class means on their mean over queries.

    v_c = θ + C·n_c/Σn · (x_c − θ) with θ = Σ n_c·x_c/Σn: they average to θ. Equal counts (C,) leave
    the values as they are. For classes that do not share a gallery, such as accuracies.
    """
    share = counts / counts.sum()
    theta = (values * share).sum(axis=-1, keepdims=True)
    return theta + len(counts) * share * (values - theta)


def uneven(counts: np.ndarray) -> bool:
    """Tell whether (C,) counts are so uneven that intervals of the class average are better.

    That is at a coefficient of variation above 0.7, and of fewer than 100 classes above 0.5.
    Intervals of the mean over queries then cover as little as 70 % and not 95 %, be it with 60 or
    900 classes, where larger classes gain more; those of the class average do not.
    """
    most = 0.5 if len(counts) < 100 else 0.7
    return bool(counts.std() > most * counts.mean())
