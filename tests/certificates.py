"""A certificate authority and a server certificate, for one test or one test run's Asterisk.

Made anew for each run (0.1 s): nothing to expire, and no private key in the repository.
"""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


@dataclass(frozen=True)
class Certificates:
    """PEM texts: the authority's certificate, and the server's key followed by its certificate."""

    ca: bytes
    server: bytes


def make_certificates(
    *, name: str = "localhost", expired: bool = False, organization: str = "", alias: str = ""
) -> Certificates:
    """An authority, and a certificate of it, both valid from a month ago for two months.

    Args:
        name: for which host; 127.0.0.1 is always one of its names.
        expired: whether the server's certificate ended yesterday.
        organization: whose they are; "": they don't say.
        alias: one more name of the server's.
    """
    now, month = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=30)
    start, end = now - month, now + month
    ca_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    whose = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization)] if organization else []
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "amiweb test authority"), *whose])
    server_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name), *whose])

    def builder(
        subject: x509.Name, key: ec.EllipticCurvePrivateKey, end: datetime.datetime = end
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(ca_name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(end)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
            )
        )

    usage = x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    ca = (
        builder(ca_name, ca_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    names = [
        *map(x509.DNSName, filter(None, (name, alias))),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    ]
    server = (
        builder(server_name, server_key, now - datetime.timedelta(days=1) if expired else end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    key = server_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem = serialization.Encoding.PEM
    return Certificates(ca=ca.public_bytes(pem), server=key + server.public_bytes(pem))
