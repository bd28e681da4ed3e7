"""The recorded stream: what an Asterisk 22 sends to one session while a company makes its calls.

It is recorded by the project's own recorder (`ami_integration.ami.record`) and kept as its recording beside
the provisioned Asterisks, since it takes half a minute to make. What is played of it (tests/bench/server.py)
are the bytes as they came, from after the login's answer on.

The calls are those of a PBX at work: most are answered, talked and hung up, some are busy, unanswered or
held, some wait in a queue or talk in a conference, with the dialplan's variables round them all
(`company` and `office` in tests/pbx/conf/extensions.conf). The session asks for every class but `reporting`:
nothing comes in it here but TestEvent, which only a build for developers sends, as Debian's is.
"""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import os
import re
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from ami_integration.ami import TCP, AMIClient
from ami_integration.ami.record import Recorder
from ami_integration.ami.recording import NotARecording, Recording, read_recording
from tests.bench import wants_disk
from tests.pbx import asterisk as pbx
from tests.pbx import provision

#: What an event of the mixture takes at most in a recording, on average.
EVENT_BYTES = 500
#: Calls a second, and how often (seconds) some are begun.
PACE = 40
STEP = 0.1
#: Streams that nobody used for so long (seconds) are removed: a recipe that has changed leaves its own.
UNUSED = 7 * 86_400

CLASSES = (
    "system,call,log,verbose,command,agent,user,config,dtmf,cdr,dialplan,originate,agi,cc,aoc,security,"
    "message"
)
#: Who is called, and what the caller does once somebody answers; then the caller hangs up.
CALLS = (
    ("2001", "Wait", "1"),
    ("queue", "Wait", "2"),
    ("2002", "SendDTMF", "4711#"),
    ("2003", "Wait", "2"),
    ("2901", "Wait", "1"),  # busy
    ("2004", "Wait", "1"),
    ("answer", "Wait", "5"),  # the called hangs up first
    ("2702", "Wait", "1.5"),  # holds the caller and comes back
    ("2005", "Wait", "1"),
    ("queue", "SendDTMF", "1w2"),
    ("2801", "Wait", "1"),  # unanswered: the caller gives up
    ("2006", "Wait", "1.5"),
    ("conference", "Wait", "1"),
    ("2007", "Wait", "1"),
    ("sales", "Wait", "2"),  # a queue where nobody answers
    ("userevent", "Wait", "1"),
)
RECIPE = hashlib.sha256(
    b"".join(path.read_bytes() for path in (Path(__file__), *sorted(pbx.CONF.glob("*.conf"))))
).hexdigest()[:8]


class Broken(Exception):
    """The file isn't a whole stream."""


def recorded_stream(asterisk: pbx.Asterisk, events: int) -> Path:
    """A recording with that many real events at least; made if there is no whole one of this recipe yet."""
    folder = provision.pbx_folder()
    path = folder / f"bench-{asterisk.version}-{events}-{RECIPE}.ami"
    with open(folder / "bench.lock", "a") as lock:  # another run may be recording it
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_whole(path, events):
            wants_disk(folder, events * EVENT_BYTES, f"the stream of {events:,} recorded events")
            part = path.with_suffix(".part")
            with part.open("wb") as file:
                _record(asterisk, events, Recording(file, host=str(TCP(asterisk.host, asterisk.port))))
                file.flush()
                os.fsync(file.fileno())
            if not is_whole(part, events):
                raise Broken(f"{part}: the recording has no {events:,} events, or no end")
            part.replace(path)
        os.utime(path)
        for other in folder.glob("bench-*"):
            if time.time() - other.stat().st_mtime > UNUSED:
                other.unlink()
    return path


def is_whole(path: Path, events: int) -> bool:
    """Whether the file is a recording that goes on to its session's end and holds so many events."""
    try:
        return count_events(read_stream(path)) >= events
    except (OSError, NotARecording, Broken):
        return False


def read_stream(path: Path) -> bytes:
    """The bytes that came between the login's answer and the goodbye: events, each whole.

    Raises:
        Broken: it has no such beginning or end.
        NotARecording: it is no recording.
    """
    received = b"".join(
        segment.data for segment in read_recording(BytesIO(path.read_bytes())) if not segment.sent
    )
    found = re.search(rb"Message: Authentication accepted\r\n\r\n", received)
    goodbye = received.rfind(b"Response: Goodbye\r\n")
    if not found or goodbye < 0:
        raise Broken(f"{path} doesn't go from a login to a goodbye")
    return received[found.end() : goodbye]


def count_events(stream: bytes) -> int:
    return len(re.findall(rb"(?m)^Event: ", stream))


def _record(asterisk: pbx.Asterisk, events: int, recording: Recording) -> None:
    username, secret = asterisk.users["admin"]
    transport = TCP(asterisk.host, asterisk.port)
    recorder = Recorder(transport, recording)
    with recording, AMIClient(transport, username=username, secret=secret) as client:
        recorder.open(username=username, secret=secret, events=CLASSES)
        calls = _calls()
        due = time.monotonic()
        try:
            while recorder.events < events:
                if time.monotonic() >= due:
                    due += STEP
                    for call in itertools.islice(calls, int(PACE * STEP)):
                        client.action("Originate", call)
                recorder.receive(STEP / 2)
        finally:
            recorder.close()


def _calls() -> Iterator[dict[str, str | list[str]]]:
    """Originate's headers, call after call, the same ones at each recording."""
    for number, (exten, application, data) in enumerate(itertools.cycle(CALLS)):
        yield {
            "Channel": f"Local/{exten}@company",
            "Application": application,
            "Data": data,
            "CallerID": f'"Caller {number % 400}" <{1000 + number % 400}>',
            "Variable": [f"CALL_NUMBER={number}", "CAMPAIGN=spring"],
            "Timeout": "1500",
            "Async": "true",
        }
