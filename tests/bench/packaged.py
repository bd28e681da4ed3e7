"""The packaged AMI clients that ours is measured beside, in an environment of their own.

It lies in `build/` (`make clean` removes it), is made by the bootstrap that makes `.venv`, from
requirements/bench.txt, on the Python that runs the benchmark, and is used again as long as that file stays.
"""

from __future__ import annotations

import os
import subprocess
import sys

from tests.bench import ROOT, wants_disk

#: Reader (tests/bench/readers.py) and the package it is of.
CLIENTS = {"asterisk_ami": "asterisk-ami", "panoramisk": "panoramisk", "pystrix": "pystrix"}
SIZE = 40_000_000
FOLDER = ROOT / "build" / f"bench-{sys.version_info[0]}.{sys.version_info[1]}"


def make() -> str:
    """Make the environment if need be; returns the path of its Python.

    Raises:
        DiskFull: there is no room for it.
        subprocess.CalledProcessError: it can't be made; what is wrong was printed.
    """
    if not FOLDER.exists():
        wants_disk(FOLDER, SIZE, "the environment of the packaged clients")
    command = [sys.executable, str(ROOT / "amiweb" / "bootstrap.py"), "bench"]
    subprocess.run([*command, "-c", ""], env={**os.environ, "AMIWEB_VENV": str(FOLDER)}, check=True)
    return str(FOLDER / "bin" / "python")
