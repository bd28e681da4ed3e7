"""The listener and the recorder, as real processes, on a real Asterisk that comes and goes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ami_integration.ami import TCP, AMIClient
from ami_integration.events.models import Event, Gap
from ami_integration.servers.models import Server, ServerHealth
from tests.pbx.asterisk import Asterisk
from tests.polling import wait_until
from tests.processes import Stack

pytestmark = [pytest.mark.pbx, pytest.mark.processes]

#: A restarted Asterisk is listened to again within seconds of its being up: three times that.
RESUMED_WITHIN = 15.0


def user_event(asterisk: Asterisk, note: str) -> None:
    username, secret = asterisk.users["admin"]
    with AMIClient(TCP(asterisk.host, asterisk.port), username=username, secret=secret) as client:
        assert client.action("UserEvent", {"UserEvent": "Amiweb", "Note": note}).success


def kept(server: Server, note: str) -> bool:
    events = Event.objects.filter(server=server, name="UserEvent")
    return any(["Note", note] in event.headers for event in events)


def online(server: Server) -> bool:
    return ServerHealth.objects.filter(server=server, state=ServerHealth.State.ONLINE).exists()


@pytest.mark.parametrize("end", [Asterisk.stop, Asterisk.kill], ids=["stop", "kill -9"])
def test_events_flow_again_after_the_pbx_was_away(
    private_asterisk: Asterisk, stack: Stack, end: Callable[[Asterisk], None]
) -> None:
    asterisk = private_asterisk
    username, secret = asterisk.users["admin"]
    server = Server.objects.create(
        name="Head office", host=asterisk.host, port=asterisk.port, username=username, secret=secret
    )
    stack.start("listener")
    wait_until(lambda: online(server), seconds=15, what=lambda: stack.log("listener"))
    user_event(asterisk, "before")
    wait_until(lambda: kept(server, "before"), seconds=15, what=lambda: stack.log("listener"))

    end(asterisk)
    wait_until(lambda: not online(server), seconds=15, what="the server is shown as away")
    asterisk.start()

    wait_until(lambda: online(server), seconds=RESUMED_WITHIN, what=lambda: stack.log("listener"))
    user_event(asterisk, "after")
    wait_until(lambda: kept(server, "after"), seconds=15, what=lambda: stack.log("listener"))
    gap = Gap.objects.get(server=server, reason=Gap.Reason.DISCONNECTED)
    assert gap.ended_at is not None and gap.started_at < gap.ended_at
    before, after = (
        next(event.pk for event in Event.objects.filter(name="UserEvent") if ["Note", note] in event.headers)
        for note in ("before", "after")
    )
    assert before <= gap.after_id < gap.pk < after
    assert secret not in stack.log("listener")
