"""The one error a user sees: a sentence that says what is wrong, where, and how to fix it."""

from __future__ import annotations


class BenchError(Exception):
    """A mistake in the input, told in one sentence; the command line shows no traceback."""


class RefusedError(BenchError):
    """Settings, data or folders are at fault: until they are others, it can only fail again."""


class NotHereError(RefusedError):
    """Data or weights that a config names are not on this machine."""


class NewerError(RefusedError):
    """A newer version wrote a file; nothing is written over it."""


class ItemsError(RefusedError):
    """What a list says of its items is at fault, not their images or embeddings."""


class OtherSettingsError(RefusedError):
    """A folder holds a run of other settings: it has not failed, but is not what is asked for."""


class TrainingStopped(Exception):  # noqa: N818  (no error: the user asked for it)
    """The user stopped a training; its checkpoint is written."""
