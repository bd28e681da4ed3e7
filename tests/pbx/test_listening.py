"""The listener's process and a real Asterisk: its events are stored, and its restart is a gap and no end."""

from __future__ import annotations

import signal
import socket
import threading
from collections import Counter
from collections.abc import Callable

import pytest

from ami_integration.ami import TCP, AMIClient
from ami_integration.events.models import Event, Gap, Snapshot
from ami_integration.events.stream import STREAM, EventBatch, decode_entry, valkey_client
from ami_integration.events.writer import StreamWriter
from ami_integration.servers.models import Server, ServerHealth
from tests.pbx.asterisk import Asterisk
from tests.polling import wait_until
from tests.processes import Stack
from tests.servers.factories import make_server

pytestmark = [pytest.mark.pbx, pytest.mark.processes]


def add(asterisk: Asterisk) -> Server:
    username, secret = asterisk.users["admin"]
    return make_server(TCP(asterisk.host, asterisk.port), username=username, secret=secret)


def online(stack: Stack, server: Server, seconds: float = 30) -> None:
    wait_until(
        lambda: ServerHealth.objects.filter(server=server, state="online").exists(),
        seconds=seconds,
        what=lambda: f"the listener is at work: {stack.log('listener')}",
    )


def say(asterisk: Asterisk, numbers: range) -> None:
    username, secret = asterisk.users["admin"]
    transport = TCP(asterisk.host, asterisk.port)
    with AMIClient(transport, username=username, secret=secret) as client:
        for number in numbers:
            client.action("UserEvent", {"UserEvent": "Counted", "Number": str(number)})


def numbers() -> list[int]:
    events = Event.objects.filter(name="UserEvent").order_by("id").values_list("headers", flat=True)
    return [int(dict(headers)["Number"]) for headers in events]


def test_events_of_a_real_asterisk_are_stored_with_its_version(stack: Stack, asterisk: Asterisk) -> None:
    server = add(asterisk)
    stack.start("listener")
    online(stack, server)
    say(asterisk, range(50))
    wait_until(lambda: len(numbers()) == 50, seconds=15, what="the events are stored")
    assert numbers() == list(range(50))
    wait_until(
        lambda: ServerHealth.objects.get(server=server).asterisk_version.startswith(asterisk.version),
        seconds=15,
        what="the version is known",
    )
    assert not Gap.objects.exists()


@pytest.mark.parametrize("end", [Asterisk.stop, Asterisk.kill], ids=["stop", "kill -9"])
def test_events_flow_again_after_the_pbx_was_away(
    stack: Stack, private_asterisk: Asterisk, end: Callable[[Asterisk], None]
) -> None:
    asterisk = private_asterisk
    server = add(asterisk)
    stack.start("listener")
    online(stack, server)
    say(asterisk, range(20))
    wait_until(lambda: len(numbers()) == 20, seconds=15, what="the first events are stored")
    last_before = Event.objects.filter(name="UserEvent").latest("id").pk

    end(asterisk)
    wait_until(lambda: Gap.objects.open().exists(), seconds=15, what="the gap has begun")
    wait_until(
        lambda: ServerHealth.objects.get(server=server).state == "offline", seconds=15, what="it is offline"
    )
    asterisk.start()

    wait_until(lambda: not Gap.objects.open().exists(), seconds=60, what=lambda: stack.log("listener"))
    online(stack, server)
    say(asterisk, range(20, 40))
    wait_until(lambda: len(numbers()) == 40, seconds=15, what="events flow again")
    assert numbers() == list(range(40))
    gap = Gap.objects.get(reason=Gap.Reason.DISCONNECTED)
    first_after = Event.objects.filter(name="UserEvent", id__gt=last_before).earliest("id").pk
    assert last_before <= gap.after_id < gap.pk < first_after
    assert gap.detail.startswith("Asterisk was shut down.") == (end is Asterisk.stop)
    log = stack.log("listener")
    assert "Traceback" not in log
    assert asterisk.users["admin"][1] not in log

    wait_until(
        lambda: Snapshot.objects.filter(after_id=gap.after_id).count() >= 4,
        seconds=30,
        what=lambda: f"the PBX was asked for its state: {stack.log('listener')}",
    )
    found = {snapshot.action: snapshot for snapshot in Snapshot.objects.filter(after_id=gap.after_id)}
    assert {"CoreShowChannels", "QueueStatus", "PJSIPShowEndpoints", "ConfbridgeListRooms"} <= set(found)
    assert {snapshot.error for name, snapshot in found.items() if name != "PJSIPShowEndpoints"} == {""}
    endpoints = found["PJSIPShowEndpoints"].items
    assert {dict(item)["Event"] for item in endpoints} == {"EndpointList"}


