"""Pictures on disk: the same drawing gives the same bytes, on a machine of any settings."""

from __future__ import annotations

import io
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import matplotlib.style
import numpy as np
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from stt_bench.benchmark.system.atomic import write_atomically
from stt_bench.benchmark.system.outputs import PNG_SOFTWARE
from stt_bench.benchmark.system.text import one_line

LONGEST_LABEL = 60


@contextmanager
def drawn_figure(
    path: Path, width: float, height: float, layout: Literal["constrained", "tight"] = "constrained"
) -> Iterator[Figure]:
    """Yield an empty figure of some inches, and write it as PNG when the block ends.

    It has matplotlib's own style, whatever a ``matplotlibrc`` says. Of a character that
    matplotlib's font lacks it shows a box.
    """
    with matplotlib.style.context("default"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from", UserWarning)
        figure = Figure(figsize=(width, height), layout=layout)
        FigureCanvasAgg(figure)
        yield figure
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=120, metadata={"Software": PNG_SOFTWARE})
    write_atomically(path, lambda stream: stream.write(picture.getvalue()))


def label(text: str, longest: int = LONGEST_LABEL) -> str:
    """Return a text of others as it stands in a figure, to be drawn with ``parse_math=False``."""
    return one_line(text, longest)


def title(text: str, width: float, size: float) -> str:
    """Return a title of some points in size, in as many lines as some inches of width ask for."""
    return textwrap.fill(one_line(text), max(10, int(width * 72 / (0.7 * size))))


def add_legend(figure: Figure, entries: Sequence[tuple[Any, str]], **options: Any) -> None:
    """Add a legend of (artist, text) pairs, whatever their texts begin with or hold."""
    handles: list[Artist] = [artist for artist, _ in entries]
    legend = figure.legend(handles, ["-"] * len(handles), **options)
    for drawn, (_, text) in zip(legend.get_texts(), entries, strict=True):
        drawn.set(text=label(text, 40), parse_math=False)


def save_png(pixels: np.ndarray, path: Path) -> None:
    """Write uint8 (H, W, 3) pixels as PNG."""
    stream = io.BytesIO()
    text = PngInfo()
    text.add_text("Software", PNG_SOFTWARE)
    Image.fromarray(pixels).save(stream, format="PNG", pnginfo=text)
    write_atomically(path, lambda out: out.write(stream.getvalue()))
