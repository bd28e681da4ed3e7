"""How long the pages of the action log take when it is large: 300,000 runs of 20 servers and 30 people.

Served by Django itself, without a network, and every query of the page included; the first answer doesn't
count. Run it on both databases: `AMIWEB_TEST_DATABASE=sqlite`.
"""

import itertools
import json
import random
import statistics
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from ami_integration.access.danger import Danger
from ami_integration.actions.models import ActionRun
from ami_integration.ami import new_action_id
from ami_integration.secrets.encryption import Secret
from ami_integration.servers.models import Server
from tests.access.factories import grant, make_person
from tests.bench import SCALE
from tests.servers.factories import make_server

RUNS = max(1_000, int(300_000 * SCALE))
SERVERS, PEOPLE = 20, 30
TIMES = 5
ACTIONS = (
    "Ping",
    "QueueStatus",
    "QueuePause",
    "CoreShowChannels",
    "Originate",
    "Command",
    "Hangup",
    "Getvar",
)
STATUSES = ("succeeded",) * 90 + ("failed",) * 6 + ("unknown", "expired", "cancelled", "errored")
LIST = reverse("admin:ami_integration_actionrun_changelist")

pytestmark = pytest.mark.django_db


def runs(servers: list[Server]) -> Iterator[ActionRun]:
    chance = random.Random(1)  # noqa: S311
    payload = Secret.from_plain(json.dumps([["Channel", "PJSIP/100"]]))  # one for all: to encrypt takes long
    for number in range(RUNS):
        server = chance.choice(servers)
        moment = timezone.now() - timedelta(days=90) * (RUNS - number) / RUNS
        yield ActionRun(
            server=server,
            server_name=server.name,
            action=chance.choice(ACTIONS),
            payload=payload,
            headers_masked=[["Channel", f"PJSIP/{number % 1000}"], ["Cause", "16"]],
            action_id=new_action_id(),
            status=chance.choice(STATUSES),
            username=f"person{chance.randrange(PEOPLE)}",
            address=f"192.0.2.{number % 250}",
            reason="Pong",
            created_at=moment,
            rung_at=moment,
            started_at=moment,
            finished_at=moment + timedelta(seconds=0.05),
            expires_at=moment + timedelta(seconds=300),
        )


def bench_the_pages_of_a_large_log() -> None:
    servers = [make_server(name=f"PBX {number}") for number in range(SERVERS)]
    began = time.perf_counter()
    coming = runs(servers)
    while batch := list(itertools.islice(coming, 1_000)):
        ActionRun.objects.bulk_create(batch)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    print(f"\n{RUNS:,} runs on {connection.vendor}, stored in {time.perf_counter() - began:.0f} s")
    last = ActionRun.objects.latest("pk")
    boss, viewer = Client(), Client()
    boss.force_login(User.objects.create_superuser("boss"))
    reader = make_person("viewer")
    grant(reader, Danger.READ, on=servers[3])
    viewer.force_login(reader)
    day = (timezone.now() - timedelta(hours=24)).isoformat()
    pages: list[tuple[str, Client, dict[str, str]]] = [
        ("all", boss, {}),
        ("the 500th page", boss, {"p": str(max(1, min(500, RUNS // 50)))}),
        ("of one server", boss, {"server__id__exact": str(servers[3].pk)}),
        ("of one person", boss, {"username": "person7"}),
        ("of one action", boss, {"action": "Originate"}),
        ("failed", boss, {"status__exact": "failed"}),
        ("of the last day", boss, {"created_at__gte": day}),
        ("sorted by server", boss, {"o": "4"}),
        ("search: an action", boss, {"q": "originate"}),
        ("search: a person and a server", boss, {"q": "person7 pbx"}),
        ("search: an ActionID", boss, {"q": last.action_id}),
        ("search: nothing", boss, {"q": "nowhere to be found"}),
        ("somebody who sees one server", viewer, {}),
        ("the same, searching", viewer, {"q": "originate"}),
    ]
    for name, client, query in pages:
        answer = client.get(LIST, query)
        assert answer.status_code == 200, (name, answer)
        found = answer.context["cl"]
        rows = list(found.result_list)
        assert bool(rows) is (name != "search: nothing"), name
        assert client is boss or {run.server_name for run in rows} == {servers[3].name}
        if "status__exact" in query:
            assert {run.status for run in rows} == {"failed"}
        if len(query.get("q", "")) == len(last.action_id):
            assert rows == [last]
        seconds = []
        for _ in range(TIMES):
            began = time.perf_counter()
            client.get(LIST, query)
            seconds.append(time.perf_counter() - began)
        print(f"{name:32} {statistics.median(seconds):6.2f} s   {found.result_count:>9,} rows")
