"""The live page's WebSocket, over the real channel layer, store and stream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import connection

from ami_integration.access.danger import Danger
from ami_integration.events import catchup, consumers, hub
from ami_integration.events.consumers import LiveConsumer
from ami_integration.events.models import Event, Gap
from ami_integration.events.recorder import Recorder
from ami_integration.events.stream import EventBatch, GapNote, SnapshotNote, end_again, mark_of
from ami_integration.events.tabs import RING
from ami_integration.events.writer import StreamWriter
from ami_integration.servers.models import Server, Tag
from tests.access.factories import grant
from tests.events.making import batch, ids, numbered, raw
from tests.events.page import Page, cookie, watcher
from tests.servers.factories import make_server

pytestmark = pytest.mark.django_db(transaction=True)

Sender = Callable[..., Awaitable[None]]


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumers, "LOOK_SECONDS", 0.5)
    monkeypatch.setattr(hub, "LOOK_SECONDS", 0.5)


@pytest.fixture(autouse=True)
async def clean_layer(url: str) -> AsyncIterator[None]:
    yield
    await get_channel_layer().flush()


@pytest.fixture
def server() -> Server:
    return make_server()


@pytest.fixture
def person() -> User:
    return watcher()


@pytest.fixture
async def page(person: User) -> AsyncIterator[Page]:
    page = Page(person)
    assert await page.connect()
    yield page
    if page.closed is None:
        await page.disconnect()


@pytest.fixture
def send(writer: StreamWriter, recorder: Recorder) -> Sender:
    """Write batches and let the recorder store and publish them."""

    def record(batches: tuple[EventBatch | GapNote | SnapshotNote, ...]) -> None:
        try:
            writer.append(batches)
            recorder.step()
        finally:
            connection.close()

    async def send(*batches: EventBatch | GapNote | SnapshotNote) -> None:
        await asyncio.to_thread(record, batches)

    return send


# Who may watch


async def test_people_get_the_events_of_servers_that_they_may_read_and_of_no_others(
    server: Server, send: Sender
) -> None:
    other = await sync_to_async(make_server)(name="Oslo")
    stranger, viewer, agent = [
        await sync_to_async(watcher)(name, everywhere=False) for name in ("stranger", "viewer", "agent")
    ]
    rule = await sync_to_async(grant)(viewer, Danger.READ, on=server)
    await sync_to_async(grant)(agent, Danger.OPERATE, on=server)
    first, second = batch(server.pk, raw("Here")), batch(other.pk, raw("There"))
    await send(first, second)
    for user, expected in ((stranger, []), (viewer, ["Here"]), (agent, [])):
        page = Page(user)
        assert await page.connect()
        await page.subscribe()
        if expected:
            await page.until(lambda page=page: page.rows, what="the store is read")
        await page.subscribe(server=str(other.pk))  # by its number, past the list
        await page.until(lambda page=page: page.error, what="the page is told")
        assert [row["name"] for row in page.servers] == (["Berlin"] if expected else [])
        assert page.names == expected
        if user is not viewer:
            await page.disconnect()
            continue
        await page.subscribe()
        await sync_to_async(rule.delete)()
        await page.until(lambda page=page: not page.servers, what="the server is taken away")
        await send(batch(server.pk, raw("Later"), after=first.last_id))
        await page.read(1.5)
        assert page.names == expected
        await page.disconnect()


@pytest.mark.parametrize(
    "stranger",
    [
        lambda: None,
        lambda: watcher(is_staff=False),
        lambda: watcher(is_active=False),
        lambda: User.objects.create_user("staff without the permission", is_staff=True),
    ],
    ids=["anonymous", "not staff", "inactive", "without permission"],
)
async def test_a_stranger_is_refused(stranger: Callable[[], User | None]) -> None:
    assert not await Page(await sync_to_async(stranger)()).connect()


async def test_a_superuser_may_watch() -> None:
    page = Page(await sync_to_async(User.objects.create_superuser)("root"))
    assert await page.connect()
    await page.disconnect()


@pytest.mark.parametrize("origin", ["http://evil.example", "http://127.0.0.1.evil.example", "null"])
async def test_a_foreign_origin_is_refused(person: User, origin: str) -> None:
    assert not await Page(person, origin=origin).connect()


async def test_a_withdrawn_right_closes_the_socket(page: Page, person: User, server: Server) -> None:
    await page.subscribe()
    await sync_to_async(person.user_permissions.clear)()
    await page.until(lambda: page.closed is not None, what="the socket is closed")
    assert page.closed == 4403
    assert "may not watch" in page.error


async def test_logging_out_closes_the_socket(page: Page, server: Server) -> None:
    await page.subscribe()
    await sync_to_async(Session.objects.all().delete)()
    await page.until(lambda: page.closed is not None, what="the socket is closed")
    assert page.closed == 4403


async def test_a_right_that_is_gone_at_subscribing_shows_nothing(
    page: Page, person: User, server: Server, send: Sender
) -> None:
    await send(batch(server.pk))
    await sync_to_async(person.user_permissions.clear)()
    await page.say(json.dumps({"type": "subscribe", "seq": 1}))
    await page.until(lambda: page.closed is not None, what="the socket is closed")
    assert page.rows == {}


# What a page may say


@pytest.mark.parametrize("text", ["{", "[]" * 200_000, "[" * 100_000, "x" * 300_000])
async def test_nonsense_closes_the_socket(page: Page, text: str) -> None:
    await page.say(text)
    await page.until(lambda: page.closed is not None or page.error, what="the socket is closed")
    assert page.error


@pytest.mark.parametrize(
    "message", [[], {}, {"type": "delete"}, {"type": "subscribe"}, {"type": "subscribe", "seq": 1, "text": 5}]
)
async def test_a_message_that_cannot_be_is_answered_with_an_error(page: Page, message: Any) -> None:
    await page.say(json.dumps(message))
    await page.until(lambda: page.error, what="an error comes")
    assert page.closed is None


# What it shows


async def test_events_appear_without_asking_again(page: Page, server: Server, send: Sender) -> None:
    await page.subscribe()
    assert page.rows == {}
    sent = batch(server.pk, raw("Newchannel", Channel="PJSIP/100-1"), raw("Hangup"))
    await send(sent)
    await page.until(lambda: len(page.rows) == 2, what="both events are shown")
    item = page.rows[str(sent.events[0].id)]
    assert item["name"] == "Newchannel"
    assert item["server"] == str(server.pk)
    assert item["headers"] == [["Event", "Newchannel"], ["Channel", "PJSIP/100-1"]]
    assert item["at"] == sent.events[0].at // 1000


async def test_a_new_page_begins_with_the_latest_of_the_store(
    page: Page, server: Server, send: Sender
) -> None:
    await send(numbered(server.pk, range(300)))
    await page.subscribe()
    await page.until(lambda: len(page.rows) == 200, what="the latest 200 are shown")
    assert page.numbers == list(range(100, 300))


async def test_the_server_filters_by_name_and_text(page: Page, server: Server, send: Sender) -> None:
    old = batch(server.pk, raw("Newchannel", Channel="PJSIP/100-1"), raw("Hangup", Channel="PJSIP/100-1"))
    await send(old)
    await page.subscribe(names=["new*"], text="pjsip/1*")
    new = batch(
        server.pk,
        raw("NewExten", Channel="PJSIP/200-1"),
        raw("Hangup", Channel="PJSIP/100-1"),
        raw("NewState", Channel="PJSIP/100-1"),
        after=old.last_id,
    )
    await send(new)
    await page.until(lambda: len(page.rows) == 2, what="what matches is shown")
    assert page.names == ["Newchannel", "NewState"]


async def test_one_server_can_be_chosen_and_another_instead(page: Page, server: Server, send: Sender) -> None:
    other = await sync_to_async(make_server)(name="Oslo")
    await page.subscribe(server=str(server.pk))
    first, second = batch(server.pk, raw("Here")), batch(other.pk, raw("There"))
    await send(first, second)
    await page.until(lambda: page.rows, what="an event is shown")
    await page.read(0.5)
    assert page.names == ["Here"]
    page.rows.clear()
    await page.subscribe(server=str(other.pk), since={})
    await send(batch(server.pk, raw("Here"), after=first.last_id))
    await send(batch(other.pk, raw("There"), after=second.last_id))
    await page.until(lambda: len(page.rows) == 2, what="the other server's events are shown")
    assert page.names == ["There", "There"]


async def test_a_server_that_does_not_exist_is_told(page: Page, server: Server) -> None:
    await page.subscribe(server="999")
    await page.until(lambda: page.error, what="the page is told")
    assert page.error == "This server does not exist any more, or is not yours to watch. Choose another."


async def test_a_gap_is_shown_as_it_begins_and_as_it_ends(page: Page, server: Server, send: Sender) -> None:
    await page.subscribe(names=["Nothing"])
    first = batch(server.pk)
    note = GapNote(ids.next(), server.pk, Gap.Reason.DISCONNECTED, "gone", first.events[0].at, first.last_id)
    await send(first, note)
    await page.until(lambda: page.rows, what="the gap is shown")
    [gap] = page.rows.values()
    assert (gap["kind"], gap["ended"], gap["reason"]) == ("gap", None, "Connection lost")
    end = replace(note, ended_at=note.started_at + 5_000_000, before_id=ids.next())
    await send(end)
    await page.until(lambda: next(iter(page.rows.values()))["ended"], what="the gap has ended")
    [gap] = page.rows.values()
    assert gap["ended"] - gap["at"] == 5000


async def test_a_gap_whose_end_is_told_again_is_the_same_row_and_what_follows_is_shown_once(
    page: Page, server: Server, send: Sender
) -> None:
    await page.subscribe()
    first = batch(server.pk)
    at = first.events[0].at
    begun = GapNote(ids.next(), server.pk, Gap.Reason.DISCONNECTED, "gone", at, first.last_id, before_count=1)
    ended = replace(begun, ended_at=at + 5_000_000, before_id=ids.next())
    await send(first, begun, ended)
    await page.until(lambda: len(page.rows) == 2, what="event and gap are shown")
    behind = batch(server.pk, raw("Hangup"), count=1)
    again = end_again(ended, mark=mark_of(ended), before_id=behind.events[0].id)
    await send(again)
    await send(replace(behind, after_id=again.last_id))
    for _ in range(2):  # live, and from the store
        await page.until(lambda: len(page.rows) == 3, what="the event behind it is shown")
        await page.read(0.5)
        [gap] = [item for item in page.rows.values() if item["kind"] == "gap"]
        assert (gap["id"], gap["after"]) == (str(begun.id), str(first.last_id))
        assert gap["ended"] - gap["at"] == 5000
        assert (page.names, page.twice) == (["Newchannel", "Hangup"], 0)
        page.rows.clear()
        await page.subscribe(since={})


async def test_servers_that_are_added_and_renamed_appear(page: Page, server: Server, send: Sender) -> None:
    await page.subscribe()
    new = await sync_to_async(make_server)(name="Added", simulated=True)
    await page.until(lambda: len(page.servers) == 2, what="the new server is listed")
    added = next(one for one in page.servers if one["name"] == "Added")
    assert added == {
        "id": str(new.pk), "name": "Added", "simulated": True, "enabled": True,
        "state": "unknown", "label": "Unknown", "error": "", "tags": [],
    }  # fmt: skip
    await send(batch(new.pk, raw("FromTheNewOne"), after=ids.next()))
    await page.until(lambda: page.rows, what="the new server's event is shown")
    await sync_to_async(Server.objects.filter(pk=new.pk).update)(name="Renamed")
    await page.until(lambda: any(one["name"] == "Renamed" for one in page.servers), what="the new name")


async def test_events_from_before_a_page_heard_of_their_server_are_shown(
    page: Page, server: Server, send: Sender
) -> None:
    await page.subscribe()
    new = await sync_to_async(make_server)(name="Added")
    await send(batch(new.pk, raw("First"), after=ids.next()))
    await page.until(lambda: page.names == ["First"], what="the first event is shown")


async def test_a_tag_is_its_servers_as_they_are_now(server: Server, page: Page, send: Sender) -> None:
    tag = await sync_to_async(Tag.objects.create)(name="office")
    other = await sync_to_async(make_server)(name="Oslo")
    await sync_to_async(server.tags.add)(tag)
    await page.subscribe(tag=str(tag.pk))
    await send(batch(server.pk, raw("Here")), batch(other.pk, raw("There")))
    await page.until(lambda: page.names == ["Here"], what="the tagged server's event is shown")
    await sync_to_async(other.tags.add)(tag)
    await page.until(
        lambda: len(page.names) == 2, what="another server got the tag, and its events are shown"
    )
    await sync_to_async(tag.delete)()
    await page.until(lambda: page.error, what="the page is told that the tag is gone")
    assert page.error == "No server that you may watch has this tag any more. Choose another."


async def test_a_tag_shows_nothing_of_a_server_that_somebody_may_not_read(
    server: Server, send: Sender
) -> None:
    tag = await sync_to_async(Tag.objects.create)(name="office")
    hidden = await sync_to_async(make_server)(name="Hidden")
    for one in (server, hidden):
        await sync_to_async(one.tags.add)(tag)
    viewer = await sync_to_async(watcher)("viewer", everywhere=False)
    await sync_to_async(grant)(viewer, Danger.READ, on=server)
    page = Page(viewer)
    assert await page.connect()
    await page.subscribe(tag=str(tag.pk))
    await send(batch(hidden.pk, raw("There")), batch(server.pk, raw("Here")))
    await page.until(lambda: page.rows, what="an event is shown")
    await page.read(0.5)
    assert page.names == ["Here"]
    await page.disconnect()


async def test_a_whole_call_is_found_by_its_linkedid(page: Page, server: Server, send: Sender) -> None:
    call = batch(server.pk, *(raw(name, Linkedid="17.1") for name in ("Newchannel", "Hangup")))
    await send(call)
    await send(numbered(server.pk, range(2, 302), after=call.last_id))
    await page.subscribe(linkedid="17.1")
    await page.until(lambda: page.names == ["Newchannel", "Hangup"], what="the call is shown")


async def test_counts_by_name_are_of_all_that_happens(page: Page, server: Server, send: Sender) -> None:
    await page.subscribe(names=["Hangup"])
    await send(batch(server.pk, *(raw(name) for name in ["Newchannel"] * 500 + ["Hangup"])))
    await page.until(lambda: sum(page.counts.values()) == 501, what="all are counted")
    assert page.counts == {"Newchannel": 500, "Hangup": 1}
    assert page.names == ["Hangup"]


async def test_what_the_pbx_said_after_a_gap_comes_with_it(page: Page, server: Server, send: Sender) -> None:
    first = batch(server.pk)
    now = first.events[0].at
    gap = GapNote(
        ids.next(), server.pk, Gap.Reason.OVERLOAD, "", now, first.last_id, now, ids.next(), 7, "exact", 1, 7
    )
    snapshot = SnapshotNote(
        ids.next(), server.pk, gap.last_id, now, first.last_id, "CoreShowChannels",
        [[("Event", "CoreShowChannel"), ("Channel", "PJSIP/100-1")]], before_count=8,
    )  # fmt: skip
    await send(first, gap, snapshot)
    for _ in range(2):  # from the store, and live
        await page.subscribe(names=["Nothing"])
        await page.until(lambda: len(page.rows) == 2, what="gap and snapshot are shown")
        shown, said = sorted(page.rows.values(), key=lambda item: item["kind"])
        assert (shown["lost"], shown["lost_kind"]) == (7, "exact")
        assert (said["kind"], said["after"], said["count"]) == ("snapshot", shown["after"], 1)
        assert said["items"] == [[["Event", "CoreShowChannel"], ["Channel", "PJSIP/100-1"]]]
        page.rows.clear()


# What isn't kept


async def test_what_is_not_kept_is_marked_live_and_found_again(
    page: Page, server: Server, send: Sender
) -> None:
    await page.subscribe()
    first = batch(server.pk, raw("VarSet", Number="0"), raw("Hangup", Number="1"))
    await send(first)
    await page.until(lambda: len(page.rows) == 2, what="both are shown live")
    await page.disconnect()
    await send(batch(server.pk, raw("VarSet", Number="2"), raw("Hangup"), after=first.last_id, count=2))
    for since in (page.cursor, {}):  # a page that was away, and a new one
        page.rows.clear()
        assert await page.connect()
        await page.subscribe(since=since)
        await page.until(lambda: len(page.rows) == 4, what="what was missed is found")
        assert [item["kept"] for item in page.events] == [False, True, False, True]
        assert page.names == ["VarSet", "Hangup", "VarSet", "Hangup"]
        await page.disconnect()
    assert await sync_to_async(Event.objects.count)() == 2


async def test_it_is_told_when_more_of_it_came_than_is_read_again(
    page: Page, server: Server, send: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catchup, "TAIL_ROWS", 3)
    first = batch(server.pk, raw("Hangup"))
    await send(first)
    page.cursor = {str(server.pk): str(first.last_id)}
    await page.subscribe()
    assert not page.cut
    await send(batch(server.pk, *[raw("VarSet")] * 10, after=first.last_id, count=1))
    page.cursor = {str(server.pk): str(first.last_id)}
    page.rows.clear()
    await page.subscribe()
    assert page.cut
    await page.until(lambda: len(page.rows) >= 4, what="the latest are shown")
    assert page.names == ["Hangup", "VarSet", "VarSet", "VarSet"]


# Nothing missing, nothing twice


async def test_a_page_that_was_away_gets_what_it_missed_and_nothing_twice(
    person: User, server: Server, send: Sender
) -> None:
    other = await sync_to_async(make_server)(name="Oslo")
    page = Page(person)
    sent = 0
    last = {server.pk: 0, other.pk: 0}
    counted = {server.pk: 0, other.pk: 0}

    async def more(count: int) -> None:
        nonlocal sent
        for _ in range(count):
            server_id = (server.pk, other.pk)[sent // 5 % 2]
            made = numbered(server_id, range(sent, sent + 5), after=last[server_id])
            made = replace(made, before_count=counted[server_id])
            last[server_id], counted[server_id] = made.last_id, made.last_count
            sent += 5
            await send(made)

    for _ in range(4):
        assert await page.connect()
        # Events flow while the page subscribes, while it watches, while it goes, and while it is away.
        await asyncio.gather(more(4), page.subscribe())
        await more(3)
        await page.until(lambda: len(page.rows) > sent - 20, what="the page follows")
        await asyncio.gather(more(2), page.disconnect())
        await more(4)
    assert await page.connect()
    await page.subscribe()
    await page.until(lambda: len(page.rows) >= sent, what="everything is shown")
    assert page.numbers == list(range(sent))
    assert page.left_out == 0
    assert page.twice  # the overlap was really asked for, and the page dropped it
    await page.disconnect()


async def test_a_filtered_page_knows_from_where_on_to_ask_again(
    page: Page, server: Server, send: Sender
) -> None:
    await page.subscribe(text="nothing matches this")
    sent = batch(server.pk)
    await send(sent)
    await page.until(lambda: page.cursor.get(str(server.pk)) == str(sent.last_id), what="the cursor moves")


async def test_a_publication_that_was_lost_is_found_by_the_next_one(
    page: Page, server: Server, send: Sender, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "LOOK_SECONDS", 60)
    await page.subscribe()
    first = numbered(server.pk, range(5))
    await send(first)
    await page.until(lambda: len(page.rows) == 5, what="the first batch is shown")
    lost = numbered(server.pk, range(5, 10), after=first.last_id)
    with monkeypatch.context() as patch:
        patch.setattr(recorder, "_publish", lambda *_: None)
        await send(lost)
    await send(numbered(server.pk, range(10, 15), after=lost.last_id))
    await page.until(lambda: len(page.rows) == 15, what="the lost batch is found")
    assert page.numbers == list(range(15))
    assert page.twice == 0


async def test_a_publication_that_was_lost_is_found_even_if_nothing_follows(
    page: Page, server: Server, send: Sender, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    await page.subscribe()
    monkeypatch.setattr(recorder, "_publish", lambda *_: None)
    await send(numbered(server.pk, range(5)))
    await page.until(lambda: len(page.rows) == 5, what="the lost batch is found")
    await page.read(1.5)
    assert page.twice == 0


async def test_a_page_that_was_away_for_long_is_told_that_there_is_more(
    page: Page, server: Server, send: Sender
) -> None:
    first = batch(server.pk)
    await send(first)
    page.cursor = {str(server.pk): str(first.last_id)}
    await send(numbered(server.pk, range(600), after=first.last_id))
    await page.subscribe()
    assert page.missed["count"] == 100
    assert page.missed["since"] <= page.missed["until"]
    assert not page.cut  # all of it is counted
    await page.until(lambda: len(page.rows) == 501, what="the latest, and what was asked for again")
    page.rows.pop(str(first.last_id))
    assert page.numbers == list(range(100, 600))


async def test_a_page_that_missed_nothing_is_not_told_that_it_did(
    page: Page, server: Server, send: Sender
) -> None:
    sent = numbered(server.pk, range(800))
    await send(sent)
    page.cursor = {str(server.pk): str(sent.last_id)}
    await page.subscribe()
    assert (page.cut, page.missed["count"]) == (False, 0)
    await page.until(lambda: len(page.rows) == 800, what="what is asked for again comes all the same")


async def test_names_are_looked_for_beyond_the_events_that_are_scanned(
    page: Page, server: Server, send: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catchup, "FIRST_SCAN_LIMIT", 50)
    monkeypatch.setattr(catchup, "FIRST_PAGE_ROWS", 10)
    await send(batch(server.pk, raw("Hangup"), *[raw("Newstate")] * 100))
    await page.subscribe(names=["hang*"], text="hangup")
    await page.until(lambda: page.names == ["Hangup"], what="the event is found")


async def test_a_tail_cut_by_its_bytes_is_told(
    page: Page, server: Server, send: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catchup, "TAIL_BYTES", 1)
    monkeypatch.setattr(catchup, "_TAIL_CHUNK", 1)
    first = batch(server.pk, raw("VarSet"))
    await send(first)
    page.cursor = {str(server.pk): str(first.last_id)}
    second = batch(server.pk, raw("VarSet"), after=first.last_id, count=1)
    await send(second)
    await send(batch(server.pk, raw("VarSet"), after=second.last_id, count=2))
    await page.subscribe()
    assert page.cut


async def test_a_flood_is_shed_and_counted(page: Page, server: Server, send: Sender) -> None:
    await page.subscribe()
    await send(numbered(server.pk, range(1000)))
    await page.until(lambda: len(page.rows) + page.left_out >= 1000, what="all events are shown or counted")
    assert len(page.rows) + page.left_out == 1000
    assert len(page.rows) >= RING
    assert page.numbers == list(range(1000 - len(page.rows), 1000))  # the newest are shown
    assert await sync_to_async(Event.objects.count)() == 1000  # and all are in the store


async def test_a_page_that_takes_nothing_costs_bounded_memory_and_nobody_else_waits(
    person: User, page: Page, server: Server, send: Sender
) -> None:
    stuck = asyncio.Event()
    taken: list[dict[str, Any]] = []
    inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    consumer = LiveConsumer()

    async def slow_send(message: dict[str, Any]) -> None:
        taken.append(message)
        if "items" in message.get("text", ""):
            await stuck.wait()

    from amiweb.asgi import application  # its middleware gives the scope its session

    assert application
    session_key = (await sync_to_async(cookie)(person)).decode().partition("=")[2]
    scope = {"type": "websocket", "session": type("Session", (), {"session_key": session_key})()}
    task = asyncio.create_task(consumer(scope, inbox.get, slow_send))
    await inbox.put({"type": "websocket.connect"})
    await inbox.put({"type": "websocket.receive", "text": json.dumps({"type": "subscribe", "seq": 1})})
    await page.subscribe()
    last = 0
    for n in range(10):
        made = numbered(server.pk, range(n * 200, n * 200 + 200), after=last)
        last = made.last_id
        await send(made)
    await page.until(lambda: len(page.rows) + page.left_out >= 2000, what="the other page follows")
    assert consumer._tab is not None
    assert consumer._tab.waiting <= RING
    assert consumer._tab.left_out.count >= 2000 - 2 * RING
    assert sum("items" in message.get("text", "") for message in taken) == 1
    await inbox.put({"type": "websocket.disconnect", "code": 1000})
    await asyncio.wait_for(task, 10)
