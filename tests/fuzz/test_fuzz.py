"""Runs the fuzz target for AMIWEB_SOAK_SECONDS (20 by default); its corpus is kept and grows."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
CORPUS = ROOT / "tests" / "fuzz" / "corpus"
SECONDS = int(float(os.environ.get("AMIWEB_SOAK_SECONDS", "20")))


@pytest.mark.soak
@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None, reason="atheris has no wheel for this Python"
)
def test_the_protocol_withstands_a_coverage_guided_fuzzer(tmp_path: Path) -> None:
    # New findings go to the first folder; `tests/fuzz/corpus` is where every run begins.
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.fuzz_protocol", str(tmp_path), str(CORPUS),
         f"-max_total_time={SECONDS}", "-max_len=2000", "-timeout=10", f"-artifact_prefix={tmp_path}/"],
        cwd=ROOT, capture_output=True, text=True, errors="replace", timeout=SECONDS + 120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-5000:]
    assert "Done " in done.stderr, done.stderr[-2000:]
