"""One thread a test process, and the same random examples in every run of the suite.

More threads than processes only get in each other's way.  ``pytest --hypothesis-profile default``
draws new examples.
"""

import os

from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")
