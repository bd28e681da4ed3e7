"""What the commands of this package ask for alike: a PBX, an account, and its secret.

Secrets have no options on purpose: command lines are seen by everybody on the machine and kept in histories.
"""

from __future__ import annotations

import argparse
import getpass
import ipaddress
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from ami_integration.ami.errors import (
    AMIError,
    ConnectError,
    ConnectRefused,
    ConnectTimeout,
    NameNotResolved,
    NoBanner,
    NotAMI,
    SSHFailed,
    SSHReason,
    TLSFailed,
    TLSReason,
)
from ami_integration.ami.ssh import SSH, fingerprint
from ami_integration.ami.transports import TCP, TLS, Timeouts, Transport

#: The environment variables that may hold the account's secret, and the password for the SSH server.
SECRET_VARIABLE = "AMI_SECRET"  # noqa: S105 - its name, not its value
SSH_PASSWORD_VARIABLE = "AMI_SSH_PASSWORD"  # noqa: S105 - as above

#: What mends a TLS handshake that failed, in terms of these options.
_TLS_ADVICE: dict[TLSReason, str] = {
    "unknown_ca": "Give the CA's certificate with --ca FILE, or accept this one with --pin SHA256; on the "
    "PBX, “openssl x509 -noout -fingerprint -sha256 -in FILE” prints it of the file of tlscertfile=.",
    "name": "Give HOST as the certificate has it, or accept this one certificate with --pin SHA256.",
    "expired": "Renew it on the PBX, or accept this one certificate with --pin SHA256.",
    "pin": "If the PBX has a new certificate, give its SHA-256 with --pin; if not, somebody is in between.",
    "version": "Let the PBX offer TLS 1.2 (it may need a newer OpenSSL), or go by its SSH server with --ssh.",
    "clear_text": "Leave out --tls, --ca and --pin, or give the port of tlsbindaddr= with --port.",
    "other": "See that --port is that of tlsbindaddr= in the PBX's manager.conf, and that --ca or --pin is "
    "right.",
}
#: The same for the SSH tunnel.
_SSH_ADVICE: dict[SSHReason, str] = {
    "host_key": "Give that server's public key (ssh-ed25519 AAAA…) or its SHA256:… fingerprint with "
    "--ssh-host-key.",
    "auth": f"Check the account in --ssh USER@HOST, and --ssh-key or the password ({SSH_PASSWORD_VARIABLE}).",
    "key": "Give another with --ssh-key, or leave that out and be asked for the password.",
    "forbidden": "Allow it there, and see that HOST and --port name AMI as that server sees it.",
    "extra": "Then run this again.",
    "other": "See that the port in --ssh HOST:PORT is that of an SSH server, and look into its log.",
}


class NoSecret(Exception):
    """There is no secret in the environment and nobody to ask."""


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong with a command line, and ends with exit code 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{message.rstrip('.')}. (--help shows how to use it.)\n")


@dataclass(frozen=True)
class SSHServer:
    """What ``--ssh [USER@]HOST[:PORT]`` names."""

    username: str
    host: str
    port: int = 22


