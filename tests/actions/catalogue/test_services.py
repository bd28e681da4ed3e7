"""Tests of ami_integration/actions/catalogue/services.py; tests/pbx/test_catalogue.py reads real PBXs."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from ami_integration.access.services import servers_visible
from ami_integration.actions import doorbell
from ami_integration.actions.catalogue import services
from ami_integration.actions.catalogue.descriptions import Argument
from ami_integration.actions.catalogue.models import Catalogue, CatalogueAction, ServerCatalogue
from ami_integration.actions.catalogue.reading import pbx_read
from ami_integration.actions.tasks import catalogue_sync as task
from ami_integration.ami import TCP, ConnectError
from ami_integration.servers.models import Server, ServerAbilities, ServerHealth
from ami_integration.servers.sessions import action_session
from ami_integration.servers.slots import slots_used
from ami_integration.servers.waiting import SessionsBusy
from ami_integration.simulator import Account
from ami_integration.simulator.wire import classes_from_text
from tests.access.factories import grant, make_person
from tests.actions.catalogue.making import MUTE, ORIGINATE, PING, make_catalogue
from tests.servers.factories import make_server
from tests.simulator.fixtures import Simulator

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("action_sessions")]
State = ServerHealth.State


def server_at(simulator: Simulator, name: str = "Berlin", **values: object) -> Server:
    where = TCP(simulator.host, simulator.port)
    account = {"username": simulator.username, "secret": simulator.secret}
    return make_server(where, name=name, **{**account, **values})


# Reading


def test_a_sync_stores_the_pages_and_what_the_login_may_run(simulator: Simulator) -> None:
    server = server_at(simulator)
    synced = services.catalogue_sync(server=server)
    assert synced.catalogue is not None
    assert synced.changed
    assert "simulated" in synced.catalogue.asterisk_version
    assert synced.catalogue.unread == []
    link = ServerCatalogue.objects.get(server=server)
    assert link.read_at is not None
    assert link.error == ""
    actions = {row.name for row in synced.catalogue.catalogueactions.all()}
    assert "CoreShowChannels" in actions
    assert actions == set(server.abilities.actions)


def test_servers_that_say_the_same_share_one_catalogue(simulator: Simulator) -> None:
    found = {services.catalogue_sync(server=server_at(simulator, f"Nr {n}")).catalogue for n in range(3)}
    assert len(found) == 1
    assert Catalogue.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_servers_that_are_read_at_once_share_one_catalogue(simulator: Simulator) -> None:
    servers = [server_at(simulator, f"Nr {n}") for n in range(12)]

    def read_one(server: Server) -> int | None:
        try:
            return services.catalogue_sync(server=server).catalogue.pk  # type: ignore[union-attr]
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        assert len(set(pool.map(read_one, servers))) == 1
    assert Catalogue.objects.get().servers.count() == 12
    assert len(Catalogue.objects.get().catalogueactions.all()) == len(servers[0].abilities.actions)


def test_a_second_sync_of_the_same_changes_nothing(simulator: Simulator) -> None:
    server = server_at(simulator)
    services.catalogue_sync(server=server)
    rows = CatalogueAction.objects.count()
    again = services.catalogue_sync(server=server)
    assert not again.changed
    assert "the same catalogue as before" in again.sentence
    assert CatalogueAction.objects.count() == rows


def test_a_catalogue_that_no_server_has_any_more_goes(simulator: Simulator) -> None:
    server, other = server_at(simulator), make_server(name="Paris")
    shared = make_catalogue("18.1.0", servers=[server, other])
    services.catalogue_sync(server=server)
    assert Catalogue.objects.filter(pk=shared.pk).exists()  # Paris has it still
    mine = make_catalogue("19.1.0", servers=[server])
    services.catalogue_sync(server=server)
    assert not Catalogue.objects.filter(pk=mine.pk).exists()


def test_a_login_without_command_gets_what_amiweb_ships(make_simulator: Callable[..., Simulator]) -> None:
    simulator = make_simulator(accounts=[Account("poor", "word", write=classes_from_text("call,reporting"))])
    server = server_at(simulator, username="poor", secret="word")
    synced = services.catalogue_sync(server=server)
    assert synced.catalogue is not None
    assert synced.catalogue.shipped
    assert synced.catalogue.asterisk_version.startswith("22.")
    assert "without texts" in synced.sentence
    assert "Command" not in server.abilities.actions
    other = server_at(simulator, "Two", username="poor", secret="word")
    assert services.catalogue_sync(server=other).catalogue == synced.catalogue


def test_what_the_account_for_actions_may_run_counts(make_simulator: Callable[..., Simulator]) -> None:
    poor = Account("poor", "word", write=classes_from_text("call,reporting"))
    simulator = make_simulator(accounts=[poor, Account("rich", "word")])
    server = server_at(
        simulator, username="poor", secret="word", action_username="rich", action_secret="word"
    )
    synced = services.catalogue_sync(server=server)
    assert synced.catalogue is not None
    assert not synced.catalogue.shipped
    assert server.action_privileges("Command") == "command,all"


def test_a_sync_that_fails_is_noted_and_keeps_what_was_known(simulator: Simulator) -> None:
    server = server_at(simulator)
    services.catalogue_sync(server=server)
    before = ServerCatalogue.objects.get(server=server)
    simulator.stop()
    with pytest.raises(ConnectError):
        services.catalogue_sync(server=server)
    after = ServerCatalogue.objects.get(server=server)
    assert after.error
    assert (after.catalogue, after.read_at) == (before.catalogue, before.read_at)
    simulator.start()
    services.catalogue_sync(server=server)
    assert ServerCatalogue.objects.get(server=server).error == ""


@pytest.mark.parametrize("switch", [{"enabled": False}, {"maintenance": True}])
def test_a_server_that_is_switched_off_is_not_asked(switch: dict[str, bool], rung: list[int]) -> None:
    server = online(**switch)
    with pytest.raises(services.SyncRefused, match="Berlin is"):
        services.catalogue_sync(server=server)
    assert services.catalogues_sweep() == 0


def test_the_task_reads_and_survives_what_fails(simulator: Simulator) -> None:
    server = server_at(simulator)
    task(server.pk)
    assert ServerCatalogue.objects.get(server=server).catalogue is not None
    simulator.stop()
    task(server.pk)
    task(server.pk + 1000)


def test_reading_takes_one_of_the_sessions_that_the_server_may_have(
    simulator: Simulator, rung: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = server_at(simulator, max_sessions=1)
    ServerHealth.objects.create(server=server, state=State.ONLINE, last_seen_at=timezone.now())
    used: list[int] = []
    monkeypatch.setattr(
        services, "pbx_read", lambda client: used.append(slots_used(server_id=server.pk)) or pbx_read(client)
    )
    with action_session(server):
        with pytest.raises(SessionsBusy):
            services.catalogue_sync(server=server)
        task(server.pk)  # waits, and holds no worker up
    link = ServerCatalogue.objects.get(server=server)
    assert "may have 1 at once" in link.error
    assert not link.pending
    assert services.catalogues_sweep() == 1
    assert rung == [server.pk]
    task(server.pk)
    assert used == [1]
    link.refresh_from_db()
    assert (link.error, link.read_at is None) == ("", False)
    assert services.catalogues_sweep() == 0


# The sweep


@pytest.fixture
def rung(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The servers for which the task queue was rung."""
    found: list[int] = []

    def ring(ids: list[int], *, task: str) -> list[int]:
        assert task == "actions.catalogue_sync"
        found.extend(ids)
        return ids

    monkeypatch.setattr(doorbell, "ring", ring)
    return found


