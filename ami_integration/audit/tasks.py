"""The sealing of the audit, as Celery calls it."""

import logging

from celery import shared_task

from ami_integration.audit.models import AuditSeal
from ami_integration.audit.sealed import NotTold, seals_tell
from ami_integration.audit.seals import entries_seal
from ami_integration.outage import Outage

logger = logging.getLogger(__name__)
untold = Outage(logger, "seals of the audit are made, and not told outside the database")
#: Seals of one call; the next minute goes on.
MOST_SEALS = 100


@shared_task(name="audit.seal")
def seal() -> None:
    """Seal what was written since the last time. Called every minute; a second call is harmless."""
    made: list[AuditSeal] = []
    while len(made) < MOST_SEALS and (one := entries_seal()) is not None:
        made.append(one)
    try:
        seals_tell(made=made)
    except NotTold as error:
        untold.failed(error)
    else:
        untold.ended()
