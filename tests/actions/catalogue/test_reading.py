"""Tests of ami_integration/actions/catalogue/reading.py; tests/pbx/test_catalogue.py reads real PBXs."""

from __future__ import annotations

from ami_integration.actions.catalogue.reading import abilities_parse, pbx_read
from ami_integration.ami import AMIClient
from tests.ami.scripted import Peer, scripted


def test_what_a_login_may_run_is_read_with_its_privileges() -> None:
    headers = [
        ("Response", "Success"),
        ("ActionID", "1"),
        ("Hangup", "Ends it.  (Priv: system,call,all)"),
        ("Ping", "Answers.  (Priv: <none>)"),
        ("Odd", "Has (brackets) of its own.  (Priv: call,all) "),
        ("Message", "no action"),
        ("Nothing", "without privileges"),
    ]
    assert abilities_parse(headers) == {"Hangup": "system,call,all", "Ping": "<none>", "Odd": "call,all"}


def test_names_that_the_pbx_cuts_are_completed_and_what_has_no_page_is_named() -> None:
    """A PBX whose tables are narrow, with one event that has no page at all."""
    asked: list[str] = []
    pages = {
        "manager show commands": ["  Action  Synopsis", "  ------  --------", "  Jug     Throw."],
        "manager show events": ["Events:", "  -----", "  Appla   ", "  Ghost   ", "  ;rm -rf ", ""],
        "manager show command Juggle": ["[Syntax]", "Action: Juggle", "Artist: <value>"],
        "manager show event Applause": ["[Syntax]", "Event: Applause", "Volume: <value>"],
        '_command matchesarray "manager show command Jug" "Jug"': ["Juggle Juggle _EOF_"],
        '_command matchesarray "manager show event Appla" "Appla"': ["Applause Applause _EOF_"],
    }

    def script(peer: Peer) -> None:
        peer.log_in()
        peer.answer(peer.hear(), "AsteriskVersion: 22.0.0")
        peer.answer(peer.hear(), "Command: Run a command. (Priv: command,all)")
        while (action := peer.hear()).name == "Command":
            line = action.get("Command") or ""
            asked.append(line)
            output = pages.get(line, ["No such thing"])
            peer.answer(action, "Message: Command output follows", *(f"Output: {one}" for one in output))

    with scripted(script) as pbx, AMIClient(pbx, username="amiweb", secret="word") as client:
        reading = pbx_read(client)
    assert [action.name for action in reading.actions] == ["Juggle"]
    assert [event.name for event in reading.events] == ["Applause"]
    assert reading.unread == ("Command", "Ghost", "-rf")
    assert not any(";" in line for line in asked)
