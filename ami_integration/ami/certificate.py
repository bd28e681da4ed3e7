"""A server's certificate as a person wants to see it before trusting it.

The standard library tells a certificate's names and dates only after it has verified it, and the one to be
shown is exactly one that isn't trusted yet. So the few fields that matter are read here, from the DER bytes
(X.690, RFC 5280). What can't be read is shown as empty: the SHA-256 is what gets pinned, and it covers
every byte.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import ipaddress
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field

_SHORT = {
    "2.5.4.3": "CN",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "1.2.840.113549.1.9.1": "emailAddress",
}
_SUBJECT_ALT_NAME = "2.5.29.17"
_ENCODINGS = {12: "utf-8", 30: "utf-16-be", 28: "utf-32-be"}  # the other string types: latin-1 shows them


@dataclass(frozen=True)
class Certificate:
    """What a server showed. Nothing of it has been verified.

    Attributes:
        sha256: of the whole certificate, 64 hex digits: the value for `TLS(pin=…)`.
        pem: the certificate as text: fit for `TLS(ca_pem=…)` where it signed itself.
        subject: whom it names, as in ``CN=pbx.example, O=Example``.
        issuer: who signed it.
        names: the host names and addresses that it is for.
        not_before, not_after: when it is valid (UTC); None where they can't be read.
    """

    sha256: str
    pem: str = field(repr=False)
    subject: str = ""
    issuer: str = ""
    names: tuple[str, ...] = ()
    not_before: datetime.datetime | None = None
    not_after: datetime.datetime | None = None

    @classmethod
    def from_der(cls, der: bytes) -> Certificate:
        """Read a certificate; never raises, whatever the bytes."""
        certificate = cls(sha256=hashlib.sha256(der).hexdigest(), pem=ssl.DER_cert_to_PEM_cert(der))
        # A stranger's bytes: IndexError and ValueError are what a parser of broken ones ends in.
        with contextlib.suppress(IndexError, ValueError, OverflowError):
            certificate = _described(certificate, der)
        return certificate

    @property
    def fingerprint(self) -> str:
        """The SHA-256 as ``openssl x509 -fingerprint`` prints it: ``AB:CD:…``."""
        return ":".join(self.sha256[at : at + 2] for at in range(0, 64, 2)).upper()


def _described(certificate: Certificate, der: bytes) -> Certificate:
    """Raises IndexError or ValueError where the bytes are no certificate."""
    tbs = _first(_first(der))
    fields = [part for part in _parts(tbs) if part[0] != 0xA0]  # the version is optional: leave it out
    _serial, _algorithm, issuer, validity, subject = (value for _, value in fields[:5])
    start, end = (_time(tag, value) for tag, value in _parts(validity))
    names = [name for tag, value in fields[5:] if tag == 0xA3 for name in _alternative_names(_first(value))]
    return Certificate(
        sha256=certificate.sha256,
        pem=certificate.pem,
        subject=_name(subject),
        issuer=_name(issuer),
        names=tuple(names),
        not_before=start,
        not_after=end,
    )


def _parts(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The elements of a DER sequence, as tag and content."""
    at = 0
    while at < len(data):
        tag, length = data[at], data[at + 1]
        at += 2
        if length & 0x80:
            size = length & 0x7F
            length = int.from_bytes(data[at : at + size])
            at += size
        if at + length > len(data):
            raise ValueError("an element reaches beyond its sequence")
        yield tag, data[at : at + length]
        at += length


def _first(data: bytes) -> bytes:
    for _, value in _parts(data):
        return value
    raise ValueError("an empty sequence")


def _name(data: bytes) -> str:
    """A distinguished name, the most particular part first, as openssl prints it in RFC 2253's order."""
    pairs = []
    for _, group in _parts(data):
        for _, pair in _parts(group):
            (_, kind), (tag, value) = _parts(pair)
            oid = _oid(kind)
            text = value.decode(_ENCODINGS.get(tag, "latin-1"), "replace")
            text = text.replace("\\", r"\\").replace(",", r"\,")
            pairs.append(f"{_SHORT.get(oid, oid)}={text}")
    return ", ".join(reversed(pairs))


def _oid(data: bytes) -> str:
    numbers, value = [], 0
    for byte in data:
        value = value << 7 | byte & 0x7F
        if not byte & 0x80:
            numbers.append(value)
            value = 0
    first = min(numbers[0] // 40, 2)
    return ".".join(map(str, [first, numbers[0] - 40 * first, *numbers[1:]]))


def _time(tag: int, value: bytes) -> datetime.datetime:
    """UTCTime (tag 23) has two digits of the year, from 1950 to 2049; GeneralizedTime four (RFC 5280)."""
    text = value.decode("ascii")
    if tag == 23:
        text = ("19" if text >= "50" else "20") + text
    return datetime.datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=datetime.UTC)


def _alternative_names(extensions: bytes) -> Iterator[str]:
    for _, extension in _parts(extensions):
        parts = list(_parts(extension))  # OID, perhaps whether it is critical, and the value
        if _oid(parts[0][1]) != _SUBJECT_ALT_NAME:
            continue
        for tag, value in _parts(_first(parts[-1][1])):
            if tag == 0x82:
                yield value.decode("ascii", "replace")
            elif tag == 0x87:
                yield str(ipaddress.ip_address(value))
