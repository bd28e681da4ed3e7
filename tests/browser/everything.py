"""A row in every table, and in each text that somebody else may write the words of an attacker.

So a page can't be forgotten because it was empty, and no page has only been tried with well-behaved words.
"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any

from django.apps import apps
from django.contrib.auth.models import Group, User
from django.utils import timezone

from ami_integration.access.starters import starter_groups_make
from ami_integration.actions.catalogue.descriptions import ActionDescription, Argument, EventDescription
from ami_integration.actions.models import ActionTemplate, FanOut
from ami_integration.audit.models import AuditSegment
from ami_integration.audit.seals import entries_seal
from ami_integration.audit.services import entry_make
from ami_integration.events.ids import first_id_at
from ami_integration.events.models import Event, Gap, Snapshot
from ami_integration.events.saved import SavedFilter
from ami_integration.schedules.blackouts import Blackout
from ami_integration.schedules.clock import clock_tick
from ami_integration.schedules.models import Schedule
from ami_integration.schedules.planned import PlannedRun
from ami_integration.schedules.switch import SchedulesPause
from ami_integration.servers.models import Server, ServerAbilities, ServerHealth, Site, Tag
from tests.actions.catalogue.making import MUTE, ORIGINATE, PING, make_catalogue
from tests.actions.factories import make_run
from tests.schedules.alerts.factories import make_alert, make_channel
from tests.servers.factories import make_server

#: Would set a global variable wherever it is taken for more than text: between tags, in an attribute of
#: either quote, in a script, as an address, in a template.
CANARY = "canary"
SCRIPT = (
    f"\"'><img src=x onerror={CANARY}=1><svg onload={CANARY}=1></script><script>{CANARY}=1</script>"
    f"javascript:{CANARY}=1//{{{{{CANARY}=1}}}}${{{CANARY}=1}}\u202e\u2028\x1b[31m"
)


def hostile(text: str) -> str:
    """These words, and behind them an attack."""
    return text + SCRIPT


def fill() -> None:
    """A row in every table. The person who looks at them is the only one there is."""
    ada = User.objects.get()
    now = timezone.now()
    starter_groups_make()
    Group.objects.create(name="Night shift")
    tag = Tag.objects.create(name="production")
    berlin, paris = make_server(name="Berlin"), make_server(name="Paris")
    site = Site.objects.create(name="Tower Street", notes=hostile("Ask for the key."))
    Server.objects.update(site=site, **_long({"notes": hostile("Below the tower.")}, Server))
    for server in (berlin, paris):
        server.tags.add(tag)
        state = ServerHealth.State.ONLINE if server == berlin else ServerHealth.State.OFFLINE
        ServerHealth.objects.create(
            server=server, state=state, last_error=hostile("It says no."), last_error_at=now,
            **_long({"asterisk_version": hostile("22"), "banner": hostile("Asterisk")}, ServerHealth),
        )  # fmt: skip
    ServerAbilities.objects.create(
        server=berlin, actions={"Ping": "<none>", hostile("Evil"): hostile("system,all")},
        asterisk_version=hostile("22")[:40], read_at=now,
    )  # fmt: skip
    evil = ActionDescription(
        "Evil", synopsis=hostile("Does"), syntax=hostile("Action: Evil"), description=hostile("Much."),
        arguments=(Argument(hostile("Name"), required=True, text=hostile("Who"), choices=(hostile("a"),)),),
        privileges=("system", hostile("all")), see_also=(hostile("Other"),),
    )  # fmt: skip
    happens = EventDescription(
        "Happens", synopsis=hostile("It does."), arguments=(Argument("Channel", text=hostile("It")),)
    )
    make_catalogue(actions=[PING, ORIGINATE, MUTE, evil], events=[happens], servers=[berlin, paris])
    _events(berlin, now)
    schedule = _runs(ada, berlin, paris, tag, now)
    mails = make_channel(name=hostile("On call")[:100])
    make_alert(mails, schedule=schedule, text=hostile("It failed."))
    SavedFilter.objects.create(user=ada, name=hostile("Mine")[:80], query="name=Hangup")
    entry_make(
        actor=ada, origin="admin", address="192.0.2.9", verb="server.change", object_type="server",
        object_id=berlin.pk, object_name=hostile("Berlin"), what={"says": hostile("It"), hostile("a"): 1},
    ).save()  # fmt: skip
    entries_seal()
    AuditSegment.objects.create(
        closed_at=now, first_seal=0, last_seal=0, entries=1, first_at=now, last_at=now, digest="0" * 64
    )


def _events(server: Server, now: datetime) -> None:
    headers = [["Event", "Hangup"], ["Channel", hostile("PJSIP/1")], ["CallerIDName", hostile("Eve")]]
    headers += [["Queue", hostile("support")], [hostile("Header"), "1"], ["Uniqueid", "1.1"]]
    for number in range(3):
        moment = now - timedelta(seconds=number)
        Event.objects.create(
            id=first_id_at(moment), server=server, at=moment, headers=headers,
            channel=hostile("PJSIP/1")[:200],
            **_long({"name": hostile("Hangup") if number else "Hangup"}, Event), uniqueid="1.1",
        )  # fmt: skip
    started = now - timedelta(minutes=5)
    after = first_id_at(started)
    Gap.objects.create(
        id=after + 1, server=server, reason=Gap.Reason.DISCONNECTED, started_at=started, after_id=after,
        ended_at=now - timedelta(minutes=4), detail=hostile("It left."),
    )  # fmt: skip
    Snapshot.objects.create(
        id=after + 2, server=server, at=started, after_id=after, action="CoreShowChannels",
        items=[[["Event", "CoreShowChannel"], ["Channel", hostile("PJSIP/1")]]], error=hostile("No."),
    )  # fmt: skip


def _runs(ada: User, berlin: Server, paris: Server, tag: Tag, now: datetime) -> Schedule:
    fanout = FanOut.objects.create(
        key="one", action="QueuePause", user=ada, username="ada", payload="[]", limit=20
    )
    ended = {"finished_at": now, "started_at": now, "username": "ada", "user": ada}
    make_run(server=berlin, fanout=fanout, username="ada", user=ada, status="running", started_at=now)
    make_run(server=paris, fanout=fanout, status="failed", reason=hostile("It said no."), **ended)
    make_run(
        server=berlin, action="QueuePause", status="succeeded", **ended,
        headers_masked=[["Queue", hostile("support")], [hostile("Header"), hostile("value")]],
        response=[["Response", "Success"], ["Message", hostile("Yes")], [hostile("Name"), hostile("=1+1")]],
        items=[[["Event", hostile("Item")], ["Channel", hostile("=PJSIP/1")], [hostile("Name"), "1"]]] * 2,
        output=hostile("first line") + "\n" + hostile("second line"), note=hostile("There was more."),
    )  # fmt: skip
    ActionTemplate.objects.create(
        name=hostile("Pause")[:100], action="QueuePause", owner=ada, tag=tag, payload="[]",
        headers_masked=[["Queue", hostile("support")]],
    )  # fmt: skip
    schedule = Schedule.objects.create(
        name=hostile("Hourly")[:100], action="Ping", payload="[]", kind="interval", timezone="UTC",
        interval_seconds=3600, owner=ada, owner_name="ada", last_state="failed", failures=12,
        next_at=now + timedelta(minutes=30), anchor_at=now,
    )  # fmt: skip
    schedule.servers.add(berlin, paris)
    PlannedRun.objects.create(
        schedule=schedule, planned_at=now - timedelta(minutes=30), outcome=PlannedRun.Outcome.SUBMITTED,
        result=PlannedRun.Result.FAILED, fanout=fanout, reason=hostile("It said no."), started_at=now,
        finished_at=now,
    )  # fmt: skip
    SchedulesPause.objects.create(paused=True, reason=hostile("Moving house."), username="ada")
    clock_tick(now=datetime.now(UTC))
    Blackout.objects.create(
        name=hostile("Night")[:100], kind="weekly", weekdays="12345", starts_time=time(22), minutes=600,
        timezone="Europe/Lisbon", tag=tag,
    )  # fmt: skip
    return schedule


def _long(values: dict[str, str], model: Any) -> dict[str, str]:
    """Of these what the model has, as long as its columns take."""
    fields = {field.name: field for field in model._meta.fields}
    return {name: text[: fields[name].max_length] for name, text in values.items() if name in fields}


def empty_tables() -> list[str]:
    """The tables of amiweb in which nothing is."""
    models = [*apps.get_app_config("ami_integration").get_models(), User, Group]
    return [model.__name__ for model in models if not model._default_manager.exists()]