def online(name: str = "Berlin", version: str = "22.10.1", **values: object) -> Server:
    server = make_server(name=name, **values)
    now = timezone.now()
    ServerHealth.objects.create(server=server, state=State.ONLINE, asterisk_version=version, last_seen_at=now)
    return server


def read(server: Server, version: str = "22.10.1") -> None:
    now = timezone.now()
    ServerAbilities.objects.create(server=server, asterisk_version=version, read_at=now)
    ServerCatalogue.objects.create(server=server, read_at=now, attempted_at=now - timedelta(hours=1))


def test_a_server_is_read_after_its_first_connection_once(rung: list[int]) -> None:
    server = online()
    make_server(name="Never seen")
    online("Off", enabled=False)
    assert services.catalogues_sweep() == 1
    assert services.catalogues_sweep() == 0
    assert rung == [server.pk]


def test_a_server_that_was_read_is_left_alone(rung: list[int]) -> None:
    read(online())
    assert services.catalogues_sweep() == 0
    assert rung == []


def test_a_server_is_read_again_after_an_upgrade(rung: list[int]) -> None:
    server = online(version="22.11.0")
    read(server)
    services.catalogues_sweep()
    assert rung == [server.pk]


def test_a_server_is_read_again_after_its_account_changed(rung: list[int]) -> None:
    server = online()
    read(server)
    server.username = "another"
    server.save()
    services.catalogues_sweep()
    assert rung == [server.pk]


