"""Bare connections to simulators, closed at the end of their test."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.simulator.fixtures import Simulator
from tests.simulator.raw import RawAMI


@pytest.fixture
def connect() -> Iterator[Callable[..., RawAMI]]:
    """Open connections to a simulator; ``login`` (True by default) logs in, with ``lines`` besides."""
    opened: list[RawAMI] = []

    def make(simulator: Simulator, *lines: str, login: bool = True, **options: Any) -> RawAMI:
        connection = RawAMI(simulator.host, simulator.port, **options)
        opened.append(connection)
        if login:
            connection.log_in(simulator.username, simulator.secret, *lines)
        return connection

    yield make
    for connection in opened:
        connection.close()


@pytest.fixture
def ami(simulator: Simulator, connect: Callable[..., RawAMI]) -> RawAMI:
    """A session on the simulator, logged in, all events on."""
    return connect(simulator)
