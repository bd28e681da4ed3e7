"""`manage.py simulate`: one or more simulated PBXs until SIGTERM or Ctrl-C."""

import asyncio
import errno
import ipaddress
import math
import os
import random
import signal
import ssl
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from ami_integration.simulator import (
    SECRET,
    USERNAME,
    Account,
    Faults,
    Limits,
    OfficeSettings,
    Replay,
    SimulatedPBX,
    open_office,
)

HIGHEST_PORT = 65535


class Command(BaseCommand):
    help = "Run simulated PBXs: AMI servers with the calls of a small office and no telephony."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--host", default="127.0.0.1", help="Address to listen on (default: %(default)s)."
        )
        parser.add_argument(
            "--port",
            type=int,
            action="append",
            help="Port to listen on; give it again for each further PBX. Default: AMIWEB_SIMULATOR_PORTS.",
        )
        parser.add_argument(
            "--count",
            type=int,
            default=1,
            help="So many PBXs, on consecutive ports from each --port (default: 1).",
        )
        parser.add_argument("--username", default=USERNAME, help="The AMI account (default: %(default)s).")
        parser.add_argument(
            "--secret-file",
            type=Path,
            help="File that holds the account's secret. Default: the trial's secret.",
        )
        parser.add_argument(
            "--calls-per-second",
            type=float,
            default=0.2,
            help="Calls that begin in each PBX (default: %(default)s).",
        )
        parser.add_argument(
            "--seed",
            type=int,
            help="Makes each PBX's office tell the same history each time. Default: chance.",
        )

        parser.add_argument(
            "--tls-certificate",
            type=Path,
            help="PEM file with a key and its certificate: speak TLS instead of clear text.",
        )
        parser.add_argument(
            "--fault",
            action="append",
            default=[],
            metavar="NAME[=VALUE]",
            help="Do this wrong, always; give it again for further faults. segment=BYTES, stall=SECONDS, "
            "half=ACTION, kick=SECONDS, holes=EVERY, slow-login=SECONDS, old-command, double-response, "
            "crlf-lf, list-items=MORE, no-complete, error-after-start, booting; see simulator/faults.py.",
        )
        parser.add_argument(
            "--write-timeout",
            type=float,
            default=Limits().write_timeout,
            help="Seconds after which a session that doesn't read is cut off (default: %(default)s).",
        )
        parser.add_argument(
            "--replay",
            type=Path,
            metavar="FILE",
            help="Tell each session what was recorded by python -m ami_integration.ami.record; the office is "
            "quiet then.",
        )
        parser.add_argument(
            "--speed",
            type=float,
            default=1.0,
            help="How many times faster than recorded to replay; 0: as fast as it is read (default: 1).",
        )
        parser.add_argument("--loop", action="store_true", help="Begin the replay again at its end.")

    def handle(self, *args: Any, **options: Any) -> None:
        first_ports = options["port"] or list(settings.AMIWEB_SIMULATOR_PORTS)
        ports = [port + step for port in first_ports for step in range(max(1, options["count"]))]
        for port in ports:
            if not 0 <= port <= HIGHEST_PORT:
                raise CommandError(f"{port} is not a port: give a --port from 1 to {HIGHEST_PORT}")
        rate = options["calls_per_second"]
        if not (math.isfinite(rate) and rate >= 0):
            raise CommandError(
                f"--calls-per-second can't be {rate:g}: give a number such as 0.2; 0 makes a quiet office"
            )
        if options["replay"]:
            options["calls_per_second"] = 0.0
        seed = options["seed"] if options["seed"] is not None else random.SystemRandom().getrandbits(32)
        host, secret = options["host"], _secret(options["secret_file"])
        if secret == SECRET and not _is_loopback(host):
            raise CommandError(
                f"others can reach {host or 'all addresses'}, and everybody knows the default secret: "
                "give a secret of your own with --secret-file, or leave --host at 127.0.0.1"
            )
        account = Account(options["username"], secret)
        pbxs = [_make_pbx(port, account, seed + index, options) for index, port in enumerate(ports)]
        asyncio.run(self._run(pbxs))

    async def _run(self, pbxs: list[SimulatedPBX]) -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        try:
            for pbx in pbxs:
                try:
                    await pbx.start()
                except OSError as error:
                    raise CommandError(_why_not(pbx, error)) from None
                self.stdout.write(
                    f"simulated PBX on {pbx.host}:{pbx.port} (username {next(iter(pbx.accounts))})"
                )
                self.stdout.flush()
            await stop.wait()
        finally:
            for pbx in pbxs:
                await pbx.stop()


def _make_pbx(port: int, account: Account, seed: int, options: dict[str, Any]) -> SimulatedPBX:
    settings = OfficeSettings(calls_per_second=options["calls_per_second"])
    try:
        return SimulatedPBX(
            open_office(seed=seed, start=time.time(), settings=settings),
            [account],
            host=options["host"],
            port=port,
            limits=Limits(write_timeout=options["write_timeout"]),
            tls=_tls(options["tls_certificate"]),
            faults=Faults.from_words(options["fault"]),
            replay=_replay(options["replay"], speed=options["speed"], loop=options["loop"]),
        )
    except ValueError as error:  # PortRefused is one
        raise CommandError(str(error)) from None


def _tls(certificate: Path | None) -> ssl.SSLContext | None:
    if certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate)
    except OSError as error:  # ssl.SSLError is one
        raise CommandError(
            f"the certificate {certificate} can't be used: {error.strerror or error}"
        ) from None
    return context


def _replay(path: Path | None, *, speed: float, loop: bool) -> Replay | None:
    if path is None:
        return None
    try:
        return Replay.from_file(path, speed=speed, loop=loop)
    except OSError as error:
        raise CommandError(f"the recording {path} can't be read: {error.strerror}") from None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"  # what another name means may change


def _secret(path: Path | None) -> str:
    if path is None:
        return SECRET
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise CommandError(f"the secret file {path} can't be read: {error.strerror}") from None
    if not secret:
        raise CommandError(f"the secret file {path} is empty: put the account's secret into it")
    return secret


def _why_not(pbx: SimulatedPBX, error: OSError) -> str:
    number = error.errno
    if number == errno.EADDRINUSE:
        return f"port {pbx.port} is in use: stop what listens there, or give another --port"
    reason = os.strerror(number) if number and number > 0 else str(error)
    return f"can't listen on {pbx.host}:{pbx.port}: {reason}; give another --host or --port"
