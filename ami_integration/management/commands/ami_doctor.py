"""`manage.py ami_doctor`: why a server can't be reached, step by step, and what mends it."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ami_integration.ami.printing import printable
from ami_integration.servers.doctor import ConnectionTest, Step
from ami_integration.servers.models import Server
from ami_integration.servers.services import connection_test_begin, connection_test_note, connection_walk

_MARKS = {"ok": "good", "note": "good, with a note", "failed": "FAILED", "waiting": "not reached"}


class Command(BaseCommand):
    help = "Examine the connection to a server, as “Test connection” on its page does."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("server", help="The name of a server.")

    def handle(self, *args: Any, **options: Any) -> None:
        server = Server.objects.filter(name=options["server"]).first()
        if server is None:
            raise CommandError(f"There is no server named {options['server']}.")
        self.stdout.write(f"{server.name}: {server.address}, account {server.username}")
        connection_test_begin(server=server, user=None, origin="command")
        test, told = ConnectionTest(server), 0
        for _ in connection_walk(test=test):
            while told < len(test.steps) and test.steps[told].ok is not None:
                self._tell(test.steps[told])
                told += 1
        connection_test_note(test=test)
        for step in test.steps[told:]:
            self._tell(step)
        if test.failed:
            raise CommandError(f"{server.name} can't be used: it ends at the step {test.failed.name}.")
        self.stdout.write(f"{server.name} can be used.")

    def _tell(self, step: Step) -> None:
        took = "" if step.ok is None else f" ({step.seconds:.2f} s)"
        self.stdout.write(f"{step.name}: {_MARKS[step.state]}{took}")
        for line in (step.seen, *(f"{label}: {text}" for label, text in step.shown)):
            if line:
                self.stdout.write(f"    {printable(line)}")
        if step.mend:
            self.stdout.write(f"    → {printable(step.mend)}")
