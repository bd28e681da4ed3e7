"""Whether amiweb is well, by what its processes and parts say."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest
import redis
from django.core.management import call_command
from django.db import OperationalError
from django.db import connection as database
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from ami_integration.actions.models import ActionRun
from ami_integration.audit.models import AuditEntry
from ami_integration.audit.seals import STANDS_STILL, entries_seal
from ami_integration.audit.services import entry_make, entry_write
from ami_integration.console import services
from ami_integration.console.secrets import UnreadableSecrets
from ami_integration.console.services import LATE, Status, status_read
from ami_integration.heartbeats import ROWS, SILENT, Kind, connection
from tests.access.factories import make_person
from tests.actions.factories import make_run
from tests.beats import beat_write
from tests.polling import wait_until
from tests.processes import Valkey
from tests.schedules.alerts.factories import make_channel
from tests.servers.factories import make_server

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def fresh_glance(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the header knows is kept for two seconds, which is longer than a test; what is known of secrets,
    for longer still.
    """
    monkeypatch.setattr(services, "unreadable", UnreadableSecrets())
    monkeypatch.setattr(services, "glance", services.Glance())
    monkeypatch.setattr("ami_integration.console.views.glance", services.glance)


@pytest.fixture
def client_of(valkey: Valkey) -> Iterator[redis.Redis]:
    valkey.start()
    valkey.flush()
    with connection(valkey.url) as client:
        yield client


def all_well(client: redis.Redis) -> None:
    for kind in Kind:
        beat_write(client, kind, uptime=3600)


def states(status: Status) -> dict[str, str]:
    return {row.kind: row.state for row in status.rows}


def test_all_is_well_when_each_kind_has_a_process(client_of: redis.Redis) -> None:
    all_well(client_of)
    status = status_read()
    assert states(status) == dict.fromkeys(Kind, "ok")
    assert status.faults == []


@pytest.mark.parametrize("kind", list(Kind))
def test_a_kind_without_a_process_is_missing_and_says_how_to_start_one(
    client_of: redis.Redis, kind: Kind
) -> None:
    for other in set(Kind) - {kind}:
        beat_write(client_of, other)
    status = status_read()
    assert states(status)[kind] == "missing"
    assert [row.kind for row in status.rows] == list(Kind)
    (fault,) = status.faults
    assert fault.startswith(f"There is no {kind}.")
    assert "Start it: " in fault


def test_a_process_that_fell_silent_is_a_fault(client_of: redis.Redis) -> None:
    all_well(client_of)
    beat_write(client_of, Kind.BEAT, age=20)
    status = status_read()
    assert states(status)[Kind.BEAT] == "silent"
    assert "The beat 1 on here has been silent for 2" in status.faults[0]


def test_a_process_far_behind_its_work_is_late_and_no_fault(client_of: redis.Redis) -> None:
    all_well(client_of)
    beat_write(client_of, Kind.RECORDER, lag=LATE)
    status = status_read()
    assert states(status)[Kind.RECORDER] == "late"
    assert status.faults == []


def test_a_process_that_is_late_for_long_is_a_fault(client_of: redis.Redis) -> None:
    all_well(client_of)
    beat_write(client_of, Kind.RECORDER, lag=3600)
    assert status_read().faults == ["The recorder 1 on here is 3600 s behind its work. Look into its log."]


def test_what_a_living_process_says_is_wrong_is_a_fault(client_of: redis.Redis) -> None:
    all_well(client_of)
    beat_write(client_of, Kind.RECORDER, faults=("could not store 3 entries.",))
    assert status_read().faults == ["The recorder 1 on here could not store 3 entries."]
    assert services.glance.faults() == status_read().faults


