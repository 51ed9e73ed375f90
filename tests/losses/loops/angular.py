"""Angular loss."""

import math

from loops.shared import pair_loss, unit

DEFAULTS = {"angle": 45.0, "l2_weight": 0.002, "normalize": True}
CASES = [{}, {"angle": 36, "normalize": False, "l2_weight": 0.3}]
BY_DISTANCE = False
DOT_PRODUCTS = True


def loop(x, y, angle=45.0, l2_weight=0.002, normalize=True):
    tan2 = math.tan(math.radians(angle)) ** 2

    def logit(x, i, j):
        if i == j:
            return 2 * (1 + tan2) * (x[i] @ x[i + 1])
        return 4 * tan2 * ((x[i] + x[i + 1]) @ x[j + 1])

    return pair_loss(unit(x) if normalize else x, y, l2_weight, logit)