def add_connection(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which PBX, how to reach it, and as whom."""
    parser.add_argument(
        "host", metavar="HOST", type=_host, help="the PBX: a name, an IPv4 or an IPv6 address"
    )
    parser.add_argument("--port", type=_port, help="5038, or 5039 with --tls, unless given")
    parser.add_argument("--username", required=True, help="an account of the PBX's manager.conf")
    parser.add_argument("--tls", action="store_true", help="encrypt, and check the certificate")
    parser.add_argument("--ca", metavar="FILE", help="trust the certificates in this PEM file (means --tls)")
    parser.add_argument(
        "--pin", metavar="SHA256", help="accept this certificate and no other, whatever its CA (means --tls)"
    )
    parser.add_argument(
        "--ssh",
        type=_ssh_server,
        metavar="[USER@]HOST[:PORT]",
        help="go through this SSH server; then the first HOST is the PBX as that server sees it (127.0.0.1 "
        "where they are one machine)",
    )
    parser.add_argument(
        "--ssh-key", metavar="FILE", help="log in there with this private key; else by password"
    )
    parser.add_argument(
        "--ssh-host-key",
        metavar="KEY",
        help="that server's public host key, or its SHA256:… fingerprint; without it, the one that it shows "
        "is printed, and nothing else is done",
    )
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=30.0,
        metavar="SECONDS",
        help="how long an action may take (default: %(default).0f)",
    )


def transport_of(options: argparse.Namespace) -> Transport:
    """The transport that the options ask for; may ask for the password of the SSH server.

    Raises:
        ValueError: they contradict each other, or a file of theirs can't be read.
        NoSecret: a password is wanted, and there is none.
    """
    encrypted = options.tls or options.ca or options.pin
    if options.ssh is None:
        if options.ssh_key or options.ssh_host_key:
            raise ValueError("--ssh-key and --ssh-host-key belong to an SSH server: name it with --ssh")
        if encrypted:
            return TLS(options.host, options.port or TLS.port, ca_file=options.ca, pin=options.pin)
        return TCP(options.host, options.port or TCP.port)
    if encrypted:
        raise ValueError(
            "--ssh encrypts already, and leads to AMI's clear port: leave out --tls, --ca and --pin"
        )
    key = password = None
    if options.ssh_key:
        key = _read_key(options.ssh_key)
    elif not _only_looks(options):
        server = options.ssh
        password = _ask(SSH_PASSWORD_VARIABLE, f"Password of {server.username} on {server.host}: ")
    return SSH(
        options.host,
        options.port or SSH.port,
        ssh_host=options.ssh.host,
        ssh_port=options.ssh.port,
        ssh_username=options.ssh.username,
        ssh_key=key,
        ssh_password=password,
        host_key=options.ssh_host_key or "",
    )


def timeouts_of(options: argparse.Namespace) -> Timeouts:
    """The time limits that the options ask for."""
    return Timeouts(action=options.timeout)


def read_secret(options: argparse.Namespace) -> str:
    """The account's secret: from the environment variable AMI_SECRET, else from whoever sits at the terminal.

    Raises:
        NoSecret: neither is there.
    """
    if _only_looks(options):
        return ""
    return _ask(SECRET_VARIABLE, f"Secret of {options.username}: ")


def _only_looks(options: argparse.Namespace) -> bool:
    """Whether the SSH server's host key is to be shown: then nobody is logged in, and no secret is needed."""
    return options.ssh is not None and not options.ssh_host_key


def _ask(variable: str, prompt: str) -> str:
    if secret := os.environ.get(variable):
        return secret
    if not sys.stdin.isatty():
        what = prompt.partition(" ")[0].lower()
        raise NoSecret(
            f"There is no {what}: put it into the environment variable {variable}, or run this in a "
            f"terminal, where it is asked for."
        )
    return getpass.getpass(prompt)


def _read_key(file: str) -> str:
    try:
        return Path(file).read_text()
    except OSError as error:
        raise ValueError(f"The SSH key {file} can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"The SSH key {file} can't be read: it isn't the text of a private key") from None


def advice(error: AMIError, transport: Transport) -> str:
    """Which option mends an error on this way, as a sentence; "" where none does or the error says all."""
    if isinstance(error, SSHFailed) and error.host_key:
        return f"Here it is pinned with --ssh-host-key {fingerprint(error.host_key)}"
    if isinstance(error, SSHFailed):
        return _SSH_ADVICE[error.reason]
    if isinstance(error, TLSFailed):
        return _TLS_ADVICE[error.reason]
    if isinstance(error, NameNotResolved):
        return "Check the spelling, or give an address."
    if isinstance(transport, SSH) and isinstance(error, ConnectError):
        return "See that --ssh names the SSH server, and HOST and --port name AMI as that server sees it."
    if isinstance(error, (NotAMI, NoBanner)):
        return "See that --port is AMI's (port= in the PBX's manager.conf); for a port with TLS give --tls."
    if isinstance(error, ConnectRefused):
        return (
            "See that manager.conf has enabled = yes, and that its port= and bindaddr= are those given here."
        )
    if isinstance(error, ConnectTimeout):
        return "See that HOST and --port are right, and that no firewall is in the way."
    return ""


def read_headers(words: Sequence[str]) -> list[tuple[str, str]]:
    """``Key=Value`` words as headers, in order; a value may hold further ``=``.

    Raises:
        ValueError: a word has no ``=`` or no key.
    """
    headers = []
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise ValueError(f"{word!r} isn't a header: write it as Key=Value")
        headers.append((name, value))
    return headers


def _host(text: str) -> str:
    """A host alone; an IPv6 address may stand in brackets."""
    host = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        ipaddress.ip_address(host)
    except ValueError:
        if not re.fullmatch(r"[^\s/@:\[\]]+", host):
            raise argparse.ArgumentTypeError(
                f"{text!r} is no host: give a name or an address alone, and the port with --port"
            ) from None
    return host


def _ssh_server(text: str) -> SSHServer:
    username, _, where = text.rpartition("@")
    # A bare IPv6 address has colons of its own; one with a port stands in brackets.
    match = re.fullmatch(r"(\[[^\]]*\]|[^:]*)(?::([0-9]+))?", where)
    host, port = (match[1], match[2]) if match else (where, None)
    try:
        found = SSHServer(username or getpass.getuser(), _host(host), _port(port) if port else SSHServer.port)
    except (KeyError, OSError):  # whom this process runs as has no name
        raise argparse.ArgumentTypeError("name the account, too: USER@HOST") from None
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no SSH server: write [USER@]HOST[:PORT], an IPv6 address with a port in brackets"
        ) from None
    return found


def _port(text: str) -> int:
    port = int(text)
    if not 0 < port < 65536:
        raise argparse.ArgumentTypeError("a port is a number from 1 to 65535")
    return port


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError("give a number of seconds above 0")
    return value
