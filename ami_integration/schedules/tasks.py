"""The tick of the clock."""

from celery import shared_task

from ami_integration.schedules import services


@shared_task(name="schedules.tick")
def tick() -> None:
    """Take what is due. Called every second; a second beat, or a message that comes twice, is harmless."""
    services.schedules_tick()
