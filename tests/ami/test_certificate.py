"""Reading a certificate that nobody has verified."""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import ssl

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from ami_integration.ami import Certificate

START = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)


def self_signed(
    *, start: datetime.datetime = START, years: int = 1, names: list[x509.GeneralName] | None = None
) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "DE"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Büro, Köln"),
            x509.NameAttribute(NameOID.COMMON_NAME, "pbx.example"),
            x509.NameAttribute(NameOID.SERIAL_NUMBER, "7"),
        ]
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an authority")]))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start.replace(year=start.year + years))
    )
    if names is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def test_names_dates_and_hash_are_those_of_the_certificate() -> None:
    der = self_signed(
        names=[
            x509.DNSName("pbx.example"),
            x509.IPAddress(ipaddress.ip_address("192.0.2.1")),
            x509.IPAddress(ipaddress.ip_address("2001:db8::1")),
            x509.RFC822Name("not-a-host@example"),
        ]
    )
    certificate = Certificate.from_der(der)
    assert certificate.subject == r"2.5.4.5=7, CN=pbx.example, O=Büro\, Köln, C=DE"
    assert certificate.issuer == "CN=an authority"
    assert certificate.names == ("pbx.example", "192.0.2.1", "2001:db8::1")
    assert certificate.not_before == START
    assert certificate.not_after == START.replace(year=2027)
    assert certificate.sha256 == hashlib.sha256(der).hexdigest()
    assert certificate.fingerprint.replace(":", "").lower() == certificate.sha256
    assert ssl.PEM_cert_to_DER_cert(certificate.pem) == der


def test_a_certificate_without_extensions_is_read_too() -> None:
    assert Certificate.from_der(self_signed()).names == ()


def test_a_date_beyond_2049_and_one_of_the_last_century_are_read() -> None:
    assert Certificate.from_der(self_signed(years=40)).not_after == START.replace(year=2066)
    old = START.replace(year=1955)
    assert Certificate.from_der(self_signed(start=old)).not_before == old


@given(st.data())
def test_broken_bytes_leave_the_hash_and_raise_nothing(data: st.DataObject) -> None:
    der = bytearray(GOOD)
    for at in data.draw(st.lists(st.integers(0, len(der) - 1), max_size=5)):
        der[at] = data.draw(st.integers(0, 255))
    cut = bytes(der[: data.draw(st.integers(0, len(der)))])
    assert Certificate.from_der(cut).sha256 == hashlib.sha256(cut).hexdigest()


GOOD = self_signed(names=[x509.DNSName("pbx.example")])
