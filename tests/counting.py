"""PBXs that send numbered events at a given pace: ``python -m tests.counting`` (see `main`).

What is lost between a PBX's socket and a row of the database shows as a missing number. One process plays
any number of PBXs on one port; an account's name says which one is meant, and each account counts for
itself. With a pace an account's numbers follow the clock, as a PBX's events do: what happens while nobody is
connected is never sent. Its events look like those of calls and carry the moment at which they were sent.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from amiweb.keeper import die_with_parent
from tests.bench.server import ANSWERS, BANNER

ROOT = Path(__file__).resolve().parent.parent
#: Seconds between two writes of an account with a pace.
STEP = 0.02
#: Events of one write without a pace.
BURST = 200
#: Events that belong to one call, by their Linkedid.
CALL = 20

#: Kinds of events of a call, of the usual size; each is kept by default.
NAMES = (
    b"Newchannel", b"Newstate", b"NewConnectedLine", b"DialBegin", b"DialState", b"BridgeEnter",
    b"BridgeLeave", b"DialEnd", b"Hangup", b"Newstate",
)  # fmt: skip
BODY = (
    b"Privilege: call,all\r\nChannel: PJSIP/1%03d-%08x\r\nChannelState: 6\r\nChannelStateDesc: Up\r\n"
    b"CallerIDNum: 1%03d\r\nCallerIDName: Desk 1%03d\r\nConnectedLineNum: 0301234%03d\r\n"
    b"ConnectedLineName: <unknown>\r\nLanguage: en\r\nAccountCode: acme\r\nContext: internal\r\n"
    b"Exten: 1%03d\r\nPriority: 3\r\nUniqueid: 1790000000.%d\r\nLinkedid: 1790000000.%d\r\n"
)
#: What is no message, is half of one, isn't UTF-8, or pretends to be an answer.
RUBBISH = (
    b"\r\n\r\n\x00\xff\xfe not a header\r\n\r\nEvent\r\n\r\n: no name\r\n\r\nResponse: Success\r\nActionID: "
    b"nobody's\r\n\r\nEvent: Nonsense\r\nChannel: \xc3\x28\x00\r\n" + b"X" * 5000 + b"\r\n\r\n"
)


def event(number: int, now: int) -> bytes:
    """Event `number` of an account; `now` is in ms since 1970."""
    call, desk = number // CALL, number % 1000
    head = b"Event: %s\r\n" % NAMES[number % len(NAMES)]
    body = BODY % (desk, call, desk, desk, desk, desk, number, call * CALL)
    return head + body + b"Value: %d\r\nNumber: %d\r\n\r\n" % (now, number)


class Account:
    """One PBX's count."""

    def __init__(self, pace: float, most: int, first: int) -> None:
        self.pace = pace
        self.most = most
        self.number = self._first = first  # the next one's
        self.sent = 0
        self.stopped = False
        self.telling: asyncio.Task[None] | None = None  # the newest session's
        self._began: float | None = None

    def due(self) -> range:
        """The numbers of what happens now; those that nobody heard of are skipped by `skip`."""
        if self.stopped:
            return range(self.number, self.number)
        end = self.number + BURST
        if self.pace:
            self._began = self._began or time.monotonic()
            end = self._first + int((time.monotonic() - self._began) * self.pace)
        return range(self.number, max(self.number, min(end, self.most or end)))

    def skip(self) -> None:
        """What has happened meanwhile happened unheard."""
        if self.pace and self._began is not None:
            self.number = self.due().stop


