"""Celery's side of a run: a primary key comes in, the row says the rest."""

from celery import shared_task

from ami_integration.actions import services


@shared_task(name="actions.execute")
def execute(run_id: int) -> None:
    """Execute a queued run. A message that comes twice or too late finds the row taken and does nothing."""
    services.run_execute(run_id=run_id)
