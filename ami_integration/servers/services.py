"""What may be done with servers: note their health, and test their connection."""

from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.db import transaction
from django.utils import timezone

from ami_integration.ami import Certificate, Timeouts
from ami_integration.ami.printing import printable
from ami_integration.audit.services import entry_write
from ami_integration.secrets.sources import Source
from ami_integration.servers.doctor import LISTEN, ConnectionTest, Step, walk
from ami_integration.servers.models import VERSION_LENGTH, Server, ServerHealth
from ami_integration.servers.sessions import circuit_reset, session_counted

# An administrator is waiting at a page: an action's 30 s would be too long, and no step of a healthy PBX
# needs them.
TEST_TIMEOUTS = Timeouts(connect=5, tls=5, banner=5, login=10, action=10)
TEST_THREADS = 16  # sessions that the test of many servers holds at once
TEST_BOUND = 40.0  # seconds after which the test of many servers reports what it has


#: Characters of a certificate's subject that are kept.
SUBJECT_LENGTH = 500

#: The switches that stop actions, as people call them.
SWITCHES = {"maintenance": "maintenance", "read_only": "read-only"}


def switches_on(server: Server) -> list[str]:
    """The names of the switches that are on."""
    return [word for name, word in SWITCHES.items() if getattr(server, name)]


def servers_switch(
    *, user: Any, servers: Sequence[Server], switch: str, on: bool, origin: str = "admin", address: str = ""
) -> list[Server]:
    """Turn a switch of several servers, and tell the audit. Returns those that were the other way.

    Args:
        user: who does it; whether they may is the caller's to ask.
        switch: one of SWITCHES.
        origin, address: by which way, and from where.
    """
    if switch not in SWITCHES:
        raise ValueError(f"there is no switch {switch}")
    switched = []
    with transaction.atomic():
        for server in servers:
            if Server.objects.filter(pk=server.pk, **{switch: not on}).update(**{switch: on}):
                switched.append(server)
                entry_write(
                    actor=user,
                    origin=origin,
                    address=address,
                    verb="server.change",
                    what={switch: {"from": not on, "to": on}},
                    object_type="server",
                    object_id=server.pk,
                    object_name=server.name,
                )
    return switched


def server_health_set(
    *,
    server_id: int,
    state: ServerHealth.State | str,
    error: str = "",
    asterisk_version: str | None = None,
    ami_version: str | None = None,
    booted_at: datetime | None = None,
    reloaded_at: datetime | None = None,
    uptime_note: str | None = None,
    certificate: Certificate | None = None,
    now: datetime | None = None,
) -> None:
    """Note what a listener sees of a server. A server that was deleted meanwhile is no error.

    Args:
        state: `online` counts as seen now.
        error: a sentence for humans. It stays on record, with its time, until the next one.
        asterisk_version, ami_version: None leaves what is known. The version also tells whether it is
            simulated, and the server is marked so, or no longer.
        booted_at, reloaded_at: when Asterisk started and was reloaded; naive: a wall time in the server's
            time zone. None leaves what is known.
        uptime_note: why these can't be told, which then are forgotten; "": they can.
        certificate: what the PBX showed at this login. None leaves what is known.
    """
    now = now or timezone.now()
    values: dict[str, object] = {"state": state, "noted_at": now}
    if state == ServerHealth.State.ONLINE:
        values["last_seen_at"] = now
    if error:
        values |= {"last_error": printable(error), "last_error_at": now}
    if uptime_note is not None:
        values |= {"booted_at": booted_at, "reloaded_at": reloaded_at, "uptime_note": printable(uptime_note)}
    if certificate is not None:
        values |= certificate_noted(certificate, now)
    _health_update(server_id, values, asterisk_version=asterisk_version, ami_version=ami_version, now=now)


def certificate_noted(certificate: Certificate, now: datetime) -> dict[str, object]:
    """A certificate as columns of the health."""
    return {
        "certificate_subject": printable(certificate.subject)[:SUBJECT_LENGTH],
        "certificate_sha256": certificate.sha256,
        "certificate_not_after": certificate.not_after,
        "certificate_seen_at": now,
    }


def _zoned(values: dict[str, object], zone: str) -> None:
    """Give naive moments the server's time zone, and say so."""
    for name in ("booted_at", "reloaded_at"):
        moment = values.get(name)
        if isinstance(moment, datetime) and timezone.is_naive(moment):
            values[name] = moment.replace(tzinfo=ZoneInfo(zone))
            values["uptime_note"] = (
                f"Counted in the time zone {zone} of this server's settings, since the PBX doesn't tell its "
                "own. If that is wrong, correct it there, or add call or reporting to the write= line of the "
                "account in manager.conf."
            )


