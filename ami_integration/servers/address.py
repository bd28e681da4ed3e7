"""Where a PBX is and how it is reached: in clear, by TLS, or through an SSH server.

The one place that makes of a server's settings what the AMI client connects to: the listener, the workers'
sessions and the connection doctor all ask `Address.ami_transport`.

Two pins say whom to trust where no authority does: the SHA-256 of the one certificate to accept, and the host
key of the SSH server. Whoever sets one should have compared it with what the other machine itself says.
"""

import base64
import binascii
import dataclasses
import ipaddress
import re
import ssl

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models

from ami_integration.ami import SSH, TCP, TLS
from ami_integration.secrets.encryption import EncryptedTextField
from ami_integration.secrets.sources import ReadableSecret

no_line_break = RegexValidator(
    r"[\r\n\x00]", "It may not hold a line break or a NUL: Asterisk reads line by line.", inverse_match=True
)

#: The settings that say where a server is and whom to trust there.
ADDRESS_FIELDS = (
    *("host", "port", "transport", "tls_ca", "tls_pin"),
    *("ssh_host", "ssh_port", "ssh_username", "ssh_host_key"),
)


def validate_host(host: str) -> None:
    """Refuse what people paste instead of a host: a URL, host:port, a name with blanks."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        if not re.fullmatch(r"[^\s/@?#:.\[\]][^\s/@?#:\[\]]*", host):
            raise ValidationError(
                "Give the name or address alone, as in pbx.example.com, 192.0.2.10 or 2001:db8::10, "
                "without scheme, port or path."
            ) from None


def validate_ca(pem: str) -> None:
    """Refuse a text that holds no certificate, before a connection fails on it."""
    try:
        ssl.create_default_context(cadata=pem)
    except (ssl.SSLError, ValueError, TypeError) as error:  # TypeError: not ASCII
        raise ValidationError(
            "This is not a certificate. Paste the PEM text, from -----BEGIN CERTIFICATE----- "
            "to -----END CERTIFICATE-----."
        ) from error


def validate_pin(text: str) -> None:
    """Refuse what is no SHA-256 of a certificate, with or without what openssl prints around it."""
    digits = re.sub(r"^sha-?256( fingerprint)?[:=]|[:\s]", "", text.strip().lower())
    if not re.fullmatch("[0-9a-f]{64}", digits):
        raise ValidationError(
            "A pin is the SHA-256 of a certificate, 64 hex digits, as “openssl x509 -noout -fingerprint "
            "-sha256 -in FILE” prints it on the PBX."
        )


def validate_host_key(text: str) -> None:
    """Refuse what is neither an SSH host key nor the fingerprint of one."""
    if re.fullmatch(r"SHA256:[A-Za-z0-9+/]{43}=?", text.strip()):
        return
    words = text.split()
    for kind, key in zip(words, words[1:], strict=False):
        if re.fullmatch("ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)", kind):
            try:
                base64.b64decode(key, validate=True)
            except (binascii.Error, ValueError):
                continue
            return
    raise ValidationError(
        "Give the SSH server's public host key, as in ssh-ed25519 AAAA…, or its fingerprint, as in "
        "SHA256:…. “ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub” prints it on that machine."
    )


def with_secrets(
    transport: TCP | TLS | SSH, key: ReadableSecret | None, password: ReadableSecret | None
) -> TCP | TLS | SSH:
    """The transport with what it logs in to the SSH server by; any other as it is.

    Raises:
        SecretUnreadable: one of them can't be read.
    """
    if not isinstance(transport, SSH):
        return transport
    return dataclasses.replace(
        transport,
        ssh_key=None if key is None else key.reveal(),
        ssh_password=None if password is None else password.reveal(),
    )


class Address(models.Model):
    """The part of a server that says how it is reached."""

    class Transport(models.TextChoices):
        TCP = "tcp", "TCP (clear text)"
        TLS = "tls", "TLS"
        SSH = "ssh", "SSH tunnel"

    host = models.CharField(
        max_length=253,
        validators=[validate_host],
        help_text="Name or address of the Asterisk, without a port. Through an SSH tunnel: as the SSH server "
        "sees it, 127.0.0.1 where both are one machine.",
    )
    port = models.PositiveIntegerField(
        default=5038,
        validators=[MinValueValidator(1), MaxValueValidator(65535)],
        help_text="As in manager.conf: port (5038), or tlsbindaddr for TLS (5039).",
    )
    transport = models.CharField(max_length=3, choices=Transport.choices, default=Transport.TCP)
    tls_ca = models.TextField(
        "CA certificate",
        blank=True,
        validators=[validate_ca],
        help_text="PEM text of the authority that signed the PBX's certificate, or of the self-signed "
        "certificate itself. Empty: the authorities that this machine trusts.",
    )
    tls_pin = models.CharField(
        "certificate pin",
        max_length=120,
        blank=True,
        validators=[validate_pin],
        help_text="SHA-256 of the one certificate to accept; then its authority, name and dates don't "
        "matter. “Test connection” shows the one that comes.",
    )
    ssh_host = models.CharField(
        "SSH server",
        max_length=253,
        blank=True,
        validators=[validate_host],
        help_text="Name or address of the machine whose sshd leads to the PBX; mostly the PBX itself.",
    )
    ssh_port = models.PositiveIntegerField(
        "SSH port", default=22, validators=[MinValueValidator(1), MaxValueValidator(65535)]
    )
    ssh_username = models.CharField(
        "SSH username",
        max_length=255,
        blank=True,
        validators=[no_line_break],
        help_text="An account there that may forward (AllowTcpForwarding). It needs no shell.",
    )
    # None while there is none.
    ssh_key = EncryptedTextField("SSH private key", null=True, blank=True)  # type: ignore[misc]
    ssh_password = EncryptedTextField("SSH password", null=True, blank=True)  # type: ignore[misc]
    ssh_host_key = models.CharField(
        "SSH host key",
        max_length=2000,
        blank=True,
        validators=[no_line_break, validate_host_key],
        help_text="The SSH server's public key (ssh-ed25519 AAAA…) or its fingerprint (SHA256:…). Without it "
        "nobody logs in; “Test connection” shows the one that comes.",
    )

    class Meta:
        abstract = True

    @property
    def ami_way(self) -> TCP | TLS | SSH:
        """How the AMI client reaches it, without the secrets of an SSH tunnel: fit to be shown."""
        if self.transport == self.Transport.TLS:
            return TLS(self.host, self.port, ca_pem=self.tls_ca or None, pin=self.tls_pin or None)
        if self.transport == self.Transport.SSH:
            return SSH(
                self.host,
                self.port,
                ssh_host=self.ssh_host,
                ssh_port=self.ssh_port,
                ssh_username=self.ssh_username,
                host_key=self.ssh_host_key,
            )
        return TCP(self.host, self.port)

    @property
    def address(self) -> str:
        """Host and port as people write them."""
        return str(self.ami_way)
