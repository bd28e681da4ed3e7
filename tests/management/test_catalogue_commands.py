"""`manage.py sync_catalogue` and `manage.py build_catalogue`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from ami_integration.actions.catalogue.models import ServerCatalogue
from ami_integration.actions.catalogue.shipped import FOLDER, shipped_majors
from ami_integration.ami import TCP
from ami_integration.servers.models import Server
from ami_integration.simulator import Account
from ami_integration.simulator.wire import classes_from_text
from tests.servers.factories import make_server
from tests.simulator.fixtures import Simulator

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("valkey")]  # a session takes a lease


def server_at(simulator: Simulator, name: str = "Berlin", **values: object) -> Server:
    account = {"username": simulator.username, "secret": simulator.secret}
    return make_server(TCP(simulator.host, simulator.port), name=name, **{**account, **values})


def run(*arguments: str) -> tuple[str, str]:
    out, err = StringIO(), StringIO()
    call_command(*arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


# sync_catalogue


def test_named_servers_are_read(simulator: Simulator) -> None:
    berlin, paris = server_at(simulator), server_at(simulator, "Paris")
    out, _ = run("sync_catalogue", "Berlin")
    assert out.startswith("Berlin: its login may run ")
    assert "a new catalogue, Asterisk 22." in out
    assert list(ServerCatalogue.objects.values_list("server", flat=True)) == [berlin.pk]
    run("sync_catalogue", "--all")
    assert ServerCatalogue.objects.filter(server=paris, catalogue__isnull=False).exists()


@pytest.mark.parametrize("arguments", [[], ["Berlin", "--all"]])
def test_either_servers_or_all_have_to_be_named(arguments: list[str]) -> None:
    with pytest.raises(CommandError, match="--all"):
        run("sync_catalogue", *arguments)


def test_a_server_that_there_is_not_is_told_before_any_is_read(simulator: Simulator) -> None:
    server_at(simulator)
    with pytest.raises(CommandError, match="Atlantis"):
        run("sync_catalogue", "Berlin", "Atlantis")
    assert not ServerCatalogue.objects.exists()


def test_a_server_that_fails_does_not_keep_others_from_being_read(simulator: Simulator) -> None:
    make_server(TCP("127.0.0.1", 1), name="Atlantis")
    berlin = server_at(simulator)
    err = StringIO()
    with pytest.raises(CommandError, match="1 of 2"):
        call_command("sync_catalogue", "--all", stdout=StringIO(), stderr=err)
    assert "Atlantis: " in err.getvalue()
    assert ServerCatalogue.objects.filter(server=berlin, catalogue__isnull=False).exists()


# build_catalogue


def test_a_catalogue_is_built_from_a_server(simulator: Simulator, tmp_path: Path) -> None:
    server_at(simulator)
    out, _ = run("build_catalogue", "Berlin", "--folder", str(tmp_path))
    assert "22.json" in out
    data = json.loads((tmp_path / "22.json").read_text())
    assert data["asterisk_version"] == "22.10.1"
    originate = next(action for action in data["actions"] if action["name"] == "Originate")
    assert {"name": "Channel", "required": True}.items() <= originate["arguments"][0].items()
    assert not has_sentences(data)


def test_a_login_without_command_builds_nothing(
    make_simulator: Callable[..., Simulator], tmp_path: Path
) -> None:
    simulator = make_simulator(accounts=[Account("poor", "word", write=classes_from_text("call"))])
    server_at(simulator, username="poor", secret="word")
    with pytest.raises(CommandError, match="may not run Command"):
        run("build_catalogue", "Berlin", "--folder", str(tmp_path))
    with pytest.raises(CommandError, match="no server named"):
        run("build_catalogue", "Atlantis")
    make_server(TCP("127.0.0.1", 1), name="Down")
    with pytest.raises(CommandError, match="Down: "):
        run("build_catalogue", "Down")
    assert list(tmp_path.iterdir()) == []


def texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, each in value.items():
            yield from texts(each, name)
    elif isinstance(value, list):
        for each in value:
            yield from texts(each, key)
    elif isinstance(value, str):
        yield key, value


def has_sentences(data: Any) -> list[tuple[str, str]]:
    """What in a shipped catalogue is more than names and numbers: three words in a row are, to be sure."""
    return [
        (key, text)
        for key, text in texts(data)
        if len(text.split()) > (3 if key == "see_also" else 2) and key != "since"
    ]


@pytest.mark.parametrize("number", [16, 22])
def test_no_sentence_of_asterisks_documentation_is_shipped(number: int) -> None:
    assert number in shipped_majors()
    data = json.loads((FOLDER / f"{number}.json").read_text())
    assert len(data["actions"]) > 120
    assert len(data["events"]) > 140
    assert has_sentences(data) == []
    keys = {key for key, _ in texts(data)}
    assert not keys & {"synopsis", "description", "text", "choice_texts", "sections", "syntax"}
