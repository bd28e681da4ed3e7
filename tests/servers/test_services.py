"""Health, and the connection test of many servers."""

from __future__ import annotations

import datetime
import socket
import time

import pytest

from ami_integration.ami import TCP, Timeouts
from ami_integration.servers import services, sessions, slots
from ami_integration.servers.circuits import FAILURES, Circuit
from ami_integration.servers.models import Server, ServerHealth
from ami_integration.servers.waiting import CircuitOpen
from tests.ami.scripted import Peer, scripted
from tests.processes import Valkey
from tests.servers.factories import healthy, make_server
from tests.simulator.fixtures import Simulator

NOON = datetime.datetime(2026, 1, 31, 12, tzinfo=datetime.UTC)
LATER = NOON + datetime.timedelta(minutes=5)


@pytest.mark.django_db
def test_health_keeps_what_it_is_not_told() -> None:
    server = make_server()
    services.server_health_set(
        server_id=server.pk, state="online", asterisk_version="22.10.0", ami_version="11.0.0", now=NOON
    )
    services.server_health_set(
        server_id=server.pk, state="offline", error="The connection was lost.", now=LATER
    )
    health = ServerHealth.objects.get()
    assert (health.state, health.asterisk_version, health.ami_version) == ("offline", "22.10.0", "11.0.0")
    assert (health.last_seen_at, health.last_error_at, health.changed_at) == (NOON, LATER, LATER)
    assert health.last_error == "The connection was lost."


@pytest.mark.django_db
def test_a_server_that_is_back_keeps_its_last_error_with_its_time() -> None:
    server = make_server()
    services.server_health_set(server_id=server.pk, state="offline", error="Refused.", now=NOON)
    services.server_health_set(server_id=server.pk, state="online", now=LATER)
    health = ServerHealth.objects.get()
    assert (health.state, health.last_error, health.last_error_at) == ("online", "Refused.", NOON)


@pytest.mark.django_db
def test_the_time_of_change_is_that_of_the_first_sight() -> None:
    server = make_server()
    services.server_health_set(server_id=server.pk, state="online", now=NOON)
    services.server_health_set(server_id=server.pk, state="online", now=LATER)
    health = ServerHealth.objects.get()
    assert (health.changed_at, health.last_seen_at, health.noted_at) == (NOON, LATER, LATER)


@pytest.mark.django_db
def test_health_of_a_server_that_was_deleted_meanwhile_is_no_error() -> None:
    server = make_server()
    server_id = server.pk
    server.delete()
    services.server_health_set(server_id=server_id, state="online")
    assert not ServerHealth.objects.exists()


@pytest.mark.django_db
def test_a_good_test_notes_the_version_and_leaves_the_state_to_the_listener() -> None:
    with scripted(healthy("Ping")) as transport:
        steps = services.connection_test(server=make_server(transport))
    assert all(step.ok for step in steps)
    health = ServerHealth.objects.get()
    assert (health.state, health.asterisk_version) == ("unknown", "22.10.0")
    assert health.last_seen_at is not None


@pytest.mark.django_db
def test_a_server_added_by_hand_is_marked_once_a_simulator_answers_there(simulator: Simulator) -> None:
    server = make_server(
        TCP(simulator.host, simulator.port), username=simulator.username, secret=simulator.secret
    )
    (test,) = services.connections_test(servers=[server])
    assert test.server.simulated  # as the page of the test shows it
    server.refresh_from_db()
    assert server.simulated


@pytest.mark.django_db
def test_the_mark_goes_once_a_real_pbx_answers_there() -> None:
    with scripted(healthy("Ping")) as transport:
        server = make_server(transport, simulated=True)
        services.connection_test(server=server)
    server.refresh_from_db()
    assert not server.simulated


@pytest.mark.django_db
def test_the_mark_stays_as_long_as_nobody_names_a_version() -> None:
    server = make_server(simulated=True)
    services.server_health_set(server_id=server.pk, state="online", asterisk_version="")
    services.server_health_set(server_id=server.pk, state="offline", error="Gone.")
    server.refresh_from_db()
    assert server.simulated


