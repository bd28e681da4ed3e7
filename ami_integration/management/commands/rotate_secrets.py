"""`manage.py rotate_secrets`: everything stored encrypted is encrypted anew with the first key."""

import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from ami_integration.audit.services import entry_write
from ami_integration.secrets.columns import NAMED
from ami_integration.secrets.rotation import Rotated, secrets_rotate


class Command(BaseCommand):
    help = (
        "Encrypt whatever is stored encrypted anew, with the first key of AMIWEB_ENCRYPTION_KEYS. May be "
        "interrupted and run again, and amiweb goes on meanwhile. Exits with 1 if something can't be read."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        ring = list(settings.AMIWEB_ENCRYPTION_KEYS)
        if not ring:
            raise CommandError("AMIWEB_ENCRYPTION_KEYS holds no key.")
        what = {"key": ring[0]}
        entry_write(actor=None, origin="command", verb="secrets.rotate", what=what, outcome="intent")
        columns = secrets_rotate(batch_done=self._say)
        unreadable = {
            str(done.column): sum(len(rows) for rows in done.unreadable.values())
            for done in columns
            if done.unreadable
        }
        entry_write(
            actor=None,
            origin="command",
            verb="secrets.rotate",
            what={
                **what,
                "rotated": {str(done.column): done.rotated for done in columns if done.rotated},
                "unreadable": unreadable,
            },
            outcome="failed" if unreadable else "done",
        )
        for done in columns:
            for why, rows in done.unreadable.items():
                first = ", ".join(f"id {pk}" for pk in rows[:NAMED])
                more = f" and {len(rows) - NAMED} more" if len(rows) > NAMED else ""
                self.stderr.write(f"{done.column}: {len(rows)} left as they are ({first}{more}): {why}")
        if unreadable:
            sys.exit(1)
        edited = sum(done.edited for done in columns)
        if edited:
            self.stdout.write(f"{edited} rows were edited meanwhile: run it once more.")
        elif len(ring) > 1:
            others = ", ".join(ring[1:])
            self.stdout.write(
                f"All is encrypted with {ring[0]!r}. Backups need the keys of their time; amiweb itself "
                f"doesn't need {others} any more, once every process runs with {ring[0]!r} as the first."
            )

    def _say(self, done: Rotated) -> None:
        closed = sum(len(rows) for rows in done.unreadable.values())
        self.stdout.write(
            f"{done.column}: {done.rotated} encrypted anew, {done.kept} were already"
            + (f", {closed} can't be read" if closed else "")
        )
