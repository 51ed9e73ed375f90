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
    """Tell whether (C,) counts are so uneven, of so few classes, that class averages are better.

    The coefficient of variation exceeds 0.5 and there are fewer than 100 classes: intervals of the
    mean over queries then cover 85 % and not 95 %.
    """
    return len(counts) < 100 and bool(counts.std() > 0.5 * counts.mean())