def flood(asterisk: Asterisk, count: int, *headers: bytes) -> None:
    """Have it send so many UserEvents, as fast as it can."""
    username, secret = asterisk.users["admin"]
    login = f"Action: Login\r\nUsername: {username}\r\nSecret: {secret}\r\nEvents: off\r\n\r\n"
    event = b"\r\n".join([b"Action: UserEvent", b"UserEvent: Flood", *headers]) + b"\r\n\r\n"
    with socket.create_connection((asterisk.host, asterisk.port)) as manager:

        def ask() -> None:
            manager.sendall(login.encode() + event * count + b"Action: Logoff\r\n\r\n")

        asking = threading.Thread(target=ask)
        asking.start()
        while manager.recv(1 << 16):
            pass
        asking.join()


def connected(asterisk: Asterisk) -> str:
    """Who has a session, as its CLI lists them."""
    username, secret = asterisk.users["admin"]
    transport = TCP(asterisk.host, asterisk.port)
    with AMIClient(transport, username=username, secret=secret) as client:
        return "\n".join(client.command("manager show connected").output)


def test_a_burst_as_fast_as_asterisk_can_send_it_is_taken_without_being_cut(
    stack: Stack, asterisk: Asterisk
) -> None:
    username, secret = asterisk.users["slow"]  # a writetimeout of 100 ms
    server = make_server(TCP(asterisk.host, asterisk.port), username=username, secret=secret)
    stack.start("listener", "--no-recorder")
    online(stack, server)
    with valkey_client(stack.valkey.url) as valkey:
        writer = StreamWriter(valkey, maxlen=1)
        sent = 20_000
        flood(asterisk, sent)
        wait_until(
            lambda: writer.marks()[server.pk].numbered >= sent,
            seconds=60,
            what=lambda: f"all {sent} are numbered: {writer.marks()} {stack.log('listener')}",
        )
        names: Counter[bytes] = Counter()
        for _, fields in valkey.xrange(STREAM):
            entry = decode_entry(fields)
            assert isinstance(entry, EventBatch)  # no gap
            names.update(event.raw.partition(b"\r")[0] for event in entry.events)
    assert names[b"Event: UserEvent"] == sent


def test_a_session_that_asterisk_cut_since_the_listener_stood_still_is_told_apart(
    stack: Stack, asterisk: Asterisk
) -> None:
    username, secret = asterisk.users["slow"]
    server = make_server(TCP(asterisk.host, asterisk.port), username=username, secret=secret)
    listener = stack.start("listener")
    online(stack, server)
    listener.process.send_signal(signal.SIGSTOP)
    sent = 2_000  # of 18 KB each, ten times what the kernels hold
    flood(asterisk, sent, *[b"Header%d: " % number + b"x" * 900 for number in range(20)])
    wait_until(lambda: username not in connected(asterisk), seconds=30, what="Asterisk has ended the session")
    listener.process.send_signal(signal.SIGCONT)
    gap = wait_until(
        lambda: Gap.objects.filter(ended_at__isnull=False).first(),
        seconds=60,
        what=lambda: f"the gap has ended: {stack.log('listener')}",
    )
    assert gap.reason == Gap.Reason.CUT, gap.detail
    stored = Event.objects.filter(name="UserEvent").count()
    assert 0 < stored < sent
    assert Event.objects.filter(id__lte=gap.after_id).latest("id").pk == gap.after_id
    say(asterisk, range(1))
    first = wait_until(
        lambda: Event.objects.filter(id__gt=gap.after_id).order_by("id").first(),
        seconds=15,
        what="events flow again",
    )
    assert first.pk >= gap.before_id
