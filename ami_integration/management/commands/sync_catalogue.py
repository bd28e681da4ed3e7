"""`manage.py sync_catalogue`: reads what servers say of their actions and events, now and in this process."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ami_integration.actions.catalogue.services import SyncRefused, catalogue_sync
from ami_integration.ami import AMIError
from ami_integration.ami.printing import printable
from ami_integration.secrets.encryption import SecretUnreadable
from ami_integration.servers.models import Server
from ami_integration.servers.waiting import MustWait


class Command(BaseCommand):
    help = "Read the catalogue of servers: which actions and events there are, and what the login may run."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("servers", nargs="*", metavar="server", help="Names of servers.")
        parser.add_argument("--all", action="store_true", help="Every enabled server.")

    def handle(self, *args: Any, **options: Any) -> None:
        names = options["servers"]
        if bool(names) == options["all"]:
            raise CommandError("Name servers, or give --all.")
        servers = list(Server.objects.enabled() if options["all"] else Server.objects.filter(name__in=names))
        if missing := sorted(set(names) - {server.name for server in servers}):
            raise CommandError(f"There is no server named {', '.join(missing)}.")
        failed = 0
        for server in servers:
            try:
                synced = catalogue_sync(server=server)
            except (AMIError, SecretUnreadable, SyncRefused, MustWait) as error:
                failed += 1
                self.stderr.write(printable(f"{server.name}: {error}"))
            else:
                self.stdout.write(printable(f"{server.name}: {synced.sentence}."))
        if failed:
            raise CommandError(f"{failed} of {len(servers)} could not be read.")
