"""`manage.py audit_verify`: whether the audit is as it was sealed. Exits with 1 if it isn't."""

import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from ami_integration.audit.sealed import NotTold, seals_read
from ami_integration.audit.verification import audit_verify


class Command(BaseCommand):
    help = "Find sealed entries of the audit that were changed, removed or inserted."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--seals",
            type=Path,
            help="A file with the seals that were told outside the database, or a log with them. By default "
            "the file of AMIWEB_AUDIT_SEALS.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        path = options["seals"]
        if path is None and settings.AMIWEB_AUDIT_SEALS not in ("", "log"):
            path = Path(settings.AMIWEB_AUDIT_SEALS)
        try:
            found = audit_verify(told=None if path is None else seals_read(path))
        except NotTold as error:
            raise CommandError(str(error)) from None
        for problem in found.problems:
            self.stderr.write(problem)
        for note in found.notes:
            self.stdout.write(note)
        if path is None:
            self.stdout.write(
                "Nothing was compared with seals told outside the database, so a cut-off end doesn't show: "
                "name a file by --seals or AMIWEB_AUDIT_SEALS."
            )
        waiting = f", since {found.oldest_unsealed:%Y-%m-%d %H:%M:%S} UTC" if found.oldest_unsealed else ""
        self.stdout.write(f"Not sealed yet: {_count(found.unsealed, 'entry', 'entries')}{waiting}.")
        looked = f"{_count(found.seals, 'seal')} over {_count(found.entries, 'entry', 'entries')}"
        if not found.ok:
            self.stderr.write(f"The audit is NOT as it was sealed ({looked}).")
            sys.exit(1)
        self.stdout.write(f"The audit is as it was sealed: {looked}.")


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"
