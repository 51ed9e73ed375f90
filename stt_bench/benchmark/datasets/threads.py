"""How images are read: by how many threads, how many at once, and how progress is told."""

import os
from collections.abc import Callable

THREADS = min(8, os.cpu_count() or 1)
BLOCK = 64  # images that a thread takes at once

Progress = Callable[[int, int], None]
"""Is called now and then with how many are done, and how many there are."""
