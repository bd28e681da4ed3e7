"""`manage.py audit_prune --days N`: remove the oldest part of the audit, and keep the hash that closes it.

Nothing else removes entries: without this command the audit is kept for ever.
"""

import sys
from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from ami_integration.audit.models import AuditSegment
from ami_integration.audit.retention import NotClosed, segment_close, segment_due

#: Fewer would be a way to remove traces of today.
LEAST_DAYS = 30


class Command(BaseCommand):
    help = "Remove audit entries that are older than so many days; what is removed is closed by its hash."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--days", type=int, required=True, help=f"Days that are kept, {LEAST_DAYS} or more."
        )
        parser.add_argument("--dry-run", action="store_true", help="Only say what would be removed.")

    def handle(self, *args: Any, **options: Any) -> None:
        days = options["days"]
        if days < LEAST_DAYS:
            raise CommandError(f"--days is {LEAST_DAYS} or more: {days} would remove what happened just now.")
        before = timezone.now() - timedelta(days=days)
        if options["dry_run"]:
            self._say("Would be removed", segment_due(before=before))
            return
        try:
            self._say("Removed", segment_close(before=before))
        except NotClosed as error:
            for problem in error.found.problems if error.found else ():
                self.stderr.write(problem)
            self.stderr.write(str(error))
            sys.exit(1)

    def _say(self, verb: str, segment: AuditSegment | None) -> None:
        if segment is None:
            self.stdout.write("Nothing that is sealed is that old.")
            return
        self.stdout.write(
            f"{verb}: {segment.entries:,} entries, {segment}, sealed {segment.first_at:%Y-%m-%d} to "
            f"{segment.last_at:%Y-%m-%d}, closed by {segment.digest}."
        )
