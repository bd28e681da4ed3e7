"""What the steps of an import hand on through the page."""

from __future__ import annotations

import json
import zlib
from unittest import mock

import pytest
from django.contrib.auth.models import User

from ami_integration.secrets.encryption import Secret
from ami_integration.servers import carried as room
from ami_integration.servers.carried import LASTS, CarriedLost, brought_back, carried

ADA, BOB = User(pk=1, username="ada"), User(pk=2, username="bob")
DATA = {"accounts": [{"username": "amiweb", "secret": "gr8-s3cret-word"}]}


def test_it_comes_back_as_it_was_and_is_readable_to_nobody() -> None:
    text = carried(DATA, kind="csv", user=ADA)
    assert brought_back(text, kind="csv", user=ADA) == DATA
    assert "gr8" not in text and "gr8" not in bytes(text, "ascii").hex()


@pytest.mark.parametrize("broken", ["", "x", "k:gAAAA", "\x00", "[]", "a" * (room.LONGEST + 1)])
def test_rubbish_is_refused_in_a_sentence(broken: str) -> None:
    with pytest.raises(CarriedLost, match="came back damaged. Begin again; nothing was saved"):
        brought_back(broken, kind="csv", user=ADA)


def test_a_changed_letter_a_cut_end_and_another_text_of_the_ring_are_refused() -> None:
    text = carried(DATA, kind="csv", user=ADA)
    changed = text[:-40] + ("A" if text[-40] != "A" else "B") + text[-39:]
    for broken in (text[:-4], changed):
        with pytest.raises(CarriedLost):
            brought_back(broken, kind="csv", user=ADA)
    stored_secret = Secret.from_plain("a secret of a server").token
    with pytest.raises(CarriedLost, match="damaged"):
        brought_back(stored_secret, kind="csv", user=ADA)


def test_nobody_else_and_no_other_page_can_use_it() -> None:
    text = carried(DATA, kind="csv", user=ADA)
    for kind, user in (("csv", BOB), ("manager.conf", ADA)):
        with pytest.raises(CarriedLost, match="made for somebody else"):
            brought_back(text, kind=kind, user=user)


def test_it_opens_for_half_an_hour() -> None:
    with mock.patch.object(room.time, "time", return_value=1_000_000.0):
        text = carried(DATA, kind="csv", user=ADA)
    with mock.patch.object(room.time, "time", return_value=1_000_000.0 + LASTS - 1):
        assert brought_back(text, kind="csv", user=ADA) == DATA
    for later in (LASTS + 1, -60):
        with (
            mock.patch.object(room.time, "time", return_value=1_000_000.0 + later),
            pytest.raises(CarriedLost, match="waited for more than 30 minutes"),
        ):
            brought_back(text, kind="csv", user=ADA)


def test_it_unfolds_to_no_more_than_a_bound() -> None:
    bomb = zlib.compress(json.dumps(["csv", 1, 0, "x" * 9_000_000]).encode(), 9)
    with pytest.raises(CarriedLost, match="damaged"):
        brought_back(Secret.from_plain(bomb.hex()).token, kind="csv", user=ADA)
