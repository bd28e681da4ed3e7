"""Channel variables with everything that Asterisk's parser takes apart arrive as they were given."""

from __future__ import annotations

import pytest

from ami_integration.ami import TCP, Action, AMIClient
from tests.pbx.asterisk import Asterisk

NASTY = [
    "a,b,c",
    'say "hello"',
    "C:\\dir\\file",
    "f(x),g[y]",
    "(unbalanced",
    "]}{[",
    '\\"',
    "a=b=c",
    "Käse; 日本 | ~",
    "${NOT_EXPANDED}",
    "x" * 500,
]


@pytest.mark.parametrize("value", NASTY)
def test_a_variable_of_an_originate_arrives_as_it_was_given(asterisk: Asterisk, value: str) -> None:
    username, secret = asterisk.users["admin"]
    transport = TCP(asterisk.host, asterisk.port)
    with AMIClient(transport, username=username, secret=secret, events="call") as client:
        headers = {"Channel": "Local/hold@phones", "Application": "Wait", "Data": "5", "Async": "true"}
        action = Action("Originate", headers, variables={"FIRST": "1", "NASTY": value, "LAST": "2"})
        assert client.action(action).success
        channel = next(
            event.get("Channel", "")
            for event in client.events(timeout=10)
            if event.name == "OriginateResponse" and event.action_id == action.action_id
        )
        read = {
            name: client.action("Getvar", {"Channel": channel, "Variable": name}).response.get("Value")
            for name in ("FIRST", "NASTY", "LAST")
        }
        client.action("Hangup", {"Channel": channel})
    assert read == {"FIRST": "1", "NASTY": value, "LAST": "2"}
