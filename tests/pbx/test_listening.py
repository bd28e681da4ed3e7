"""The listener's process and a real Asterisk: its events are stored, and its restart is a gap and no end."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ami_integration.ami import TCP, AMIClient
from ami_integration.events.models import Event, Gap
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
    log = stack.log("listener")
    assert "Traceback" not in log
    assert asterisk.users["admin"][1] not in log
