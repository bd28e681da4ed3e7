"""Servers with a catalogue, for tests that need no PBX."""

from __future__ import annotations

from collections.abc import Sequence

from django.utils import timezone

from ami_integration.actions.catalogue.descriptions import ActionDescription, Argument, EventDescription
from ami_integration.actions.catalogue.models import (
    Catalogue,
    CatalogueAction,
    CatalogueEvent,
    ServerCatalogue,
)
from ami_integration.servers.models import Server

PING = ActionDescription("Ping", synopsis="Keep the session alive.", syntax="Action: Ping")
ORIGINATE = ActionDescription(
    "Originate",
    synopsis="Make a call.",
    description="Calls one channel and connects it.",
    arguments=(
        Argument("Channel", required=True, text="Who is called."),
        Argument("Exten", text="Where the call goes."),
        Argument("Async", text="Set to 'true' to go on at once.", boolean=("true", "false")),
        Argument("Variable", text="A variable of the channel.", repeatable=True),
    ),
    privileges=("originate", "all"),
    see_also=("OriginateResponse",),
)
MUTE = ActionDescription(
    "MuteAudio",
    synopsis="Silence a channel.",
    arguments=(
        Argument("Channel", required=True),
        Argument("Direction", required=True, choices=("in", "out"), closed=True),
    ),
    privileges=("system", "all"),
)
NEWCHANNEL = EventDescription("Newchannel", synopsis="A channel came.", arguments=(Argument("Channel"),))


def make_catalogue(
    version: str = "22.10.1",
    actions: Sequence[ActionDescription] = (PING, ORIGINATE, MUTE),
    events: Sequence[EventDescription] = (NEWCHANNEL,),
    *,
    servers: Sequence[Server] = (),
    shipped: bool = False,
) -> Catalogue:
    """A stored catalogue that these servers have."""
    catalogue = Catalogue.objects.create(
        content_hash=f"hash of {version} {shipped}", asterisk_version=version, shipped=shipped
    )
    CatalogueAction.objects.bulk_create(CatalogueAction.of(catalogue, each) for each in actions)
    CatalogueEvent.objects.bulk_create(CatalogueEvent.of(catalogue, each) for each in events)
    for server in servers:
        ServerCatalogue.objects.update_or_create(
            server=server, defaults={"catalogue": catalogue, "read_at": timezone.now()}
        )
    return catalogue
