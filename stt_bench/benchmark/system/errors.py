"""The one error a user sees: a sentence that says what is wrong, where, and how to mend it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BenchError(Exception):
    """A mistake in the input, told in one sentence; the command line shows no traceback."""


class TrainingStopped(Exception):  # noqa: N818  (no error: the user asked for it)
    """The user stopped a training; its checkpoint is written."""


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """Return ``did you mean 'x'?`` for the nearest valid name, else the list of valid names."""
    names = sorted(str(v) for v in valid)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'?" if near else f"valid: {', '.join(names)}"
