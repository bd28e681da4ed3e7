"""A PBX that attacks whoever listens to it, by every field that it may fill.

It keeps to AMI's form, or nobody would listen, and answers whatever it is asked: with scripts, formulas,
control characters and the names of files, as names and as values.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator
from pathlib import Path

from ami_integration.ami import TCP, TLS, Message
from tests.ami.scripted import Peer, served
from tests.browser.everything import SCRIPT
from tests.certificates import make_certificates

#: What a value ends in. CR and LF would end it, so what follows them here is a header of its own.
WORDS = (
    SCRIPT,
    "=cmd|'/c calc'!A1",
    "+1+cmd",
    "-1-cmd",
    "@SUM(1+1)",
    "\t=1+1",
    "a;=1+1",
    "\uff1d1+1",
    "../../etc/passwd",
    "CON",
    "C:\\con\\con",
    '"; filename="evil.html',
    "\x1b]0;owned\x07\x1b[2J\x1b[31m",
    "2026-01-01T00:00:00.000Z ERROR 1 ami: forged\x85\u2028\u2029forged\u202e",
    "\x00\x01\x7f\u200f\ufeff",
)
EVIL = "".join(WORDS)
#: A byte that begins no character, in the middle of one.
BROKEN = b"\xff\xc3(\xed\xa0\x80"
LARGE = 1_000_000  # bytes of one value


def event(name: str, *headers: tuple[str, str]) -> bytes:
    lines = [f"Event: {name}", "Privilege: call,all", *(f"{key}: {value}" for key, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode()


def events() -> Iterator[bytes]:
    """One of each attack, and one that is all of them."""
    for number, words in enumerate(WORDS):
        names = (
            "Channel",
            "CallerIDName",
            "Queue",
            "Peer",
            "ConnectedLineName",
            "Exten",
            "Context",
            "AppData",
        )
        yield event(f"Attack{number}", *((name, words) for name in names), ("Uniqueid", f"{number}.1"))
        yield event(words, ("Channel", "PJSIP/1"), (words.replace(":", ""), words))
    yield b"Event: Broken\r\nPrivilege: call,all\r\nCallerIDName: " + BROKEN + b"\r\n\r\n"
    yield event("Large", ("AppData", "x" * LARGE))
    yield event("Last", ("CallerIDName", EVIL))


def answer(peer: Peer, action: Message) -> None:
    """The answer to any action, hostile wherever the form leaves room for it."""
    match action.name:
        case "Challenge":
            peer.answer(action, "Challenge: 123456789")
        case "Login":
            peer.answer(action, f"Message: Authentication accepted{SCRIPT}")
            peer.say(event("FullyBooted", ("Status", f"Fully Booted{EVIL}")))
        case "CoreSettings":
            peer.answer(action, f"AMIversion: 11.0.0{EVIL}", f"AsteriskVersion: 22.10.0{EVIL}")
        case "CoreStatus":
            peer.answer(action, f"CoreStartupDate: {EVIL}", f"CoreStartupTime: {EVIL}")
        case "ListCommands":
            known = (f"{name}: {EVIL}  (Priv: command,all)" for name in ("Ping", "Evil", "Command"))
            peer.answer(action, *known, f"Odd: {EVIL} (Priv: {EVIL})")
        case "Command":
            words = action.get("Command") or ""
            shown = (
                "[Synopsis]",
                EVIL,
                "[Syntax]",
                f"Action: {EVIL}",
                "[Description]",
                EVIL,
                "[Arguments]",
                EVIL,
            )
            lines = shown if "show" in words else (EVIL, EVIL)
            peer.answer(action, "Message: Command output follows", *(f"Output: {line}" for line in lines))
        case "Ping":
            peer.answer(action, "Ping: Pong", f"Timestamp: 1.000000{SCRIPT}", f"{SCRIPT}: {EVIL}")
        case "GetConfig":
            peer.answer(action, f"Category-000000: {EVIL}", f"Line-000000-000000: {EVIL}={EVIL}")
        case "Evil":
            peer.answer(action, f"Message: {EVIL}", response="Error")
        case name if name.endswith(("s", "Status", "List")):
            peer.answer(action, "EventList: start", f"Message: {EVIL}")
            peer.say(event("Item", ("ActionID", action.action_id or ""), ("Channel", EVIL), ("Queue", EVIL)))
            end = ("ActionID", action.action_id or ""), ("EventList", "Complete"), ("ListItems", "1")
            peer.say(event(f"{name}Complete", *end))
        case _:
            peer.answer(action, f"Message: {EVIL}", response="Error")


def script(peer: Peer) -> None:
    """One session; whoever asks for events gets all of them once."""
    peer.say(f"Asterisk Call Manager/11.0.0{SCRIPT}\r\n".encode())
    said = False
    while (action := peer.hear()).name != "Logoff":
        answer(peer, action)
        if action.name == "Login" and (action.get("Events") or "on") != "off":
            said = said or all(peer.say(one) is None for one in events())


def greet_as_ssh(peer: Peer) -> None:
    """What an SSH server may say before anybody knows who it is."""
    words = EVIL.encode(errors="replace")
    peer.say(words + b"\r\nSSH-2.0-" + words[:200] + b"\r\n")
    peer.sock.recv(65536)  # the other one's greeting
    peer.say(words * 3)


@contextlib.contextmanager
def hostile_pbx() -> Iterator[TCP]:
    with served(script) as transport:
        yield transport


@contextlib.contextmanager
def hostile_tls_pbx(folder: Path) -> Iterator[TLS]:
    """The same behind TLS, with a certificate of which every text attacks.

    Args:
        folder: where its key and certificate are written.
    """
    made = make_certificates(organization=EVIL.replace("\0", ""), alias="<img src=x onerror=canary=1>")
    file = folder / "hostile.pem"
    file.write_bytes(made.server)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    with served(script, tls=context) as transport:
        yield TLS(transport.host, transport.port)


@contextlib.contextmanager
def hostile_ssh() -> Iterator[TCP]:
    """A machine that claims to be an SSH server."""
    with served(greet_as_ssh) as transport:
        yield transport
