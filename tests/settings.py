"""Settings of the test run: those of the trial, with a var folder that lives as long as the run.

pytest-django loads settings before any conftest, so the environment has to be prepared here. A developer's
own AMIWEB_* variables don't leak in; those of the tests (AMIWEB_TEST_*, AMIWEB_SOAK_*, AMIWEB_BENCH_*) stay.

The database is `AMIWEB_TEST_DATABASE`: `sqlite`, `postgres`, or unset: PostgreSQL where this machine has it,
else SQLite. Only the address of a private PostgreSQL is chosen here; the fixture `postgres_cluster` starts it
when the first test wants a database.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from tests import postgres

_KEPT = ("AMIWEB_TEST_", "AMIWEB_SOAK_", "AMIWEB_BENCH_")
for _name in [name for name in os.environ if name.startswith("AMIWEB_") and not name.startswith(_KEPT)]:
    del os.environ[_name]

# A process that a test starts with these settings shares the folder, and leaves it to the test run to remove.
# (Workers of pytest-xdist are test runs of their own.)
_run = os.environ.get("PYTEST_XDIST_WORKER", "main")
_owner, _, _folder = os.environ.get("AMIWEB_TEST_VAR", "").partition(":")
if _owner != _run:
    _folder = tempfile.mkdtemp(prefix="amiweb-test-")
    atexit.register(shutil.rmtree, _folder, ignore_errors=True)
    os.environ["AMIWEB_TEST_VAR"] = f"{_run}:{_folder}"
os.environ["AMIWEB_VAR_DIR"] = _folder

AMIWEB_TEST_DATABASE = postgres.database_choice()
if AMIWEB_TEST_DATABASE == "postgres":
    os.environ["AMIWEB_DATABASE_URL"] = postgres.cluster().url("amiweb")

from amiweb.settings import *  # noqa: E402, F403 - after the environment is prepared; the point is to take all
from amiweb.settings import DATABASES  # noqa: E402

if AMIWEB_TEST_DATABASE == "sqlite":
    # A file, because real worker and web processes open it too.
    DATABASES["default"].setdefault("TEST", {})["NAME"] = str(Path(_folder) / "test.sqlite3")

PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.MD5PasswordHasher",  # each test that logs in would pay 0.2 s
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",  # what the real processes know
]