def test_a_server_that_could_not_be_read_is_tried_again_after_a_while(rung: list[int]) -> None:
    server = online()
    services.catalogues_sweep()
    services.catalogues_sweep(now=timezone.now() + services.RETRY_AFTER)
    assert rung == [server.pk, server.pk]


def test_a_task_queue_that_is_away_is_tried_again_by_the_next_sweep(
    monkeypatch: pytest.MonkeyPatch, rung: list[int]
) -> None:
    server = online()
    with monkeypatch.context() as away:
        away.setattr(doorbell, "ring", lambda ids, *, task: [])
        assert services.catalogues_sweep() == 0
    assert services.catalogues_sweep() == 1
    assert rung == [server.pk]


def test_what_somebody_asked_for_while_the_task_queue_was_away_is_read_when_it_is_back(
    monkeypatch: pytest.MonkeyPatch, rung: list[int]
) -> None:
    server = online()
    read(server)
    assert services.catalogues_sweep() == 0
    with monkeypatch.context() as away:
        away.setattr(doorbell, "ring", lambda ids, *, task: [])
        services.catalogues_ring(server_ids=[server.pk])
    assert services.catalogues_sweep() == 1
    assert rung == [server.pk]


def test_a_server_is_pending_until_something_came_of_it(simulator: Simulator, rung: list[int]) -> None:
    server = server_at(simulator)
    services.catalogues_ring(server_ids=[server.pk])
    assert ServerCatalogue.objects.get(server=server).pending
    services.catalogue_sync(server=server)
    assert not ServerCatalogue.objects.get(server=server).pending
    simulator.stop()
    services.catalogues_ring(server_ids=[server.pk])
    assert ServerCatalogue.objects.get(server=server).pending
    task(server.pk)
    assert not ServerCatalogue.objects.get(server=server).pending


# Looking up


def test_a_server_is_described_by_its_own_catalogue_first() -> None:
    server, other = make_server(), make_server(name="Paris")
    make_catalogue("22.10.1", servers=[server])
    make_catalogue("16.28.0", [replace(ORIGINATE, synopsis="Old.")], servers=[other])
    described = services.action_describe(server=server, action="originate")
    assert described is not None
    assert described.synopsis == "Make a call."
    assert described.shipped_for == ""


def test_a_server_that_was_never_read_is_described_by_what_is_shipped_for_its_version() -> None:
    server = online(version="16.28.0~dfsg-0+deb11u4")
    monitor = services.action_describe(server=server, action="Monitor")  # which 22 has lost
    originate = services.action_describe(server=server, action="Originate")
    assert monitor is not None
    assert originate is not None
    assert originate.shipped_for.startswith("16.")
    assert services.action_describe(server=make_server(name="Unknown"), action="Originate") is None


def test_an_action_on_several_servers_is_what_holds_on_all() -> None:
    new, old = make_server(), make_server(name="Paris")
    make_catalogue("22.10.1", servers=[new])
    older = replace(
        MUTE,
        arguments=(
            Argument("Channel"),
            Argument("Direction", choices=("in", "all")),
            Argument("State", required=True),
        ),
    )
    make_catalogue("16.28.0", [older], servers=[old])
    described = services.action_describe(servers=[new, old], action="MuteAudio")
    assert described is not None
    assert {argument.name: argument.required for argument in described.arguments} == {
        "Channel": True,
        "Direction": True,
        "State": True,
    }
    direction = described.argument("Direction")
    assert direction is not None
    assert set(direction.choices) == {"in", "out", "all"}
    assert not direction.closed


