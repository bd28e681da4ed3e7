"""How long a newcomer waits: until `make run` is ready, and until Ctrl-C has ended it (promised: 10 s)."""

import time
from pathlib import Path

from tests.trial import STOP, Trial


def bench_first_start_second_start_and_stop(tmp_path: Path) -> None:
    for name in ("first", "second"):
        began = time.perf_counter()
        trial = Trial(tmp_path / "var")
        try:
            trial.until_ready()
            ready = time.perf_counter() - began
            began = time.perf_counter()
            trial.interrupt()
            assert trial.ended(STOP) is not None
            ended = time.perf_counter() - began
            print(f"\n{name} start ready after {ready:.1f} s, ended {ended:.1f} s after Ctrl-C")
        finally:
            trial.close()
