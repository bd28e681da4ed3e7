"""`manage.py simulate`: one or more simulated PBXs until SIGTERM or Ctrl-C."""

import asyncio
import errno
import ipaddress
import math
import os
import random
import signal
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
    OfficeSettings,
    PortRefused,
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
        seed = options["seed"] if options["seed"] is not None else random.SystemRandom().getrandbits(32)
        host, secret = options["host"], _secret(options["secret_file"])
        if secret == SECRET and not _is_loopback(host):
            raise CommandError(
                f"others can reach {host or 'all addresses'}, and everybody knows the default secret: "
                "give a secret of your own with --secret-file, or leave --host at 127.0.0.1"
            )
        account = Account(options["username"], secret)
        pbxs = [_make_pbx(host, port, account, rate, seed + index) for index, port in enumerate(ports)]
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


def _make_pbx(host: str, port: int, account: Account, rate: float, seed: int) -> SimulatedPBX:
    office = open_office(seed=seed, start=time.time(), settings=OfficeSettings(calls_per_second=rate))
    try:
        return SimulatedPBX(office, [account], host=host, port=port)
    except PortRefused as error:
        raise CommandError(str(error)) from None


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