def test_without_a_server_the_newest_catalogue_speaks() -> None:
    make_catalogue("9.9.9", [replace(PING, synopsis="Old.")])
    make_catalogue("22.10.1")
    make_catalogue("23.0.0", [replace(PING, synopsis="")], shipped=True)
    described = services.action_describe(action="ping")
    assert described is not None
    assert described.synopsis == PING.synopsis
    assert services.action_describe(action="Nonsense") is None


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["MuteAudio", "Originate", "Ping"]),
        ("orig", ["Originate"]),
        ("silence", ["MuteAudio"]),
        ("exten", ["Originate"]),
        ("CHANNEL", ["MuteAudio", "Originate"]),
        ("channel silence", ["MuteAudio"]),
        ("system", ["MuteAudio"]),
        ("a%", []),
        ("nonsense", []),
    ],
)
def test_actions_are_found_by_name_synopsis_argument_and_privilege(query: str, names: list[str]) -> None:
    make_catalogue(servers=[make_server()])
    assert [
        found.name for found in services.actions_search(servers=Server.objects.all(), query=query)
    ] == names


def test_the_best_hit_comes_first() -> None:
    actions = [replace(PING, name=name) for name in ("Aping", "PingPong", "Ping", "Other")]
    actions[-1] = replace(actions[-1], synopsis="A kind of ping.")
    make_catalogue(actions=actions, servers=[make_server()])
    found = services.actions_search(servers=Server.objects.all(), query="ping")
    assert [each.name for each in found] == ["Ping", "PingPong", "Aping", "Other"]


def test_a_search_says_how_many_servers_have_an_action() -> None:
    one, two = make_server(), make_server(name="Paris")
    make_catalogue("22.10.1", servers=[one])
    make_catalogue("16.28.0", [PING], servers=[two])
    online("Never read", version="16.1")
    everywhere = services.actions_search(servers=Server.objects.all(), limit=None)
    found = {each.name: (each.servers, each.of) for each in everywhere}
    assert found["Ping"] == (3, 3)
    assert found["MuteAudio"] == (2, 3)
    assert next(each.versions for each in everywhere if each.name == "Ping") == ("22.10.1", "16.28.0")
    assert [each.name for each in services.actions_search(servers=[two])] == ["Ping"]


def test_a_search_shows_nothing_of_servers_that_one_may_not_see() -> None:
    berlin, paris = make_server(), make_server(name="Paris")
    make_catalogue(servers=[berlin])
    make_catalogue("16.28.0", [PING], servers=[paris])
    viewer, other = make_person("viewer"), make_person("other")
    grant(viewer, "read", on=berlin)
    grant(other, "system", on=paris)
    assert len(services.actions_search(servers=servers_visible(user=viewer))) == 3
    found = services.actions_search(servers=servers_visible(user=other))
    assert [(each.name, each.of) for each in found] == [("Ping", 1)]
    assert services.actions_search(servers=servers_visible(user=make_person("stranger"))) == []


def test_a_search_of_many_servers_asks_the_database_no_more_often(
    django_assert_max_num_queries: Callable[..., object],
) -> None:
    make_catalogue(servers=[make_server(name=f"Nr {n}") for n in range(30)])
    with django_assert_max_num_queries(5):  # type: ignore[attr-defined]
        services.actions_search(servers=Server.objects.all(), query="p")


def test_events_are_described_by_the_newest_catalogue() -> None:
    server = make_server()
    make_catalogue("16.28.0")
    make_catalogue("22.10.1", servers=[server])
    assert services.events_describe()["Newchannel"].headers == ["Channel"]
    assert list(services.events_describe(servers=[server], names=["Newchannel", "Other"])) == ["Newchannel"]
    assert services.events_describe(names=["Other"]) == {}
