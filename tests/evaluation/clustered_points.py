"""Points about a random centre for each class, in random order."""

import numpy as np


def clustered(classes, size, dimension, noise, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(classes), size))
    points = rng.normal(size=(classes, dimension))[labels]
    return (points + noise * rng.normal(size=points.shape)).astype(np.float32), labels
