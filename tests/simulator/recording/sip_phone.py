"""
A SIP telephone without sound, enough to make a real Asterisk carry real PJSIP calls while its events are
captured.

It knows INVITE, ACK, BYE, CANCEL and re-INVITE over UDP on loopback, no registration, no authentication and
no RTP: its endpoint has a static contact and ``identify_by=username``. It answers, is busy, or rings for
ever.
"""

import asyncio
import itertools
from dataclasses import dataclass, field
from typing import Literal

Behaviour = Literal["answer", "busy", "ring"]
_ids = itertools.count(1)


@dataclass
class Dialog:
    """One call of a phone, seen from it."""

    call_id: str
    local: str
    remote: str
    target: str
    cseq: int = 1
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class SipPhone(asyncio.DatagramProtocol):
    """A phone of number ``number`` at 127.0.0.1:``port``."""

    def __init__(
        self,
        number: str,
        port: int,
        pbx_port: int,
        *,
        behaviour: Behaviour = "answer",
        delay: float = 0.5,
        name: str = "",
    ) -> None:
        self.number = number
        self.name = name or f"Phone {number}"
        self.port = port
        self.pbx = ("127.0.0.1", pbx_port)
        self.behaviour = behaviour
        self.delay = delay
        self.dialogs: dict[str, Dialog] = {}
        self.incoming: asyncio.Queue[Dialog] = asyncio.Queue()
        self._invites: dict[str, tuple[list[tuple[str, str]], str]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self.transport, _ = await loop.create_datagram_endpoint(
            lambda: self, local_addr=("127.0.0.1", self.port)
        )

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        self.transport.close()

    # -- what the user of the phone does ----------------------------------------------------------

    def call(self, number: str) -> Dialog:
        """Dial; the dialog's ``answered`` is set by the answer, ``ended`` by the end or a refusal."""
        n = next(_ids)
        dialog = Dialog(
            call_id=f"call{n}@phone{self.number}",
            local=f'"{self.name}" <sip:{self.number}@127.0.0.1:{self.port}>;tag=t{n}',
            remote=f"<sip:{number}@127.0.0.1:{self.pbx[1]}>",
            target=f"sip:{number}@127.0.0.1:{self.pbx[1]}",
        )
        self.dialogs[dialog.call_id] = dialog
        self._request("INVITE", dialog, body=self._sdp("sendrecv"))
        return dialog

    def hang_up(self, dialog: Dialog) -> None:
        """BYE, or CANCEL where nobody answered yet."""
        if dialog.answered.is_set():
            dialog.cseq += 1
            self._request("BYE", dialog)
        else:
            self._request("CANCEL", dialog)

    def hold(self, dialog: Dialog, *, on: bool) -> None:
        dialog.cseq += 1
        self._request("INVITE", dialog, body=self._sdp("sendonly" if on else "sendrecv"))

    # -- messages ---------------------------------------------------------------------------------

    def _sdp(self, direction: str) -> str:
        return (
            f"v=0\r\no=- 1 {next(_ids)} IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
            f"m=audio {self.port + 1000} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na={direction}\r\n"
        )

    def _send(self, start: str, headers: list[tuple[str, str]], body: str) -> None:
        if body:
            headers = [*headers, ("Content-Type", "application/sdp")]
        lines = [
            start,
            *(f"{name}: {value}" for name, value in headers),
            f"Content-Length: {len(body)}",
            "",
            body,
        ]
        self.transport.sendto("\r\n".join(lines).encode(), self.pbx)

    def _request(self, method: str, dialog: Dialog, body: str = "") -> None:
        branch = f"z9hG4bK{dialog.call_id.partition('@')[0]}-{dialog.cseq}"
        if method == "ACK" and dialog.answered.is_set():
            branch += "-ack"
        headers = [
            ("Via", f"SIP/2.0/UDP 127.0.0.1:{self.port};branch={branch};rport"),
            ("Max-Forwards", "70"),
            ("From", dialog.local),
            ("To", dialog.remote),
            ("Call-ID", dialog.call_id),
            ("CSeq", f"{dialog.cseq} {method}"),
            ("Contact", f"<sip:{self.number}@127.0.0.1:{self.port}>"),
        ]
        self._send(f"{method} {dialog.target} SIP/2.0", headers, body)

    def _respond(self, status: str, headers: list[tuple[str, str]], tag: str, body: str = "") -> None:
        kept = []
        for name, value in headers:
            if name.lower() in {"via", "from", "call-id", "cseq", "record-route"}:
                kept.append((name, value))
            elif name.lower() == "to":
                kept.append((name, value if ";tag=" in value else f"{value};tag={tag}"))
        self._send(
            f"SIP/2.0 {status}", [*kept, ("Contact", f"<sip:{self.number}@127.0.0.1:{self.port}>")], body
        )

    def datagram_received(self, data: bytes, addr: object) -> None:
        head, _, _ = data.decode().partition("\r\n\r\n")
        start, *lines = head.split("\r\n")
        headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        first = {name.lower(): value for name, value in reversed(headers)}
        call_id, method = first["call-id"], first["cseq"].split()[1]
        if start.startswith("SIP/2.0"):
            self._response(int(start.split()[1]), method, first)
        elif method == "INVITE":
            self._invited(headers, first)
        elif method == "CANCEL":
            self._respond("200 OK", headers, "c")
            if call_id in self._invites:
                invite, tag = self._invites.pop(call_id)
                self._respond("487 Request Terminated", invite, tag)
                self.dialogs.pop(call_id).ended.set()
        elif method == "BYE":
            self._respond("200 OK", headers, "b")
            if call_id in self.dialogs:
                self.dialogs.pop(call_id).ended.set()
        elif method != "ACK":
            self._respond("200 OK", headers, "o")

    def _response(self, status: int, method: str, first: dict[str, str]) -> None:
        dialog = self.dialogs.get(first["call-id"])
        if dialog is None or status < 200:
            return
        if method == "INVITE":
            dialog.remote = first["to"]
            if status < 300:
                dialog.target = first["contact"].strip("<>")
                dialog.answered.set()
                self._request("ACK", dialog)
            else:
                self._request("ACK", dialog)
                self.dialogs.pop(dialog.call_id).ended.set()
        elif method == "BYE":
            self.dialogs.pop(dialog.call_id).ended.set()

    def _invited(self, headers: list[tuple[str, str]], first: dict[str, str]) -> None:
        call_id = first["call-id"]
        if call_id in self.dialogs:
            if call_id not in self._invites:  # a re-INVITE, not a repeated one
                self._respond("200 OK", headers, "r", self._sdp("sendrecv"))
            return
        tag = f"u{next(_ids)}"
        dialog = Dialog(
            call_id, f"{first['to']};tag={tag}", first["from"], first["contact"].strip("<>"), cseq=100
        )
        self.dialogs[call_id] = dialog
        if self.behaviour == "busy":
            self._respond("486 Busy Here", headers, tag)
            del self.dialogs[call_id]
            return
        self._invites[call_id] = (headers, tag)
        self._respond("180 Ringing", headers, tag)
        self.incoming.put_nowait(dialog)
        if self.behaviour == "answer":
            task = asyncio.create_task(self._answer_later(dialog))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _answer_later(self, dialog: Dialog) -> None:
        await asyncio.sleep(self.delay)
        if dialog.call_id in self._invites:
            headers, tag = self._invites.pop(dialog.call_id)
            dialog.answered.set()
            self._respond("200 OK", headers, tag, self._sdp("sendrecv"))
