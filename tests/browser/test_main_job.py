"""The whole story in a real browser, with real processes: on a real Asterisk 22, and in the trial."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import make_password

from ami_integration.simulator import SECRET, USERNAME
from tests.browser.chromium import Visitor
from tests.browser.story import Administrator, Stage
from tests.pbx.asterisk import Asterisk
from tests.processes import Stack, free_port
from tests.trial import Trial

pytestmark = [pytest.mark.browser, pytest.mark.processes]


@pytest.mark.pbx
def test_an_administrator_does_the_main_job_on_a_real_asterisk(
    asterisk22: Asterisk, stack: Stack, visitor: Visitor
) -> None:
    # Hashed as the web process, a real one with its own settings, expects it.
    password = make_password("a long enough one", hasher="pbkdf2_sha256")
    get_user_model().objects.create(username="ada", password=password, is_staff=True, is_superuser=True)
    for process in ("web", "worker", "ticker", "beat", "listener"):
        stack.start(process)
    account, secret = asterisk22.users["admin"]
    stage = Stage(
        url=stack.url,
        username="ada",
        password="a long enough one",
        host=asterisk22.host,
        port=asterisk22.port,
        account=account,
        secret=secret,
        version="22.",
        channel="Local/answer@phones",
    )
    person = Administrator(visitor, stage)
    person.log_in()
    person.add_server("Head office")
    person.test_connection()
    person.wait_until_online("Head office")
    person.watch_a_call("Head office")
    person.read_the_version("Head office")
    person.schedule("Every two seconds", "Head office")
    assert secret not in "".join(stack.log(name) for name in ("web", "worker", "ticker", "beat", "listener"))


def test_an_administrator_does_the_main_job_in_the_trial(tmp_path: Path, visitor: Visitor) -> None:
    simulator_ports = (free_port(), free_port())
    trial = Trial(
        tmp_path / "var",
        AMIWEB_ADMIN_PASSWORD="a long enough one",
        AMIWEB_PORT=str(free_port()),
        AMIWEB_SIMULATOR_PORTS="{},{}".format(*simulator_ports),
    )
    try:
        stage = Stage(
            url=trial.until_ready().rstrip("/"),
            username="admin",
            password="a long enough one",
            host="127.0.0.1",
            port=simulator_ports[0],
            account=USERNAME,
            secret=SECRET,
            version="simulat",
            channel="Local/700@office",  # the conference: answers always,
        )
        person = Administrator(visitor, stage, pictures=False)
        person.log_in()
        person.wait_until_online("Demo head office")
        person.see_calls_by_themselves()
        person.add_server("Laboratory")
        person.test_connection()
        person.wait_until_online("Laboratory")
        person.watch_a_call("Laboratory")
        person.read_the_version("Laboratory")
        person.schedule("Every two seconds", "Laboratory")
    finally:
        trial.close()