@pytest.mark.django_db
def test_a_bad_test_changes_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert not all(step.ok for step in services.connection_test(server=make_server(TCP("127.0.0.1", port))))
    assert not ServerHealth.objects.exists()


@pytest.mark.django_db
def test_many_servers_are_tested_at_once_and_answered_in_order() -> None:
    limits = Timeouts(connect=1, tls=1, banner=1, login=1, action=1)
    with socket.create_server(("127.0.0.1", 0), backlog=50) as silent:
        transport = TCP("127.0.0.1", silent.getsockname()[1])
        servers = [make_server(transport, name=f"PBX {number}") for number in range(10)]
        started = time.monotonic()
        tests = services.connections_test(servers=servers, timeouts=limits)
    assert time.monotonic() - started < 10  # one after the other would be 20: a banner and a handshake each
    assert [test.server for test in tests] == servers
    assert {test.failed.name for test in tests if test.failed} == {"Banner"}


@pytest.mark.django_db
def test_what_is_not_done_in_time_is_reported_as_such() -> None:
    limits = Timeouts(connect=1, tls=1, banner=2, login=1, action=1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = make_server(TCP("127.0.0.1", silent.getsockname()[1]))
        started = time.monotonic()
        (test,) = services.connections_test(servers=[server], timeouts=limits, bound=0.2)
    assert time.monotonic() - started < 1.5
    assert test.failed is not None
    assert test.failed.seen == "No result within 0.2 s."


@pytest.mark.django_db
def test_no_server_is_no_test() -> None:
    assert services.connections_test(servers=list(Server.objects.all())) == []


@pytest.mark.django_db
def test_whatever_a_pbx_calls_itself_can_be_stored_and_shown() -> None:
    server = make_server()
    services.server_health_set(
        server_id=server.pk,
        state="offline",
        error="refus\udce9\0",
        asterisk_version="22\udcff" * 500,
        ami_version="1" * 500,
    )
    health = ServerHealth.objects.get()
    assert health.last_error == r"refus\udce9\x00"
    assert health.asterisk_version.startswith(r"22\udcff")
    assert len(health.ami_version) == 100


@pytest.mark.django_db
def test_a_connection_test_that_succeeds_closes_the_servers_circuit(action_sessions: Valkey) -> None:
    with scripted(healthy("Ping", "Originate", "Command")) as transport:
        server = make_server(transport)
        circuit = Circuit(server.pk, server.name, sessions._fingerprint(server))
        for _ in range(FAILURES):
            circuit.failed("Nothing listens there.")
        with pytest.raises(CircuitOpen):
            circuit.ask()
        assert services.connection_test(server=server)[-1].ok
    circuit.ask()


@pytest.mark.django_db
@pytest.mark.usefixtures("action_sessions")
def test_a_connection_test_counts_as_a_session_and_is_made_even_where_all_are_in_use() -> None:
    used: list[int] = []

    def script(peer: Peer) -> None:
        used.append(slots.slots_used(server_id=server.pk))
        healthy("Ping")(peer)

    with scripted(script, script) as transport:
        server = make_server(transport, max_sessions=1)
        free = services.connection_test(server=server)
        assert slots.slots_used(server_id=server.pk) == 0
        assert slots.slot_take(server_id=server.pk, token="a run", limit=1)
        busy = services.connection_test(server=server)
    assert used == [1, 1]
    assert all(step.ok for step in [*free, *busy])
    assert "Sessions" not in [step.name for step in free]
    assert (busy[0].name, "may have 1 at once" in busy[0].seen) == ("Sessions", True)
    assert "sessions at most" in busy[0].mend


@pytest.mark.django_db
def test_a_connection_test_goes_on_without_valkey(action_sessions: Valkey) -> None:
    action_sessions.stop()
    with scripted(healthy("Ping")) as transport:
        steps = services.connection_test(server=make_server(transport))
    assert all(step.ok for step in steps)
