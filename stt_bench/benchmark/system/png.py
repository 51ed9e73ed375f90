"""Pictures on disk."""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib.figure import Figure

from stt_bench.benchmark.system.files import write_atomically
from stt_bench.benchmark.system.outputs import PNG_SOFTWARE


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG; the same figure gives the same bytes."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120, metadata={"Software": PNG_SOFTWARE})
    write_atomically(path, lambda stream: stream.write(picture.getvalue()))
