"""ProxyNCA++ and ProxyNCA."""

from loops.proxies import owned
from loops.shared import log_total, unit

__all__ = ["owned"]

DEFAULTS = {"temperature": 1 / 9, "positive_in_denominator": True}
CASES = [{}, {"temperature": 1.0, "positive_in_denominator": False}]
BY_DISTANCE = False


def loop(x, y, *, proxies, temperature=1 / 9, positive_in_denominator=True):
    x, proxies, terms = unit(x), unit(proxies), []
    for i in range(len(x)):
        far = [sum((x[i] - w) ** 2) / temperature for w in proxies]
        counted = [c for c in range(len(far)) if positive_in_denominator or c != y[i]]
        terms.append(far[y[i]] + log_total([-far[c] for c in counted]))
    return sum(terms) / len(terms), len(terms), None
