from __future__ import annotations

import threading

from ami_integration.ami import AMIClient
from tests.ami.conftest import QUICK
from tests.ami.scripted import Peer, scripted


def test_events_that_nobody_reads_are_dropped_oldest_first_and_counted() -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        ping = peer.hear()
        peer.say(b"".join(b"Event: E%d\r\n\r\n" % n for n in range(10)))
        peer.answer(ping)
        peer.hear()

    with (
        scripted(script) as pbx,
        AMIClient(pbx, username="u", secret="s", events="on", timeouts=QUICK, max_events=3) as client,
    ):
        client.action("Ping")
        assert [event.name for event in client.events(timeout=0.05)] == ["E7", "E8", "E9"]
        assert client.dropped == 7


def test_threads_take_turns_on_one_session() -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        for _ in range(20):
            action = peer.hear()
            peer.answer(action, f"Echo: {action.get('N')}")
        peer.hear()

    answers: dict[int, str | None] = {}
    with scripted(script) as pbx, AMIClient(pbx, username="u", secret="s", timeouts=QUICK) as client:

        def ask(number: int) -> None:
            answers[number] = client.action("Echo", {"N": number}).response.get("Echo")

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    assert answers == {number: str(number) for number in range(20)}


def test_closing_says_goodbye() -> None:
    heard = []

    def script(peer: Peer) -> None:
        peer.log_in()
        heard.append(peer.hear().name)

    with scripted(script) as pbx, AMIClient(pbx, username="u", secret="s", timeouts=QUICK):
        pass
    assert heard == ["Logoff"]
