"""The tick of the clock."""

from celery import shared_task

from ami_integration.schedules.tick import schedules_tick


@shared_task(name="schedules.tick")
def tick() -> None:
    """Take what is due. Called every second; a second beat, or a message that comes twice, is harmless."""
    schedules_tick()