def test_a_valkey_that_hangs_holds_up_one_page_and_no_other(
    client_of: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking, go_on = threading.Event(), threading.Event()

    def hangs(valkey: redis.Redis) -> list[object]:
        looking.set()
        assert go_on.wait(30)
        return []

    monkeypatch.setattr(services, "heartbeats_read", hangs)

    def look() -> None:
        services.glance.faults()
        database.close()  # this thread's own

    first = threading.Thread(target=look)
    first.start()
    try:
        assert looking.wait(30)
        assert services.glance.faults() == []  # without waiting for the first
    finally:
        go_on.set()
        first.join()
    assert len(services.glance.faults()) == len(Kind)


def test_a_silent_process_can_be_forgotten_and_the_audit_says_by_whom(
    client_of: redis.Redis, client: Client
) -> None:
    all_well(client_of)
    beat_write(client_of, Kind.BEAT, age=60, pid=7)
    client.force_login(make_person("vera", "view_serverhealth"))
    silent = {"kind": "beat", "host": "here", "pid": "7"}
    assert client.post(reverse("status_forget"), silent).status_code == 403
    client.force_login(make_person("olaf", "view_serverhealth", "change_serverhealth"))
    assert client.get(reverse("status_forget")).status_code == 405
    assert client.post(reverse("status_forget"), silent | {"pid": "1"}).status_code == 409  # alive
    assert client.post(reverse("status_forget"), silent | {"pid": "x"}).status_code == 409
    assert client.post(reverse("status_forget"), silent).json()["faults"] == []
    (entry,) = AuditEntry.objects.filter(verb="process.forget")
    assert (entry.actor_name, entry.object_name) == ("olaf", "beat here 7")


def test_workers_are_behind_as_long_as_a_run_waits_for_one(client_of: redis.Redis) -> None:
    all_well(client_of)
    run = make_run(status="queued", server=make_server())
    ActionRun.objects.filter(pk=run.pk).update(created_at=timezone.now() - timedelta(seconds=60))
    (worker,) = (row for row in status_read().rows if row.kind == Kind.WORKER)
    assert worker.state == "late"
    assert worker.lag == pytest.approx(60, abs=10)
    ActionRun.objects.filter(pk=run.pk).update(waiting_for="The server is at its limit.")
    assert states(status_read())[Kind.WORKER] == "ok"


def test_the_header_counts_what_the_status_page_tells_of(client_of: redis.Redis) -> None:
    all_well(client_of)
    beat_write(client_of, Kind.BEAT, age=20)
    run = make_run(status="queued", server=make_server())
    ActionRun.objects.filter(pk=run.pk).update(created_at=timezone.now() - timedelta(hours=1))
    told = services.glance.faults()
    assert [fault.split(" on here ")[0] for fault in told] == ["The worker 1", "The beat 1"]
    assert len(told) == len(status_read().faults)


def test_a_valkey_that_is_away_is_the_fault_to_mend(valkey: Valkey) -> None:
    valkey.stop()
    try:
        status = status_read()
    finally:
        valkey.start()
    assert status.rows == []
    (fault,) = status.faults
    assert fault.startswith("Valkey can't be reached")


def test_a_database_that_is_away_is_a_fault_beside_the_processes(
    client_of: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_well(client_of)

    def refuse(*_: object, **__: object) -> None:
        raise OperationalError("connection refused\nIs the server running?")

    with database.execute_wrapper(refuse):
        status = status_read()
    assert states(status) == dict.fromkeys(Kind, "ok")
    assert status.faults == ["The database can't be reached: connection refused"]


def test_the_command_prints_the_same_and_exits_with_1_when_something_is_wrong(client_of: redis.Redis) -> None:
    all_well(client_of)
    out, err = StringIO(), StringIO()
    call_command("status", stdout=out, stderr=err)
    lines = out.getvalue().splitlines()
    assert [line.split()[:4] for line in lines[1:]] == [[kind, "ok", "here", "1"] for kind in Kind]
    assert err.getvalue() == ""

    client_of.hdel(ROWS, "worker here 1")
    with pytest.raises(SystemExit) as ended:
        call_command("status", stdout=out, stderr=err)
    assert ended.value.code == 1
    assert "There is no worker" in err.getvalue()


URLS = ("status", "status_data", "status_glance")


@pytest.mark.parametrize("url", URLS)
def test_who_may_view_the_health_of_servers_sees_the_status(
    client_of: redis.Redis, client: Client, url: str
) -> None:
    client.force_login(make_person("vera", "view_serverhealth"))
    assert client.get(reverse(url)).status_code == 200
    assert client.post(reverse(url)).status_code == 405


@pytest.mark.parametrize("url", URLS)
def test_a_stranger_does_not(client_of: redis.Redis, client: Client, url: str) -> None:
    client.force_login(make_person("eve", "view_actionrun"))
    assert client.get(reverse(url)).status_code == 403
    client.logout()
    assert client.get(reverse(url)).status_code == 302


def test_the_header_of_every_page_tells_the_number_of_faults(client_of: redis.Redis, client: Client) -> None:
    all_well(client_of)
    client_of.hdel(ROWS, "web here 1", "beat here 1")
    client.force_login(make_person("vera", "view_serverhealth"))
    assert "> 2 faults</span>" in client.get(reverse("admin:index")).content.decode()
    client.force_login(make_person("eve", "view_actionrun"))
    assert "faults" not in client.get(reverse("admin:index")).content.decode()


def test_the_header_looks_at_valkey_once_for_many_pages(
    client_of: redis.Redis, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    look = services.heartbeats_read

    def counted(valkey: redis.Redis) -> object:
        nonlocal looks
        looks += 1
        return look(valkey)

    monkeypatch.setattr(services, "heartbeats_read", counted)
    client.force_login(make_person("vera", "view_serverhealth"))
    for _ in range(5):
        client.get(reverse("admin:index"))
    assert looks == 1


def test_what_the_missing_page_says_names_real_commands() -> None:
    commands = Path("ami_integration/management/commands")
    for says in services.WITHOUT.values():
        if "manage.py" in says:
            assert (commands / f"{says.split()[-1]}.py").exists()


def test_a_mail_channel_without_a_mail_server_is_a_fault(client_of: redis.Redis) -> None:
    assert not [fault for fault in status_read().faults if "AMIWEB_SMTP_HOST" in fault]
    make_channel(enabled=False)
    assert not [fault for fault in status_read().faults if "AMIWEB_SMTP_HOST" in fault]
    make_channel(name="Night shift")
    (fault,) = [fault for fault in status_read().faults if "AMIWEB_SMTP_HOST" in fault]
    assert fault.startswith("Alerts of schedules wait. Mail can't be sent")


def test_the_header_tells_of_one_that_falls_silent_while_its_last_look_is_still_good(
    client_of: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "GLANCE_SECONDS", 3600.0)
    all_well(client_of)
    beat_write(client_of, Kind.BEAT, age=SILENT - 1.0, uptime=3600)
    assert services.glance.faults() == []
    wait_until(services.glance.faults, seconds=10, what="the header tells of it")
    assert "has been silent" in services.glance.faults()[0]


def test_sealing_that_stands_still_is_a_fault_until_it_goes_on(client_of: redis.Redis) -> None:
    all_well(client_of)
    old = timezone.now() - STANDS_STILL - timedelta(seconds=10)
    entry = entry_make(actor=None, origin="command", verb="server.change")
    entry.at = old
    entry.save()
    [said] = status_read().faults
    assert said.startswith("No entry of the audit was sealed yet, and entries wait")
    assert services.glance.faults() == [said]
    assert entries_seal() is not None
    assert status_read().faults == []


def test_entries_that_are_told_late_or_just_now_are_no_fault(client_of: redis.Redis) -> None:
    all_well(client_of)
    entry_write(actor=None, origin="command", verb="server.change")
    assert status_read().faults == []
    assert entries_seal() is not None
    late = entry_make(actor=None, origin="listener", verb="secret.use")
    late.at = timezone.now() - timedelta(hours=1)
    late.save()
    assert status_read().faults == []
