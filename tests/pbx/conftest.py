"""What several tests against real Asterisks share: both clients behind one face, logged in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ami_integration.ami import TCP, AMIClient, AsyncAMIClient
from tests.ami.conftest import Blocking, Driven, Either
from tests.pbx.asterisk import Asterisk

Connect = Callable[..., Either]


@pytest.fixture(params=["blocking", "asyncio"])
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """A factory: ``connect(asterisk, role, **options)`` gives a client that is logged in."""
    made: list[Either] = []
    with asyncio.Runner() as runner:

        def make(asterisk: Asterisk, role: str = "admin", **options: Any) -> Either:
            username, secret = asterisk.users[role]
            transport = TCP(asterisk.host, asterisk.port)
            options = {"username": username, "secret": secret, **options}
            if request.param == "blocking":
                made.append(Blocking(AMIClient(transport, **options)))
            else:
                made.append(Driven(runner, AsyncAMIClient(transport, **options)))
            made[-1].connect()
            return made[-1]

        yield make
        for client in made:
            client.close()
