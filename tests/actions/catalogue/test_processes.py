"""A server's catalogue is read without anybody asking, by amiweb's real processes."""

from __future__ import annotations

from ami_integration.actions.catalogue.models import ServerCatalogue
from ami_integration.ami import TCP
from tests.polling import wait_until
from tests.processes import Stack
from tests.servers.factories import make_server
from tests.simulator.fixtures import Simulator


def test_a_server_is_read_after_its_first_connection(stack: Stack, simulator: Simulator) -> None:
    where = TCP(simulator.host, simulator.port)
    server = make_server(where, username=simulator.username, secret=simulator.secret)
    stack.start("worker")
    stack.start("listener")
    wait_until(
        lambda: ServerCatalogue.objects.filter(server=server, catalogue__isnull=False).exists(),
        seconds=60,
        what=lambda: f"the catalogue is read: {stack.log('listener')} {stack.log('worker')}",
    )
    assert server.action_privileges("CoreShowChannels") is not None
