"""The first centroids of k-means: random rows, or rows spread over the points by k-means++."""

import numpy as np
import torch

from stt_bench.evaluation.backends import full_precision
from stt_bench.evaluation.checks import blocks

# No table of distances and no copy of rows holds more numbers than this: 64 MiB of float32.
TILE = 2**24

# So many rows are drawn at once: more make a faster matrix product, and more draws in vain.
DRAWS = 512

# Less than any squared distance that matters: two distinct rows are never at distance 0.
TINY = 2.0**-100


STARTS = ("random", "k-means++")


def first_rows(
    points: np.ndarray, count: int, start: str, seed: int, device: torch.device
) -> np.ndarray:
    """Return the first centroids of float32 points, by one of `STARTS`."""
    if start == "random":
        return random_rows(points, count, seed)
    with full_precision():
        return spread_rows(points, count, seed, device)


def random_rows(points: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return random rows of a float32 matrix, no two equal; all distinct ones if too few."""
    order = np.random.default_rng(seed).permutation(len(points))
    _, first = np.unique(_as_bytes(points[order]), return_index=True)
    return points[order[np.sort(first)[:count]]]


def spread_rows(points: np.ndarray, count: int, seed: int, device: torch.device) -> np.ndarray:
    """Return rows chosen by greedy k-means++, no two equal; all distinct ones if too few.

    A row is drawn with a probability proportional to D², its squared distance to the nearest row
    chosen so far; of 2 + ⌊ln K⌋ draws the one that lowers ΣD² most is chosen (Arthur and
    Vassilvitskii, 'k-means++: The Advantages of Careful Seeding', SODA 2007, which suggests the
    greedy choice; scikit-learn makes it, with as many draws).

    Many rows are drawn at once, so that one matrix product serves many choices. D² may have
    shrunk by the time a drawn row has its turn: it then stands with the probability
    new D² ÷ old D², which makes it a draw by the new D².
    """
    _, first, copies = np.unique(_as_bytes(points), return_index=True, return_counts=True)
    if len(first) <= count:
        return points[np.sort(first)]
    rng = np.random.default_rng(seed)
    rows = torch.from_numpy(points[first]).to(device)
    squares = rows.square().sum(dim=1)
    trials = 2 + int(np.log(count))
    buffer = torch.empty(TILE, device=device)

    chosen = [int(rng.choice(len(rows), p=copies / len(points)))]
    nearest = (rows - rows[chosen]).square().sum(dim=1).double().cpu().numpy().clip(TINY)
    nearest[chosen] = 0
    while len(chosen) < count:
        cumulated = np.cumsum(nearest * copies)
        size = max(trials, min(DRAWS, len(chosen)))
        drawn = np.searchsorted(cumulated, rng.random(size) * cumulated[-1], side="right")
        stands = rng.random(size) * nearest[drawn]
        gainers, distances = _gainers(rows, squares, nearest, drawn, buffer)
        tried: list[int] = []
        for i, row in enumerate(drawn):
            if stands[i] < nearest[row]:
                tried.append(i)
            if len(tried) == trials:
                gains = [
                    copies[gainers[j]] @ (nearest[gainers[j]] - distances[j]).clip(0) for j in tried
                ]
                best = tried[int(np.argmax(gains))]
                near = gainers[best]
                nearest[near] = np.minimum(nearest[near], distances[best])
                nearest[drawn[best]] = 0
                chosen.append(int(drawn[best]))
                tried = []
                if len(chosen) == count:
                    break
    return points[first[chosen]]


def _gainers(
    rows: torch.Tensor,
    squares: torch.Tensor,
    nearest: np.ndarray,
    drawn: np.ndarray,
    buffer: torch.Tensor,
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return, for each drawn row, the rows nearer to it than their `nearest`, and how near.

    They are few: about N for all draws together, as no more are drawn than were chosen before.
    """
    size = len(drawn)
    draws = torch.from_numpy(drawn).to(rows.device)
    shift = squares - torch.from_numpy(nearest).float().to(rows.device)
    places, gains = [], []
    for part in blocks(len(rows), max(1, TILE // size)):
        table = buffer[: (part.stop - part.start) * size].view(-1, size)
        torch.addmm(shift[part, None], rows[part], rows[draws].T, alpha=-2, out=table)
        table += squares[draws]
        # numpy finds the few several times as fast as torch.
        found = np.flatnonzero((table < 0).cpu().numpy())
        gains.append(table.view(-1)[torch.from_numpy(found).to(rows.device)].cpu().numpy())
        places.append(found + part.start * size)
    gainers, which = np.divmod(np.concatenate(places), size)
    order = np.argsort(which, kind="stable")
    gainers = gainers[order]
    distances = (nearest[gainers] + np.concatenate(gains)[order]).clip(TINY)
    ends = np.cumsum(np.bincount(which, minlength=size))[:-1]
    return np.split(gainers, ends), np.split(distances, ends)


def _as_bytes(points: np.ndarray) -> np.ndarray:
    """Return a vector whose entries are equal where rows are: −0 and 0 have other bytes."""
    positive = points + np.float32(0)
    return positive.view(np.dtype((np.void, positive.strides[0]))).ravel()
