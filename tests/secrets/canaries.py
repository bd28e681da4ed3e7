"""Secrets that exist to be searched for, and the search.

Each canary is a word of its own that begins with one mark, random for each run, so a text is searched for the
mark alone, in every form that a secret may take on its way: as it is (letters and digits, so what is escaped
for HTML, JSON or a URL holds it as well), in hexadecimal, in base64 at each of the three places where it may
begin, and as the bytes that a key in base64 stands for. What is packed is unpacked before: zlib in binary
columns, in hexadecimal dumps and in the base64 of sessions.
"""

from __future__ import annotations

import base64
import re
import secrets
import string
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

_ALPHABET = string.ascii_letters + string.digits
_MARK = 12  # characters: nine bytes of base64, and no accident within gigabytes
_NUMBER = 4
_DEPTH = 3  # what is packed in what is packed in what is packed

#: zlib's header, in hexadecimal, as dumps write bytes, and the base64 of it, as Django packs sessions.
_PACKED = re.compile(rb"\x78[\x01\x5e\x9c\xda]")
_HEX_PACKED = re.compile(rb"78(?:01|5e|9c|da)(?:[0-9a-f]{2}){6,}", re.IGNORECASE)
_BASE64_PACKED = re.compile(rb"e[AFJN][A-Za-z0-9_/+-]{10,}")


@dataclass(frozen=True)
class Canary:
    """One secret: what it is, for a person, and its text."""

    what: str
    text: str


@dataclass(frozen=True)
class Leak:
    """A canary that was found: as a sentence, `str()` of it."""

    what: str
    where: str
    form: str
    around: str

    def __str__(self) -> str:
        return f"The {self.what} stands {self.form} in {self.where}: …{self.around}…"


@dataclass
class Cage:
    """The canaries of one run, and others' texts that are to be searched for with them."""

    canaries: list[Canary] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.mark = "".join(secrets.choice(_ALPHABET) for _ in range(_MARK))
        self._texts: list[tuple[bytes, str, str]] = [
            (needle, form, "") for needle, form in forms(self.mark.encode())
        ]

    def canary(self, what: str, *, length: int = 24) -> str:
        """A new secret's text: letters and digits."""
        head = f"{self.mark}{len(self.canaries):0{_NUMBER}d}"
        rest = "".join(secrets.choice(_ALPHABET) for _ in range(length - len(head)))
        self.canaries.append(Canary(what, head + rest))
        return head + rest

    def key(self, what: str) -> str:
        """A new Fernet key: 32 bytes in base64."""
        text = self.canary(what, length=42) + "A="
        assert len(base64.urlsafe_b64decode(text)) == 32
        return text

    def add(self, what: str, text: str) -> None:
        """A secret that can't be chosen, such as a private key."""
        self.canaries.append(Canary(what, text))
        self._texts += [(needle, form, what) for needle, form in forms(text.encode())]

    def search(self, data: bytes | str, where: str, *, depth: int = _DEPTH) -> Iterator[Leak]:
        """Every canary that stands in `data`, in whatever form: each once for each form."""
        data = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
        for needle, form, what in self._texts:
            for found in _each(data, needle):
                around = data[max(0, found - 60) : found + 60].decode("utf-8", "replace")
                yield Leak(what or self._name(data, found), where, form, around)
        if depth:
            for inner in _unpacked(data):
                yield from self.search(inner, f"{where} (unpacked)", depth=depth - 1)

    def _name(self, data: bytes, at: int) -> str:
        """What the canary is whose mark begins there, in whatever form; base64 may lack its first letter."""
        head = re.compile(re.escape(self.mark[1:].encode()) + rb"(\d{%d})" % _NUMBER)
        for text in _readings(data[at : at + 2 * (_MARK + _NUMBER)]):
            number = head.search(text)
            if number and int(number[1]) < len(self.canaries):
                return self.canaries[int(number[1])].what
        return "secret of a canary"


def _readings(text: bytes) -> Iterator[bytes]:
    """What a beginning may mean: itself, hexadecimal, and base64 that began somewhere before."""
    yield text
    try:
        yield bytes.fromhex(text.decode("latin-1"))
    except ValueError:
        pass
    for dropped in (0, 2, 3):
        whole = (b"A" * dropped + text)[: (dropped + len(text)) // 4 * 4]
        try:
            yield base64.b64decode(whole, altchars=b"-_")
            yield base64.b64decode(whole)
        except ValueError:
            continue


def forms(text: bytes) -> Iterator[tuple[bytes, str]]:
    """The forms in which a text may stand in another: needle, and how a sentence calls it."""
    yield text, "in clear"
    yield text.hex().encode(), "in hexadecimal"
    yield text.hex().upper().encode(), "in hexadecimal"
    for offset, dropped in ((0, 0), (1, 2), (2, 3)):
        encoded = base64.b64encode(bytes(offset) + text)
        # The first characters hold bits of what stood before, the last ones of what follows.
        whole = (offset + len(text)) * 8 // 6
        needle = encoded[dropped:whole]
        yield needle, "in base64"
        if needle != (safe := needle.replace(b"+", b"-").replace(b"/", b"_")):
            yield safe, "in base64"
    if len(text) == _MARK:
        # Of a key in base64: the bytes that it stands for.
        yield base64.b64decode(text).hex().encode(), "decoded and in hexadecimal"


def distinct(leaks: Iterable[Leak]) -> list[Leak]:
    """One for each canary, place and form."""
    return list({(leak.what, leak.where, leak.form): leak for leak in leaks}.values())


def _each(data: bytes, needle: bytes) -> Iterator[int]:
    at = data.find(needle)
    while at >= 0:
        yield at
        at = data.find(needle, at + 1)


def _unpacked(data: bytes) -> Iterator[bytes]:
    for found in _PACKED.finditer(data):
        yield from _inflated(data[found.start() :])
    for found in _HEX_PACKED.finditer(data):
        yield from _inflated(bytes.fromhex(found[0].decode()))
    for found in _BASE64_PACKED.finditer(data):
        text = found[0].replace(b"-", b"+").replace(b"_", b"/")
        # A stream that lacks its last bytes can be read up to there.
        yield from _inflated(base64.b64decode(text[: len(text) // 4 * 4]))


def _inflated(data: bytes) -> Iterator[bytes]:
    try:
        inflated = zlib.decompressobj().decompress(data, 64 * 1024 * 1024)
    except (zlib.error, ValueError):
        return  # it only began like it
    if inflated:
        yield inflated
