"""What concerns the blocking client alone: threads, forks, and reading only while it is used."""

from __future__ import annotations

import os
import threading

import pytest

from ami_integration.ami import AMIClient, AMIError, ConnectionLost
from tests.ami.conftest import QUICK
from tests.ami.scripted import Peer, scripted
from tests.polling import wait_until


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


def test_the_handshake_may_be_left_out_where_there_is_none() -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        peer.answer(peer.hear())

    with scripted(script) as pbx:
        client = AMIClient(pbx, username="u", secret="s", timeouts=QUICK)
        client.resolve()
        assert client.open_tcp() == "127.0.0.1"
        assert client.read_banner().ami_version
        client.login()
        assert client.action("Ping").success
        client.close()


def test_the_steps_that_need_a_connection_say_that_there_is_none() -> None:
    with scripted(lambda peer: None) as pbx:
        client = AMIClient(pbx, username="u", secret="s", timeouts=QUICK)
        for step in (client.open_tls, client.read_banner, client.login):
            with pytest.raises(AMIError):
                step()
        assert not client.connected


def test_events_that_were_taken_and_not_used_come_again() -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        peer.say(b"".join(b"Event: E%d\r\n\r\n" % n for n in range(5)))
        peer.hear()

    with (
        scripted(script) as pbx,
        AMIClient(pbx, username="u", secret="s", events="on", timeouts=QUICK) as client,
    ):
        for event in client.events(timeout=1):
            if event.name == "E1":
                break
        assert [event.name for event in client.events(timeout=0.05)] == ["E2", "E3", "E4"]


def test_an_action_of_one_thread_needn_t_wait_for_the_events_of_another() -> None:
    listening = threading.Event()
    heard: list[str] = []

    def script(peer: Peer) -> None:
        peer.log_in()
        peer.say(b"Event: First\r\n\r\n")
        peer.answer(peer.hear())
        peer.say(b"Event: Last\r\n\r\n")
        peer.hear()

    with (
        scripted(script) as pbx,
        AMIClient(pbx, username="u", secret="s", events="on", timeouts=QUICK) as client,
    ):

        def listen() -> None:
            for event in client.events():
                heard.append(event.name)
                listening.set()
                if event.name == "Last":
                    return

        thread = threading.Thread(target=listen)
        thread.start()
        assert listening.wait(10)
        # Nothing comes by itself any more: the listener waits, and this one isn't kept from sending.
        assert client.action("Ping").success
        thread.join(10)
    assert heard == ["First", "Last"]


def test_callbacks_are_called_while_it_listens() -> None:
    seen: list[str] = []

    def script(peer: Peer) -> None:
        peer.log_in()
        peer.say(b"".join(b"Event: E%d\r\n\r\n" % n for n in range(3)))
        peer.hear()

    with (
        scripted(script) as pbx,
        AMIClient(pbx, username="u", secret="s", events="on", timeouts=QUICK, max_events=0) as client,
    ):
        client.subscribe(callback=lambda event: seen.append(event.name))
        client.listen(timeout=0.2)
        assert seen == ["E0", "E1", "E2"]
        assert client.dropped == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system can't fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_process_leaves_the_session_to_its_parent() -> None:
    """As in a prefork worker that inherits a client, even one whose lock another thread held."""

    def script(peer: Peer) -> None:
        peer.log_in()
        while True:
            peer.answer(peer.hear())

    held, release = threading.Event(), threading.Event()
    with scripted(script) as pbx, AMIClient(pbx, username="u", secret="s", timeouts=QUICK) as client:

        def hold() -> None:
            with client._lock:
                held.set()
                release.wait(10)

        holder = threading.Thread(target=hold)
        holder.start()
        assert held.wait(10)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                try:
                    client.action("Ping")
                except ConnectionLost as error:
                    status = 0 if not error.sent and "parent" in str(error) else 2
                client.close()
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        release.set()
        holder.join(10)
        assert os.waitstatus_to_exitcode(status) == 0
        assert client.action("Ping").success


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system can't fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_process_can_connect_by_itself() -> None:
    def script(peer: Peer) -> None:
        peer.log_in()
        while True:
            peer.answer(peer.hear())

    with scripted(script, script) as pbx:
        client = AMIClient(pbx, username="u", secret="s", timeouts=QUICK)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                client.connect()
                status = 0 if client.action("Ping").success else 2
                client.close()
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        client.connect()
        assert client.action("Ping").success
        client.close()


def test_a_session_says_whether_it_is_open_without_sending_anything() -> None:
    ends = threading.Event()
    heard: list[str] = []

    def script(peer: Peer) -> None:
        peer.log_in()
        heard.append(peer.hear().name)
        peer.answer(peer.seen[-1])
        ends.wait(10)

    with scripted(script) as pbx:
        client = AMIClient(pbx, username="u", secret="s", timeouts=QUICK)
        assert not client.alive()
        client.connect()
        assert client.alive()
        client.action("Ping")
        ends.set()
        wait_until(lambda: not client.alive(), seconds=10, what="the end has arrived")
        assert not client.connected
    assert heard == ["Ping"]