class Counting:
    """The process, as tests hold it.

    Args:
        pace: events a second of each account; 0: as fast as they are taken.
        most: the last number, exclusive; 0: no end.
        port: 0 for a free one.
        first: the first number.
    """

    def __init__(self, *, pace: float, most: int = 0, port: int = 0, first: int = 0) -> None:
        command = [sys.executable, "-m", "tests.counting", str(port), str(pace), str(most), str(first)]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            preexec_fn=die_with_parent,
        )  # fmt: skip
        self.port = int(self._answer())

    def _answer(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"tests.counting ended with {self.process.wait()}"
        return line

    def ask(self, word: str) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        return json.loads(self._answer())

    def counts(self) -> dict[str, int]:
        """By account: the next number, so how many have happened."""
        found: dict[str, int] = self.ask("counts")
        return found

    def sent(self) -> dict[str, int]:
        """By account: how many were handed to a socket."""
        found: dict[str, int] = self.ask("sent")
        return found

    def heard(self) -> dict[str, int]:
        """What clients have cost so far: "sessions" there are now, "accepted" ones, and each action by name,
        in lower case.
        """
        found: dict[str, int] = self.ask("heard")
        return found

    def stop(self) -> dict[str, int]:
        """Nothing happens any more; the sessions stay. By account: how many have happened."""
        found: dict[str, int] = self.ask("stop")
        return found

    def rubbish(self) -> None:
        """Send what no PBX ought to, between two events."""
        self.ask("rubbish")

    def cut(self) -> int:
        """Cut all connections, and take no new ones until `heal`. How many there were."""
        return int(self.ask("cut"))

    def heal(self) -> None:
        self.ask("heal")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.communicate()


class Site:
    """All PBXs of this process."""

    def __init__(self, port: int, pace: float, most: int, first: int) -> None:
        self.port = port
        self.accounts: defaultdict[str, Account] = defaultdict(lambda: Account(pace, most, first))
        self.writers: set[asyncio.StreamWriter] = set()
        self.server: asyncio.Server | None = None
        self.heard: Counter[str] = Counter()

    async def open(self) -> None:
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", self.port, backlog=1024)
        self.port = self.server.sockets[0].getsockname()[1]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.add(writer)
        self.heard["accepted"] += 1
        telling: asyncio.Task[None] | None = None
        try:
            writer.write(BANNER)
            while True:
                message = await reader.readuntil(b"\r\n\r\n")
                headers = dict(
                    line.split(b":", 1)
                    for line in message.decode("latin-1").lower().encode().splitlines()
                    if line
                )
                name = headers[b"action"].strip()
                self.heard[name.decode()] += 1
                given = next(
                    (line for line in message.split(b"\r\n") if line.lower().startswith(b"actionid:")), b""
                )
                action_id = given + b"\r\n" if given else b""
                if name in ANSWERS:
                    writer.write(ANSWERS[name] % action_id)
                elif name in (b"ping", b"events"):
                    writer.write(b"Response: Success\r\n%sPing: Pong\r\n\r\n" % action_id)
                else:
                    writer.write(b"Response: Error\r\n%sMessage: Permission denied\r\n\r\n" % action_id)
                if name == b"login":
                    writer.write(
                        b"Event: FullyBooted\r\nPrivilege: system,all\r\nStatus: Fully Booted\r\n\r\n"
                    )
                    if headers.get(b"events", b"on").strip() != b"off":
                        account = self.accounts[headers[b"username"].strip().decode()]
                        if account.telling is not None:
                            # Its connection may be one that nobody has noticed to be dead.
                            account.telling.cancel()
                        account.skip()
                        telling = account.telling = asyncio.create_task(self.tell(account, writer))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has gone
        finally:
            if telling is not None:
                telling.cancel()
            self.writers.discard(writer)
            writer.close()

    async def tell(self, account: Account, writer: asyncio.StreamWriter) -> None:
        while not writer.is_closing():
            due = account.due()
            now = int(time.time() * 1000)
            account.number = due.stop
            if due:
                writer.write(b"".join([event(number, now) for number in due]))
                try:
                    await writer.drain()
                except ConnectionError:
                    return
                account.sent += len(due)
            if account.pace or not due:
                await asyncio.sleep(STEP)

    async def obey(self, word: str) -> Any:
        if word == "cut":
            assert self.server is not None
            self.server.close()
            number = len(self.writers)
            for writer in self.writers:
                writer.transport.abort()
            return number
        if word == "rubbish":
            for writer in self.writers:
                writer.write(RUBBISH)
            return len(self.writers)
        if word == "heal":
            await self.open()
            return True
        if word == "stop":
            for account in self.accounts.values():
                account.stopped = True
        if word == "heard":
            return {"sessions": len(self.writers), **self.heard}
        if word == "sent":
            return {name: account.sent for name, account in self.accounts.items()}
        if word == "stop":
            return {name: account.number for name, account in self.accounts.items()}
        return {
            name: account.due().stop if account.pace else account.number
            for name, account in self.accounts.items()
        }


async def main() -> None:
    """Print the port, then answer words on stdin (see `Counting`) with a line of JSON each, until its end."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("pace", type=float)
    parser.add_argument("most", type=int)
    parser.add_argument("first", type=int)
    given = parser.parse_args()
    site = Site(given.port, given.pace, given.most, given.first)
    await site.open()
    print(site.port, flush=True)
    while word := await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(await site.obey(word.strip())), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
