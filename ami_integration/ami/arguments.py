"""What the commands of this package ask for alike: a PBX, an account, and its secret.

The secret has no option on purpose: command lines are seen by everybody on the machine and kept in histories.
"""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from collections.abc import Sequence

from ami_integration.ami.transports import TCP, TLS, Timeouts, Transport

#: The environment variable that may hold the account's secret.
SECRET_VARIABLE = "AMI_SECRET"  # noqa: S105 - its name, not its value


class NoSecret(Exception):
    """There is no secret in the environment and nobody to ask."""


def add_connection(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which PBX, how to reach it, and as whom."""
    parser.add_argument("host", metavar="HOST", help="the PBX: a name or an address")
    parser.add_argument("--port", type=_port, help="5038, or 5039 with --tls, unless given")
    parser.add_argument("--username", required=True, help="an account of the PBX's manager.conf")
    parser.add_argument("--tls", action="store_true", help="encrypt, and check the certificate")
    parser.add_argument("--ca", metavar="FILE", help="trust the certificates in this PEM file (means --tls)")
    parser.add_argument(
        "--pin", metavar="SHA256", help="accept this certificate and no other, whatever its CA (means --tls)"
    )
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=30.0,
        metavar="SECONDS",
        help="how long an action may take (default: %(default).0f)",
    )


def transport_of(options: argparse.Namespace) -> Transport:
    """The transport that the options ask for."""
    if options.tls or options.ca or options.pin:
        return TLS(options.host, options.port or TLS.port, ca_file=options.ca, pin=options.pin)
    return TCP(options.host, options.port or TCP.port)


def timeouts_of(options: argparse.Namespace) -> Timeouts:
    """The time limits that the options ask for."""
    return Timeouts(action=options.timeout)


def read_secret(username: str) -> str:
    """The account's secret: from the environment variable AMI_SECRET, else from whoever sits at the terminal.

    Raises:
        NoSecret: neither is there.
    """
    if secret := os.environ.get(SECRET_VARIABLE):
        return secret
    if not sys.stdin.isatty():
        raise NoSecret(
            f"There is no secret: put it into the environment variable {SECRET_VARIABLE}, or run this in a "
            f"terminal, where it is asked for."
        )
    return getpass.getpass(f"Secret of {username}: ")


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
