"""How large HTML pages are, and how long Chromium takes to open them.

    stt-bench report --html && stt-bench report digits_retrieval --html
    python tests/perf/html_pages.py results/report.html results/digits_retrieval.html

    python tests/perf/html_pages.py --grow results/digits_retrieval.html

With ``--grow`` the pictures of a page are made noise, as much as keeps it just below 15 MB.

Promised are 300 kB for the page of all tables, 15 MB for that of one, two seconds for either.
Busy is the processor time of the page's main thread: other work on the machine hardly changes it.
"""

from __future__ import annotations

import argparse
import base64
import io
import re
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmark" / "pages"))

from browser import MISSING, Browser, browser

REPEATS = 5
LIMITS = {"report.html": 300_000}
PICTURE = re.compile(r"data:image/(?:jpeg|png);base64,[A-Za-z0-9+/=]+")
LINE = "{:<32} {:>12} {:>9} {:>11} {:>11} {:>9}"
LOADED = """
const [one] = performance.getEntriesByType('navigation');
return [one.domContentLoadedEventEnd, one.loadEventEnd, document.querySelectorAll('*').length];
"""


def busy(chromium: Browser) -> float:
    """Return the milliseconds that the page's main thread has worked since it was opened."""
    metrics = chromium.devtools("Performance.getMetrics")["metrics"]
    return 1000 * next(one["value"] for one in metrics if one["name"] == "TaskDuration")


def grown(page: Path, folder: Path, size: int = 14_800_000) -> Path:
    """Write a page whose pictures are noise, each another, and that has about `size` bytes."""
    text = page.read_text(encoding="utf-8")
    pictures = PICTURE.findall(text)
    if not pictures:
        raise SystemExit(f"{page} has no pictures: name the page of a table whose runs are here")
    each = (size - len(text) + sum(map(len, pictures))) // len(pictures)
    side = int((each * 3 / 4) ** 0.5)  # a grey PNG of noise has a byte a pixel
    rng = np.random.default_rng(0)

    def noise(_: re.Match[str]) -> str:
        stream = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (side, side), dtype=np.uint8)).save(stream, "PNG")
        return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"

    large = folder / page.name
    large.write_text(PICTURE.sub(noise, text), encoding="utf-8")
    return large


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--grow", action="store_true", help="make the pictures of pages noise")
    options.add_argument("pages", nargs="+", type=Path)
    given = options.parse_args()
    pages: list[Path] = given.pages
    if MISSING:
        options.error(MISSING)
    with tempfile.TemporaryDirectory() as folder:
        if given.grow:
            pages = [grown(page, Path(folder)) for page in pages]
        return timed(pages)


def timed(pages: list[Path]) -> int:
    kept = True
    print(LINE.format("page", "bytes", "elements", "parsed, ms", "loaded, ms", "busy, ms"))
    with browser() as chromium:
        for path in pages:
            chromium.size(1280)
            times = []
            for _ in range(REPEATS):
                chromium.devtools("Performance.enable", timeDomain="threadTicks")
                chromium.open(path.resolve())
                times.append([*chromium.run(LOADED), busy(chromium)])
                chromium.devtools("Performance.disable")
            parsed, loaded, elements, work = map(statistics.median, zip(*times, strict=True))
            size = path.stat().st_size
            counts = (f"{count:,.0f}" for count in (size, elements, parsed, loaded, work))
            print(LINE.format(path.name, *counts))
            kept &= size < LIMITS.get(path.name, 15_000_000) and loaded < 2000
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
