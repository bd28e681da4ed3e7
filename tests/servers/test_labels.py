"""Nobody shall take a simulated server for a real PBX, on whatever page its name stands."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from django.test import Client

from ami_integration.events.ids import first_id_at
from ami_integration.events.models import Event, Gap
from tests.actions.factories import make_run
from tests.schedules.factories import make_schedule
from tests.servers.factories import make_server

pytestmark = pytest.mark.django_db
ADMIN = "/admin/ami_integration"


def test_a_simulated_server_is_marked_wherever_it_appears(admin_client: Client) -> None:
    server = make_server(name="Toy office", simulated=True)
    make_server(name="Berlin")  # a filter by server is offered only where there is a choice
    run = make_run(server=server, server_name=server.name)
    schedule = make_schedule(server=server)
    now = datetime.now(UTC)
    event = Event.objects.create(id=first_id_at(now), server=server, at=now, name="Hangup", headers=[])
    gap = Gap.objects.create(
        id=first_id_at(now), server=server, started_at=now, reason="disconnected", after_id=0
    )
    for path in (
        "server/",
        f"server/{server.pk}/change/",
        f"server/{server.pk}/delete/",
        "actionrun/",
        "actionrun/add/",
        f"actionrun/{run.pk}/change/",
        "schedule/",
        "schedule/add/",
        f"schedule/{schedule.pk}/change/",
        "event/",
        f"event/{event.pk}/change/",
        "gap/",
        f"gap/{gap.pk}/change/",
    ):
        page = admin_client.get(f"{ADMIN}/{path}").content.decode()
        text = re.sub(r"<script.*?</script>|<title.*?</title>", "", page, flags=re.S)
        text = " ".join(re.sub(r"<[^>]*>", " ", text).split())
        places = re.findall(r"Toy office(.{0,14})", text)
        marked = [place for place in places if re.match(r" \(?simulated", place)]
        assert marked, f"{path}: {places}"
        if path.endswith("/") and path.count("/") == 1 or path.endswith("add/"):
            assert marked == places, f"{path}: {places}"
        assert "Berlin (simulated)" not in text
        assert "Berlin simulated" not in text
