"""How images that cannot be used are told: some in the sentence, all of them in a file."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from stt_bench.benchmark.system.atomic import write_atomically
from stt_bench.benchmark.system.contents import cache_folder
from stt_bench.benchmark.system.errors import BenchError, RefusedError

_NAMED = 3  # in the sentence
_MEND = "replace or remove"
SKIP = "data.skip_unreadable: true"


class UnreadableError(RefusedError):
    """An image that cannot be decoded or converted, whatever the settings."""

    def __init__(self, what: str, reason: str, mend: str = f"{_MEND} it") -> None:
        """Tell it as a sentence; the reason stays apart, too."""
        super().__init__(f"{what} ({reason}): {mend}")
        self.told, self.reason = f"{what} ({reason})", reason


class LostFilesError(BenchError):
    """Image files that are not there, or that the system does not let be read."""

    def __init__(self, told: str, paths: Sequence[str]) -> None:
        """Tell it as a sentence, and keep which they are."""
        super().__init__(told)
        self.paths = paths


def refusal(
    name: str, errors: Sequence[BenchError], total: int, *, skippable: bool = True
) -> BenchError:
    """Return one error for all images that cannot be used, and write the list of them.

    Args:
        name: of the dataset; the list's file begins with it.
        errors: one for each image.
        total: how many images there are.
        skippable: whether a config says what is done with them.
    """
    several = len(errors) > 1
    them = "them" if several else "it"
    unreadable = all(isinstance(error, UnreadableError) for error in errors)
    mend = f": {_MEND} {them}" if unreadable else ""
    if unreadable and skippable:
        mend += f", or leave {them} out with {SKIP}"
    sentences = [e.told if isinstance(e, UnreadableError) else str(e) for e in errors]
    of_machine = any(getattr(error.__cause__, "errno", None) is not None for error in errors)
    kind = BenchError if of_machine else RefusedError
    if not several:
        return kind(sentences[0] + mend)
    first = "; ".join(sentences[:_NAMED])
    listed = listed_in_file(name, sentences)
    more = f"; all are listed in {listed}" if listed else ""
    return kind(f"{len(errors):,} of {total:,} images cannot be used: {first}{more}{mend}")


def listed_in_file(name: str, sentences: Sequence[str]) -> Path | None:
    """Write a list of images, a line each, to the cache folder; None where there is none.

    Another list has another file: two folders of images may have one name.
    """
    folder = cache_folder("unreadable")
    if folder is None:
        return None
    content = ("\n".join(sentences) + "\n").encode(errors="surrogateescape")
    file = folder / f"{name}-{hashlib.sha256(content).hexdigest()[:12]}.txt"
    try:
        write_atomically(file, lambda stream: stream.write(content))
    except (BenchError, OSError):
        return None
    return file
