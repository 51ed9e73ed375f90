"""How large HTML pages are, and how long Chromium takes to open them.

    stt-bench report --html && stt-bench report digits_retrieval --html
    python tests/perf/html_pages.py results/report.html results/digits_retrieval.html

Promised are 300 kB for the page of all tables, 15 MB for that of one, two seconds for either.
Busy is the processor time of the page's main thread: other work on the machine hardly changes it.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmark" / "pages"))

from browser import MISSING, Browser, browser

REPEATS = 5
LIMITS = {"report.html": 300_000}
LINE = "{:<32} {:>12} {:>9} {:>11} {:>11} {:>9}"
LOADED = """
const [one] = performance.getEntriesByType('navigation');
return [one.domContentLoadedEventEnd, one.loadEventEnd, document.querySelectorAll('*').length];
"""


def busy(chromium: Browser) -> float:
    """Return the milliseconds that the page's main thread has worked since it was opened."""
    metrics = chromium.devtools("Performance.getMetrics")["metrics"]
    return 1000 * next(one["value"] for one in metrics if one["name"] == "TaskDuration")


def main(pages: list[Path]) -> int:
    if MISSING or not pages:
        print(MISSING or __doc__)
        return 2
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
    sys.exit(main([Path(name) for name in sys.argv[1:]]))
