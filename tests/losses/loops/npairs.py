"""N-pairs loss."""

from loops.shared import pair_loss

DEFAULTS = {"l2_weight": 0.002}
CASES = [{}, {"l2_weight": 0.5}]
BY_DISTANCE = False
DOT_PRODUCTS = True


def loop(x, y, l2_weight=0.002):
    return pair_loss(x, y, l2_weight, lambda x, i, j: x[i] @ x[j + 1])
