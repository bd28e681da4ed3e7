"""`manage.py prune_runs`: remove now what the action log no longer keeps.

The listener does it by itself, a few batches a minute. This is for those who have just shortened a retention
and want the room at once, or want to know beforehand what would leave.
"""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from ami_integration.actions.retention import log_due, log_prune


class Command(BaseCommand):
    help = "Remove runs and results that are older than their retention."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="Only say what would be removed.")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["dry_run"]:
            runs, results = log_due()
            self.stdout.write(f"{runs} runs and {results} results of other runs would be removed.")
            return
        runs = results = 0
        while True:
            more_runs, more_results = log_prune()
            runs, results = runs + more_runs, results + more_results
            if not more_runs and not more_results:
                break
        self.stdout.write(f"Removed {runs} runs and {results} results of other runs.")
