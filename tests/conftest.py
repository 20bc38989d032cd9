"""One thread a process: sums are then added in one order, so that a training in a test ends the same everywhere."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
