"""What a sentence about an unknown name says: the nearest valid one, or which there are."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

SHOWN = 40  # more names than these are counted, not listed
COMPARED = 100  # characters: of a longer name only the start is compared


def did_you_mean(name: object, valid: Iterable[object]) -> str:
    """Return ``did you mean 'x'?`` for the nearest valid name, else ``valid: `` and the names.

    Capitals do not count. The names are sorted; of more than 40 the first 40 are listed.

    Example:
        >>> did_you_mean("hard_tripplet", ["softmax", "hard_triplet"])
        "did you mean 'hard_triplet'?"
        >>> did_you_mean("zzz", ["softmax", "hard_triplet"])
        'valid: hard_triplet, softmax'

    """
    names = sorted({str(one) for one in valid})
    if not names:
        return "there are none"
    spelled = {one.lower()[:COMPARED]: one for one in reversed(names)}
    near = difflib.get_close_matches(str(name).lower()[:COMPARED], spelled, n=1, cutoff=0.5)
    if near:
        return f"did you mean '{spelled[near[0]]}'?"
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return f"valid: {', '.join(names[:SHOWN])}{more}"
