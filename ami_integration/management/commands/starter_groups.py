"""Make the groups Viewer, Operator, Engineer and Administrator with their access rules, where missing."""

from typing import Any

from django.core.management.base import BaseCommand

from ami_integration.access.starters import starter_groups_make


class Command(BaseCommand):
    help = (
        "Makes the groups Viewer, Operator, Engineer and Administrator with their permissions and an access "
        "rule on all servers. What exists stays as it is."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        made = starter_groups_make()
        for line in made:
            self.stdout.write(f"made {line}")
        if not made:
            self.stdout.write("nothing to make: all four groups exist, and were left as they are")
