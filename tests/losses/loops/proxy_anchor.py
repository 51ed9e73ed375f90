"""Proxy-Anchor."""

from loops.proxies import cosines, owned
from loops.shared import log_total

__all__ = ["owned"]

DEFAULTS = {"alpha": 32.0, "delta": 0.1}
CASES = [{}, {"alpha": 4.0, "delta": 0.3}]
BY_DISTANCE = False


def loop(x, y, *, proxies, alpha=32.0, delta=0.1):
    s = cosines(x, proxies)
    pull, push = [], []
    for c in range(len(proxies)):
        own = [-alpha * (s[i][c][0] - delta) for i in range(len(x)) if y[i] == c]
        rest = [alpha * (s[i][c][0] + delta) for i in range(len(x)) if y[i] != c]
        if own:
            pull.append(log_total([0.0, *own]))
        push.append(log_total([0.0, *rest]))
    return sum(pull) / len(pull) + sum(push) / len(push), len(x), None
