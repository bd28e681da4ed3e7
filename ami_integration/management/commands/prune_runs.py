"""`manage.py prune_runs`: remove now what the action log and the records of schedules no longer keep.

The listener does it by itself, a few batches a minute. This is for those who have just shortened a retention
and want the room at once, or want to know beforehand what would leave.
"""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from ami_integration.actions.retention import log_due, log_prune
from ami_integration.schedules.alerts.services import alerts_due, alerts_prune
from ami_integration.schedules.retention import planned_due, planned_prune


class Command(BaseCommand):
    help = "Remove runs and results that are older than their retention."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="Only say what would be removed.")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["dry_run"]:
            runs, results = log_due()
            self.stdout.write(f"{runs} runs and {results} results of other runs would be removed.")
            self.stdout.write(f"{_planned(planned_due())} would be removed.")
            self.stdout.write(f"{_alerts(alerts_due())} would be removed.")
            return
        runs = results = 0
        while True:
            more_runs, more_results = log_prune()
            runs, results = runs + more_runs, results + more_results
            if not more_runs and not more_results:
                break
        self.stdout.write(f"Removed {runs} runs and {results} results of other runs.")
        planned = 0
        while more := planned_prune():
            planned += more
        self.stdout.write(f"Removed {_planned(planned)}.")
        alerts = 0
        while more := alerts_prune():
            alerts += more
        self.stdout.write(f"Removed {_alerts(alerts)}.")


def _planned(number: int) -> str:
    return f"{number} planned time{'' if number == 1 else 's'} of schedules"


def _alerts(number: int) -> str:
    return f"{number} alert{'' if number == 1 else 's'} that {'was' if number == 1 else 'were'} over"
