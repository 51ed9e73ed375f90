"""Re-identification and search metrics by plain loops, from the definitions alone.

`measures` are those of one ranked list without ties, `mean_over_orders` their mean over every order
of tied items, `by_places` the same place by place for lists too long to permute.
"""

import itertools
from fractions import Fraction
from math import comb, log2

from evaluation_reference import by_loops, distance_table, tie_runs

NAMES = ("map", "precision", "min", "relevant", "hits", "ndcg")


def measures(relevance, k):
    """mAP, Precision@K, MAP@K by three divisors and nDCG@K of a list of booleans."""
    relevant = sum(relevance)
    precision = [sum(relevance[: i + 1]) / (i + 1) for i in range(len(relevance))]
    gained = [p for p, positive in zip(precision, relevance, strict=True) if positive]
    hits = sum(relevance[:k])
    ideal = sum(1 / log2(rank + 1) for rank in range(1, min(k, relevant) + 1))
    gain = sum(1 / log2(i + 2) for i, positive in enumerate(relevance[:k]) if positive)
    sums = sum(gained[:hits])
    return {
        "map": sum(gained) / relevant,
        "precision": hits / k,
        "min": sums / min(k, relevant),
        "relevant": sums / relevant,
        "hits": sums / hits if hits else 0.0,
        "ndcg": gain / ideal,
    }


def mean_over_orders(distances, relevance, k):
    orders = [
        measures([relevance[i] for i in order], k)
        for order in itertools.permutations(range(len(distances)))
        if all(distances[i] <= distances[j] for i, j in itertools.pairwise(order))
    ]
    return {name: sum(one[name] for one in orders) / len(orders) for name in NAMES}


def by_places(distances, relevance, k):
    """All but the divisor `hits`, whose expectation is no sum over places."""
    relevant, length = sum(relevance), len(relevance)
    average = within = hits = Fraction(0)
    gain = 0.0
    place = found = 0
    for size, positives in tie_runs(distances, relevance):
        for drawn in range(size):
            place += 1
            positive = precision = Fraction(0)
            for x in range(min(positives, drawn) + 1):
                if drawn - x > size - positives or x == positives:
                    continue
                chance = Fraction(
                    comb(positives, x) * comb(size - positives, drawn - x), comb(size, drawn)
                ) * Fraction(positives - x, size - drawn)
                positive += chance
                precision += chance * Fraction(found + x + 1, place)
            average += precision
            if place <= k:
                hits += positive
                within += precision
                gain += float(positive) / log2(place + 1)
        found += positives
    assert place == length
    ideal = sum(1 / log2(rank + 1) for rank in range(1, min(k, relevant) + 1))
    return {
        "map": float(average / relevant),
        "precision": float(hits / k),
        "min": float(within / min(k, relevant)),
        "relevant": float(within / relevant),
        "ndcg": gain / ideal,
    }


def shared(left, right):
    """Whether two labels, or lists of labels, have one in common."""
    left, right = (set(one) if isinstance(one, list | tuple) else {one} for one in (left, right))
    return bool(left & right)


def ruled_reference(
    embeddings, labels, gallery, gallery_labels, *, own=None, query_groups=None,
    gallery_groups=None, groups_apply_to="label", junk=None, distance="euclidean", ks=(1, 3),
    map_at_k="min",
):  # fmt: skip
    """The metrics of every query as a dictionary, None where it has no positive."""
    own = own or {}
    table = distance_table(embeddings, gallery, distance)
    scores = []
    for query, label in enumerate(labels):
        rows = []
        for row, other in enumerate(gallery_labels):
            if row == own.get(query) or (junk is not None and junk[row]):
                continue
            same = query_groups is not None and query_groups[query] == gallery_groups[row]
            if same and (groups_apply_to == "all" or shared(label, other)):
                continue
            rows.append(row)
        relevance = [shared(label, gallery_labels[row]) for row in rows]
        if not any(relevance):
            scores.append(None)
            continue
        distances = [table[query][row] for row in rows]
        usual = by_loops(distances, relevance, ks)
        found = {f"recall@{k}": usual[i] for i, k in enumerate(ks)}
        found |= dict(zip(("r_precision", "map@r", "mrr"), usual[len(ks) :], strict=True))
        for k in ks:
            one = by_places(distances, relevance, k)
            found["map"] = one["map"]
            found[f"precision@{k}"] = one["precision"]
            found[f"map@{k}"] = one[map_at_k]
            found[f"ndcg@{k}"] = one["ndcg"]
        scores.append(found)
    return scores
