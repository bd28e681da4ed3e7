"""Benchmarks: `make bench` runs the `bench_*.py` here; the normal suite does not.

Each asserts its result and prints its speed: no speed is asserted, since it says as much of the machine as of
the code. AMIWEB_BENCH_SCALE (1 by default) scales the size; CI runs each at 0.01.
"""

import os

SCALE = float(os.environ.get("AMIWEB_BENCH_SCALE", "1"))
