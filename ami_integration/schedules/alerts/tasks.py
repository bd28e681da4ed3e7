"""Celery's side of alerts: the id of a channel comes in, the rows say the rest."""

from celery import shared_task

from ami_integration.schedules.alerts.delivery import channel_deliver
from ami_integration.schedules.alerts.services import TASK


@shared_task(name=TASK)
def deliver(channel_id: int) -> None:
    """Send what is due of a channel. A message that comes twice finds the rows taken and does nothing."""
    channel_deliver(channel_id=channel_id)
