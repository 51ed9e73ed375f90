"""Softmax loss."""

import math

import numpy as np

from loops.shared import log_total, summary

DEFAULTS = {"label_smoothing": 0.0, "logit_adjustment": 0.0, "bias": True}
CASES = [
    {},
    {"label_smoothing": 0.2, "bias": False},
    {"logit_adjustment": 0.7, "class_counts": (50, 40, 20, 1)},
]
BY_DISTANCE = False


def owned(loss):
    weight = loss.linear.weight.detach().numpy()
    bias = loss.linear.bias.detach().numpy() if loss.bias else np.zeros(len(weight))
    return {"weight": weight, "bias": bias}


def loop(x, y, *, weight, bias, label_smoothing=0.0, logit_adjustment=0.0, class_counts=None):
    terms = []
    for i in range(len(x)):
        scores = [x[i] @ w + b for w, b in zip(weight, bias, strict=True)]
        if logit_adjustment:
            shares = [count / sum(class_counts) for count in class_counts]
            for c, share in enumerate(shares):
                scores[c] += logit_adjustment * math.log(share)
        total = log_total(scores)
        own = total - scores[y[i]]
        even = sum(total - s for s in scores) / len(scores)
        terms.append((1 - label_smoothing) * own + label_smoothing * even)
    return (*summary(terms)[:2], None)
