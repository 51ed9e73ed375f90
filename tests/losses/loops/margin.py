"""Margin loss, with the negatives that it takes in evaluation mode."""

from loops.shared import anchors, between, unit

DEFAULTS = {
    "margin": 0.2,
    "beta": 1.2,
    "beta_per_class": False,
    "nu": 0.0,
    "sampling": "distance",
    "cutoff": 0.5,
    "upper": 1.4,
    "normalize": True,
}
CASES = [
    {},
    {"cutoff": 0.9, "upper": 1.2, "beta": 3.0, "normalize": False},
    {"sampling": "all", "beta_per_class": True, "nu": 0.1},
    {"sampling": "all", "normalize": False, "beta": 3.5},
    {"sampling": "pairs", "beta_per_class": True},
]
NOT_ANY_NUMBER = ("beta", "upper")  # β is learned, and an upper distance is above the cutoff


def owned(loss):
    beta = loss.beta.detach().numpy()
    return {"beta": beta if beta.ndim else [float(beta)] * 100}


def loop(
    x,
    y,
    *,
    beta,
    beta_per_class=False,
    margin=0.2,
    nu=0.0,
    sampling="distance",
    cutoff=0.5,
    upper=1.4,
    normalize=True,
):
    rows = unit(x) if normalize else x
    d = [[between(u, v, "euclidean") for v in rows] for u in rows]
    sphere = [[between(u, v, "euclidean") for v in unit(x)] for u in unit(x)]
    terms, costs = [], 0.0
    for a in anchors(x):
        positives = [k for k in range(len(x)) if k != a and y[k] == y[a]]
        negatives = [k for k in range(len(x)) if y[k] != y[a]]
        if not positives or not negatives:
            continue
        if sampling == "pairs":
            terms += [max(d[a][p] - beta[y[a]] + margin, 0.0) for p in positives]
            terms += [max(beta[y[a]] - d[a][n] + margin, 0.0) for n in negatives]
            continue
        if sampling == "distance":
            near = [n for n in negatives if max(sphere[a][n], cutoff) < upper]
            negatives = [min(near, key=lambda n: sphere[a][n])] if near else []
        for p in positives:
            for n in negatives:
                terms.append(max(d[a][p] - beta[y[a]] + margin, 0.0))
                terms.append(max(beta[y[a]] - d[a][n] + margin, 0.0))
                costs += nu * beta[y[a]]
    active = sum(t > 1e-12 for t in terms)
    if not active:
        return 0.0, len(terms), 0.0
    return (sum(terms) + costs) / active, len(terms), active / len(terms)
