"""One thread a test process: the suite runs in two, and more threads only get in their way."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