def _health_update(
    server_id: int,
    values: dict[str, object],
    *,
    asterisk_version: str | None,
    ami_version: str | None,
    now: datetime,
) -> None:
    # A PBX may say anything; a column is only so wide.
    if asterisk_version is not None:
        values["asterisk_version"] = printable(asterisk_version)[:VERSION_LENGTH]
    if ami_version is not None:
        values["ami_version"] = printable(ami_version)[:VERSION_LENGTH]
    with transaction.atomic():
        # The lock keeps the server from being deleted between the look and the insert, and lets those pass
        # who only refer to it.
        locked = Server.objects.select_for_update(no_key=True).filter(pk=server_id)
        zone = locked.values_list("timezone", flat=True).first()
        if zone is None:
            return
        _zoned(values, zone)
        if asterisk_version:
            simulated = version_is_simulated(asterisk_version)
            Server.objects.filter(pk=server_id).exclude(simulated=simulated).update(simulated=simulated)
        health, _ = ServerHealth.objects.get_or_create(server_id=server_id)
        if "state" in values and health.state != values["state"]:
            values["changed_at"] = now
        ServerHealth.objects.filter(pk=server_id).update(**values)


def version_is_simulated(asterisk_version: str) -> bool:
    """Whether what answers there is a simulator: it says so in its version."""
    return "simulated" in asterisk_version.lower()


def connection_test(
    *, server: Server, timeouts: Timeouts | None = None, listen: float = LISTEN
) -> list[Step]:
    """Try to reach `server` and log in, step by step, within the time limits (seconds).

    Never raises for what a server or network does; the steps say it. What the server says of its version is
    noted in its health; the state is not, which is the listener's to say.
    """
    return connections_test(servers=[server], timeouts=timeouts, listen=listen)[0].steps


def connections_test(
    *,
    servers: Sequence[Server],
    timeouts: Timeouts | None = None,
    bound: float = TEST_BOUND,
    listen: float = LISTEN,
) -> list[ConnectionTest]:
    """Test several servers at once; the answers are in the servers' order.

    Args:
        timeouts: time limits of each server's steps, in seconds.
        bound: seconds after which those that are not done are reported as such. Their threads end by
            themselves, within their own time limits.
        listen: seconds for which the first events of each are awaited.
    """

    def examine(server: Server) -> ConnectionTest:
        test = ConnectionTest(server)
        for _ in connection_walk(test=test, timeouts=timeouts, listen=listen):
            pass
        return test

    # The pool's threads touch no database: a connection there would never be closed.
    pool = ThreadPoolExecutor(min(len(servers), TEST_THREADS) or 1, thread_name_prefix="connection-test")
    try:
        futures = [pool.submit(examine, server) for server in servers]
        wait(futures, timeout=bound)
        tests = [
            future.result() if future.done() else _unfinished(server, bound)
            for server, future in zip(servers, futures, strict=True)
        ]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    for test in tests:
        connection_test_note(test=test)
    return tests


def connection_test_begin(
    *,
    server: Server,
    user: Any,
    origin: str,
    address: str = "",
    changed: Sequence[str] = (),
) -> None:
    """Tell the audit that a connection is about to be tested, and so the server's secrets used.

    Args:
        server: stored, or one that only stands in a form.
        user: who tests; None: somebody at the command line.
        origin, address: as of `entry_write`.
        changed: fields that aren't as they are stored.
    """
    what = {"address": server.address, "transport": server.transport, "account": server.username}
    if server.secret_source != Source.STORED:
        what["secrets are"] = server.secret_source
    if server.action_username:
        what["account for actions"] = server.action_username
    if server.pk is None:
        what["saved"] = "no"
    elif changed:
        what["not saved"] = ", ".join(changed)
    entry_write(
        actor=user,
        origin=origin,
        address=address,
        verb="server.test",
        what=what,
        object_type="server",
        object_id="" if server.pk is None else server.pk,
        object_name=server.name or server.address,
    )


def connection_walk(
    *, test: ConnectionTest, timeouts: Timeouts | None = None, listen: float = LISTEN
) -> Generator[ConnectionTest, None, None]:
    """Examine the server of `test`, its session counted among the server's; yields after each change.

    Somebody who looks for what is wrong isn't sent away because the server is busy: at the limit the test
    opens one session more, for seconds, and says so. It touches no database.
    """
    if test.server.pk is None:
        yield from walk(test, timeouts or TEST_TIMEOUTS, listen=listen)
        return
    with session_counted(test.server) as uncounted:
        told = not uncounted
        for _ in walk(test, timeouts or TEST_TIMEOUTS, listen=listen):
            if not told:
                told = True
                test.steps.insert(
                    0,
                    Step(
                        "Sessions",
                        ok=True,
                        seen=f"{uncounted} Runs wait for one; this test opened one more.",
                        mend="If that is often so, raise “sessions at most” of the server.",
                    ),
                )
            yield test


def connection_test_note(*, test: ConnectionTest) -> None:
    """Note what a test of a stored server has found: its version, and that it can be reached."""
    if test.ok:
        now = timezone.now()
        _health_update(
            test.server.pk,
            {"last_seen_at": now}
            | (certificate_noted(test.certificate, now) if test.certificate is not None else {}),
            asterisk_version=test.asterisk_version,
            ami_version=test.ami_version,
            now=now,
        )
        circuit_reset(test.server)
    if test.asterisk_version:
        test.server.simulated = version_is_simulated(test.asterisk_version)


def _unfinished(server: Server, bound: float) -> ConnectionTest:
    step = Step(
        "Connection",
        ok=False,
        seen=f"No result within {bound:g} s.",
        mend="Test this server alone to see at which step it waits.",
    )
    return ConnectionTest(server, [step])
