"""Fixtures of the whole suite, and the markers of what they need."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from tests import postgres, requirements

if TYPE_CHECKING:
    from tests.postgres import Cluster

pytest_plugins = [
    "tests.distribution",
    "tests.summary",
    "tests.processes",
    "tests.pbx.fixtures",
    "tests.browser.fixtures",
    "tests.simulator.fixtures",
    "tests.sshd",
    "tests.servers.fixtures",
    "tests.actions.fixtures",
]

# The same examples in every run, so that a run which passed passes again; `make soak` looks for new ones. No
# time limit for an example: machines are shared.
hypothesis.settings.register_profile("same", derandomize=True, deadline=None)
hypothesis.settings.register_profile("new", deadline=None, max_examples=5_000)
hypothesis.settings.load_profile("new" if "AMIWEB_SOAK_SECONDS" in os.environ else "same")

# Fixture → marker of the tests that use it, for `-m "not pbx"` and the like.
MARKERS = {
    "db": "database",
    "transactional_db": "database",
    "asterisk": "pbx",
    "asterisk22": "pbx",
    "asterisk16": "pbx",
    "private_asterisk": "pbx",
    "chromium": "browser",
    "postgres_cluster": "postgres",
    "stack": "processes",
    "ssh_account": "ssh",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for fixture in MARKERS.keys() & set(getattr(item, "fixturenames", ())):
            item.add_marker(MARKERS[fixture])
        if item.get_closest_marker("django_db"):
            item.add_marker("database")


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[Cluster]:
    """A running private PostgreSQL (`.dsn`, `.url(database)`, `.version`)."""
    if reason := postgres.why_not():
        requirements.unavailable("postgres", reason)
    cluster = postgres.cluster()
    cluster.start()
    requirements.ran_against("PostgreSQL", cluster.version)
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session", autouse=True)
def audit_gives_way_to_flushes() -> Iterator[None]:
    """Transactional tests end by emptying all tables, which the audit's refuse but to a marked connection."""
    from django.db.backends.base.operations import BaseDatabaseOperations

    from ami_integration.audit.guard import guard_open

    flush = BaseDatabaseOperations.execute_sql_flush

    def marked(operations: Any, sql_list: Any) -> None:
        with guard_open("remove", using=operations.connection.alias):
            flush(operations, sql_list)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BaseDatabaseOperations, "execute_sql_flush", marked)
        yield


@pytest.fixture(autouse=True)
def nobody_has_tried_anything() -> None:
    """What the audit bounds by a number in each minute begins anew with each test."""
    for module, name in (("audit.logins", "tries"), ("access.consumers", "refusals")):
        if (loaded := sys.modules.get(f"ami_integration.{module}")) is not None:
            getattr(loaded, name).clear()


@pytest.fixture(scope="session", autouse=True)
def logins_of_test_clients_leave_no_entry() -> Iterator[None]:
    """`force_login` is how tests begin; the audit has the logins that come by the page."""
    from django.test.client import ClientMixin

    from ami_integration.audit.logins import user_logged_in, user_logged_in_note

    log_in = ClientMixin._login  # type: ignore[attr-defined]

    def silently(*args: Any, **values: Any) -> None:
        user_logged_in.disconnect(user_logged_in_note)
        try:
            log_in(*args, **values)
        finally:
            user_logged_in.connect(user_logged_in_note)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ClientMixin, "_login", silently)
        yield


@pytest.fixture(scope="session")
def django_db_keepdb() -> bool:
    """The database goes with the run's folder; to drop it would fail on a killed process's last session."""
    return True


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    request: pytest.FixtureRequest, django_db_modify_db_settings_parallel_suffix: None
) -> None:
    """Before pytest-django makes the test database: start the cluster that the settings point to."""
    import sqlite3

    from django.conf import settings

    if settings.AMIWEB_TEST_DATABASE == "postgres":
        request.getfixturevalue("postgres_cluster")
    else:
        requirements.ran_against("SQLite", sqlite3.sqlite_version)


requirements.ran_against("Python", platform.python_version())
