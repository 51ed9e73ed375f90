"""Retrieval metrics by plain loops, from the definitions alone.

`by_enumeration` averages the textbook metrics over every order of the tied items.
`by_loops` does the same place by place, in rational numbers, for lists too long to permute.
"""

import itertools
from fractions import Fraction
from math import comb, sqrt

import numpy as np


def distance_table(queries, gallery, distance):
    """(Q, G) nested lists of Python floats, summed from left to right."""
    queries = [[float(v) for v in row] for row in np.asarray(queries, np.float64)]
    gallery = [[float(v) for v in row] for row in np.asarray(gallery, np.float64)]
    if distance == "euclidean":
        return [
            [sum((a - b) ** 2 for a, b in zip(q, g, strict=True)) for g in gallery] for q in queries
        ]

    def unit(row):
        norm = sqrt(sum(v * v for v in row))
        return [v / norm for v in row] if norm else row

    gallery = [unit(row) for row in gallery]
    return [
        [1 - sum(a * b for a, b in zip(unit(q), g, strict=True)) for g in gallery] for q in queries
    ]


def textbook(relevance, ks):
    """Metrics of one ranked list without ties: Recall@K for each K, R-Precision, MAP@R, RR."""
    relevant = sum(relevance)
    precisions = [Fraction(sum(relevance[: i + 1]), i + 1) for i in range(relevant) if relevance[i]]
    return [
        *(Fraction(any(relevance[:k])) for k in ks),
        Fraction(sum(relevance[:relevant]), relevant),
        sum(precisions, Fraction(0)) / relevant,
        Fraction(1, relevance.index(True) + 1),
    ]


def tie_runs(distances, relevance):
    """(size, positives) of every group of equal distances, nearest first."""
    ranked = sorted(zip(distances, relevance, strict=True))
    for _, run in itertools.groupby(ranked, key=lambda item: item[0]):
        flags = [flag for _, flag in run]
        yield len(flags), sum(flags)


def by_enumeration(distances, relevance, ks):
    orders = [
        textbook([relevance[i] for i in order], ks)
        for order in itertools.permutations(range(len(distances)))
        if all(distances[i] <= distances[j] for i, j in itertools.pairwise(order))
    ]
    return [float(sum(column) / len(orders)) for column in zip(*orders, strict=True)]


def by_loops(distances, relevance, ks):
    relevant = sum(relevance)
    no_positive_yet = Fraction(1)
    misses = {0: Fraction(1)}
    hits = average = reciprocal = Fraction(0)
    place = found = 0
    for size, positives in tie_runs(distances, relevance):
        for drawn in range(size):
            place += 1
            # x of the `drawn` items before this one in the group are positives.
            for x in range(min(positives, drawn) + 1):
                if drawn - x > size - positives or x == positives:
                    continue
                chance = Fraction(
                    comb(positives, x) * comb(size - positives, drawn - x), comb(size, drawn)
                ) * Fraction(positives - x, size - drawn)
                if place <= relevant:
                    hits += chance
                    average += chance * Fraction(found + x + 1, place)
                if found == 0 and x == 0:
                    reciprocal += chance / place
                    no_positive_yet -= chance
            misses[place] = no_positive_yet
        found += positives
    scores = [1 - misses[min(k, place)] for k in ks]
    return [float(v) for v in (*scores, hits / relevant, average / relevant, reciprocal)]


def retrieval_reference(
    embeddings, labels, gallery=None, gallery_labels=None, own=None, ks=(1, 2, 4, 8, 16),
    distance="euclidean",
):  # fmt: skip
    """The dictionary of `retrieval_metrics`; `own` maps a query to its gallery row."""
    if gallery is None:
        gallery, gallery_labels, own = embeddings, labels, {i: i for i in range(len(labels))}
    own = own or {}
    table = distance_table(embeddings, gallery, distance)
    scores = []
    for query, label in enumerate(labels):
        rows = [row for row in range(len(gallery_labels)) if row != own.get(query)]
        relevance = [bool(gallery_labels[row] == label) for row in rows]
        if any(relevance):
            scores.append(by_loops([table[query][row] for row in rows], relevance, ks))
    names = [*(f"recall@{k}" for k in ks), "r_precision", "map@r", "mrr"]
    means = [sum(column) / len(scores) for column in zip(*scores, strict=True)]
    return {
        **dict(zip(names, means, strict=True)),
        "queries": len(scores),
        "queries_without_positive": len(labels) - len(scores),
    }
