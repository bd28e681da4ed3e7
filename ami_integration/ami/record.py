"""Record a session: ``python -m ami_integration.ami.record HOST FILE --username NAME``.

The bytes are kept as they come from the socket, before our own parser could be mistaken about them; their
format is told in recording.py.
"""

from __future__ import annotations

import os
import shlex
import signal
import socket
import sys
import time
from collections.abc import Sequence

from ami_integration.ami.__main__ import AGREED, INTERRUPTED, fail
from ami_integration.ami.action import Action
from ami_integration.ami.arguments import (
    NoSecret,
    Parser,
    add_connection,
    read_headers,
    read_secret,
    timeouts_of,
    transport_of,
)
from ami_integration.ami.errors import AMIError, LoginTimeout, seconds
from ami_integration.ami.login import login_steps
from ami_integration.ami.messages import Event, Message, Reply, Response
from ami_integration.ami.protocol import CLOSED, NEED_DATA, Banner, Protocol
from ami_integration.ami.recording import Recording
from ami_integration.ami.session import (
    check_banner,
    lost,
    no_banner,
    no_login,
    peer_address,
    silent,
    watch_peer,
)
from ami_integration.ami.transports import Timeouts, Transport, connect, handshake, is_private, resolve

_READ = 256 * 1024
#: How often (seconds) a recorder that waits looks whether it shall end.
_LOOK_UP = 0.25


