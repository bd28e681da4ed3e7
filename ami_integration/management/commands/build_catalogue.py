"""`manage.py build_catalogue`: makes a shipped catalogue from a real PBX, at release time.

Only facts are written (names, what is required, values, privileges), no sentence of Asterisk's. Look at the
difference before you commit it: a PBX with few modules makes a poor catalogue.
"""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ami_integration.actions.catalogue.reading import pbx_read
from ami_integration.actions.catalogue.shipped import FOLDER, facts_write
from ami_integration.ami import AMIError
from ami_integration.ami.printing import printable
from ami_integration.secrets.encryption import SecretUnreadable
from ami_integration.servers.models import Server
from ami_integration.servers.sessions import open_session


class Command(BaseCommand):
    help = "Write the catalogue that amiweb ships for a version of Asterisk, from a server of that version."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("server", help="The name of a server whose login may run Command.")
        parser.add_argument(
            "--folder", type=Path, default=FOLDER, help="Where the file goes (default: among amiweb's code)."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            server = Server.objects.get(name=options["server"])
        except Server.DoesNotExist:
            raise CommandError(f"There is no server named {options['server']!r}.") from None
        try:
            with open_session(server, purpose="build_catalogue") as client:
                reading = pbx_read(client)
        except (AMIError, SecretUnreadable) as error:
            raise CommandError(printable(f"{server.name}: {error}")) from error
        if not reading.actions:
            raise CommandError(
                f"{server.name}: its login may not run Command, so the PBX describes nothing. Grant the "
                "account write=all for this."
            )
        try:
            file = facts_write(
                version=reading.asterisk_version,
                actions=reading.actions,
                events=reading.events,
                folder=options["folder"],
            )
        except ValueError as error:
            raise CommandError(printable(f"{server.name}: {error}")) from error
        self.stdout.write(
            f"{file}: {len(reading.actions)} actions and {len(reading.events)} events of Asterisk "
            f"{printable(reading.asterisk_version)}."
        )
