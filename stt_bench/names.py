"""What a sentence about an unknown name says: the nearest valid one, or which there are."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

SHOWN = 40  # more names than these are counted, not listed
COMPARED = 100  # characters: of a longer name only the start is compared
ALIKE = 0.6  # of difflib's ratio; below, a guess is as often as not another thing


def nearest(name: object, valid: Iterable[object], *, alike: float = ALIKE) -> str | None:
    """Return the valid name most like `name`, capitals aside; None where none is `alike` (0 to 1).

    Example:
        >>> nearest("lable", ["label", "path"])
        'label'

    """
    spelled = {one.lower()[:COMPARED]: one for one in sorted(map(str, valid), reverse=True)}
    near = difflib.get_close_matches(str(name).lower()[:COMPARED], spelled, n=1, cutoff=alike)
    return spelled[near[0]] if near else None


def did_you_mean(name: object, valid: Iterable[object]) -> str:
    """Return ``did you mean 'x'?`` for the nearest valid name, else ``valid: `` and the names.

    Where none is near, the only one that `name` is a part of is meant. Capitals do not count. The
    names are sorted; of more than 40 the first 40 are listed.

    Example:
        >>> did_you_mean("hard_tripplet", ["softmax", "hard_triplet"])
        "did you mean 'hard_triplet'?"
        >>> did_you_mean("zzz", ["softmax", "hard_triplet"])
        'valid: hard_triplet, softmax'

    """
    names = sorted({str(one) for one in valid})
    if not names:
        return "there are none"
    part = str(name).lower()
    whole = [one for one in names if len(part) > 2 and part in one.lower()]
    near = nearest(name, names) or (whole[0] if len(whole) == 1 else None)
    if near is not None:
        return f"did you mean '{near}'?"
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return f"valid: {', '.join(names[:SHOWN])}{more}"
