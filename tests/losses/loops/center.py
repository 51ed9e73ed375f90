"""Center loss."""

import numpy as np

from loops.shared import unit

DEFAULTS = {"alpha": 0.5, "normalize": True, "init": "zeros"}
CASES = [{}, {"alpha": 0.9, "normalize": False, "init": "normal"}]
BY_DISTANCE = False


def owned(loss):
    return {"centers": loss.centers.numpy()}


def loop(x, y, *, centers, normalize=True, **of_the_steps):
    x = unit(x) if normalize else x
    return 0.5 * sum(sum((x[i] - centers[y[i]]) ** 2) for i in range(len(x))), len(x), None


def moved_centers(x, y, centers, alpha=0.5, normalize=True):
    x = unit(x) if normalize else x
    moved = centers.copy()
    for j in range(len(centers)):
        members = [i for i in range(len(x)) if y[i] == j]
        pull = sum((centers[j] - x[i] for i in members), np.zeros(x.shape[1]))
        moved[j] = centers[j] - alpha * pull / (1 + len(members))
    return moved
