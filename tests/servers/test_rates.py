"""How many actions a minute a server takes."""

from __future__ import annotations

import pytest
from django.utils import timezone

from ami_integration.servers.models import Server
from ami_integration.servers.rates import rate_take
from ami_integration.servers.waiting import RateExceeded
from tests.processes import Valkey


@pytest.fixture(autouse=True)
def _clean(action_sessions: Valkey) -> None:
    pass


def test_a_server_takes_so_many_a_minute_and_says_when_the_next_fits() -> None:
    server = Server(pk=1, name="Berlin", rate_per_minute=3)
    for _ in range(3):
        rate_take(server)
    with pytest.raises(
        RateExceeded, match="Berlin has had as many actions as it may in a minute: 3"
    ) as refused:
        rate_take(server)
    assert refused.value.retry_at is not None
    assert 50 < (refused.value.retry_at - timezone.now()).total_seconds() <= 60
    rate_take(Server(pk=2, name="Munich", rate_per_minute=3))


def test_a_server_without_a_rate_is_not_counted() -> None:
    for _ in range(5):
        rate_take(Server(pk=1, name="Berlin"))
