"""Docstrings as the site's parser takes them: their section is `Example:`, its `Examples:`."""

from __future__ import annotations

from typing import Any

from griffe import Extension, Object


class Docstrings(Extension):
    """Rename the sections of examples."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Rename that of one object."""
        if obj.docstring is not None:
            lines = obj.docstring.value.split("\n")
            obj.docstring.value = "\n".join(
                "Examples:" if line == "Example:" else line for line in lines
            )