class Recorder:
    """An AMI session whose every byte goes into a recording.

    Args:
        transport: how to reach the PBX.
        recording: where the bytes go.
        timeouts: time limits in seconds.

    Attributes:
        events: how many came after the login.
    """

    def __init__(
        self, transport: Transport, recording: Recording, *, timeouts: Timeouts | None = None
    ) -> None:
        self.transport = transport
        self.timeouts = timeouts or Timeouts()
        self.events = 0
        self._recording = recording
        self._protocol = Protocol("client")
        self._sock: socket.socket | None = None
        self._peer = ""
        self._stopping = False

    def open(self, *, username: str, secret: str, events: str = "on") -> None:
        """Connect and log in.

        Raises:
            ConnectError, LoginError: as the clients do.
        """
        addresses = resolve(self.transport, self.timeouts.connect)
        sock = connect(self.transport, addresses, self.timeouts.connect)
        self._peer = peer_address(sock)
        watch_peer(sock, self.timeouts.keepalive)
        self._sock = handshake(self.transport, sock, self.timeouts.tls)
        self._read_banner()
        self._recording.hide(secret)
        deadline = time.monotonic() + self.timeouts.login
        private = is_private(self.transport, self._peer)
        steps = login_steps(username=username, secret=secret, events=events, private=private)
        try:
            action = next(steps)
            while True:
                self.send(action)
                action = steps.send(Reply([self._answer(action, deadline)]))
        except StopIteration:
            pass

    def send(self, action: Action) -> None:
        """Send an action; its answer is recorded when it comes.

        Raises:
            InvalidAction, ConnectionLost: it wasn't, or perhaps wasn't, sent.
        """
        data = action.encode()
        self._recording.sent(data)
        try:
            self._socket().sendall(data)
        except OSError as error:
            raise lost(self.transport, error, sent=True) from None

    def receive(self, timeout: float) -> list[Message] | None:
        """Read once.

        Args:
            timeout: seconds.

        Returns:
            the messages that became whole; an empty list when there are none, also after a silence; None at
            the end of the connection.
        """
        sock = self._socket()
        sock.settimeout(max(0.001, timeout))
        try:
            data = sock.recv(_READ)
        except TimeoutError:
            return []
        except OSError as error:
            raise lost(self.transport, error, sent=False) from None
        # First of all, and before our own parser could be mistaken about it.
        self._recording.received(data)
        self._protocol.receive_data(data)
        if not data:
            return None
        messages: list[Message] = []
        while (message := self._protocol.next_message()) is not NEED_DATA:
            if message is CLOSED:
                break
            messages.append(message)
            self.events += isinstance(message, Event)
        return messages

    def run(self, *, seconds: float | None = None, count: int | None = None) -> bool:
        """Record for so many seconds or events, until `stop` is called, or the PBX closes (then False)."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while not self._stopping and (count is None or self.events < count):
            left = _LOOK_UP if deadline is None else min(_LOOK_UP, deadline - time.monotonic())
            if left <= 0:
                break
            if self.receive(left) is None:
                return False
        return True

    def stop(self) -> None:
        """End `run` soon; a signal's handler may call it."""
        self._stopping = True

    def close(self) -> None:
        """Log off and close."""
        sock, self._sock = self._sock, None
        if sock is not None:
            with sock:
                try:
                    sock.settimeout(1.0)
                    goodbye = Action("Logoff").encode()
                    self._recording.sent(goodbye)
                    sock.sendall(goodbye)
                    while data := sock.recv(_READ):
                        self._recording.received(data)
                except OSError:
                    pass  # the connection was gone already

    def _socket(self) -> socket.socket:
        if self._sock is None:
            raise lost(self.transport, None, sent=False)
        return self._sock

    def _read_banner(self) -> None:
        deadline = time.monotonic() + self.timeouts.banner
        while (left := deadline - time.monotonic()) > 0:
            messages = self.receive(left)
            if messages is None:
                raise no_banner(self.transport)
            if messages:
                check_banner(self.transport, messages[0])
                return
        if greeting := self._protocol.unread:
            check_banner(self.transport, Banner.from_raw(greeting))
        raise silent(self.transport, self.timeouts.banner)

    def _answer(self, action: Action, deadline: float) -> Response:
        while (left := deadline - time.monotonic()) > 0:
            messages = self.receive(left)
            if messages is None:
                raise no_login(self.transport)
            for message in messages:
                if isinstance(message, Response) and message.action_id in (action.action_id, None):
                    return message
        raise LoginTimeout(f"{self.transport} didn't answer the login within {seconds(self.timeouts.login)}.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code (those of ``python -m ami_integration.ami``)."""
    parser = _parser()
    options = parser.parse_intermixed_args(arguments)
    try:
        actions = [_action(text) for text in options.action]
        transport = transport_of(options)
        secret = read_secret(options)
        # Readable by its owner alone: it tells who called whom.
        file = open(os.open(options.file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")  # noqa: SIM115
    except FileExistsError:
        parser.error(f"{options.file} exists already: choose another name")
    except (OSError, ValueError, NoSecret) as error:
        parser.error(str(error))
    with file, Recording(file, host=str(transport)) as recording:
        recorder = Recorder(transport, recording, timeouts=timeouts_of(options))
        code = INTERRUPTED
        try:
            recorder.open(username=options.username, secret=secret, events=options.events)
            # An exception between reading bytes and keeping them would lose them, so from now on a signal
            # only says that it is time.
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda number, frame: recorder.stop())
            code = AGREED
            for action in actions:
                recorder.send(action)
            if not recorder.run(seconds=options.seconds, count=options.count):
                print(f"{transport} closed the connection.", file=sys.stderr)
        except KeyboardInterrupt:
            pass  # before there was anything to keep
        except AMIError as error:
            code = fail(error, transport)
        finally:
            recorder.close()
    if recording.empty:
        os.unlink(options.file)  # so that the next attempt may have the name
        return code
    print(f"{recorder.events} events, {os.path.getsize(options.file)} bytes in {options.file}")
    return code


def _action(text: str) -> Action:
    words = shlex.split(text)
    if not words:
        raise ValueError("an --action needs a name")
    action = Action(words[0], read_headers(words[1:]))
    action.encode()
    return action


def _parser() -> Parser:
    parser = Parser(
        prog="python -m ami_integration.ami.record",
        description="Record every byte that a PBX sends over AMI, with its time and without secrets.",
        epilog="Ends with Ctrl-C, or as --seconds or --count say. The recording holds callers' names and "
        "numbers. The account's secret comes from the environment variable AMI_SECRET, and the SSH server's "
        "password from AMI_SSH_PASSWORD, or they are asked for. Exit codes: those of "
        "python -m ami_integration.ami.",
    )
    add_connection(parser)
    parser.add_argument("file", metavar="FILE", help="a new file")
    parser.add_argument(
        "--events", default="on", metavar="CLASSES", help='"on" (default), "call,agent", "off"'
    )
    parser.add_argument(
        "--action", action="append", default=[], metavar='"NAME Key=Value …"', help="run it first"
    )
    parser.add_argument("--seconds", type=float, help="record for so long")
    parser.add_argument("--count", type=int, help="record so many events")
    return parser


if __name__ == "__main__":
    sys.exit(main())
