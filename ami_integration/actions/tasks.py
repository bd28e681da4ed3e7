"""Celery's side of a run: a primary key comes in, the row says the rest."""

import logging

from celery import shared_task
from celery.signals import worker_process_shutdown

from ami_integration.actions.catalogue import services as catalogue
from ami_integration.actions.worker import run_execute
from ami_integration.ami import AMIError
from ami_integration.secrets.encryption import SecretUnreadable
from ami_integration.servers.models import Server
from ami_integration.servers.sessions import pool
from ami_integration.servers.waiting import MustWait

logger = logging.getLogger(__name__)


@shared_task(name="actions.execute")
def execute(run_id: int) -> None:
    """Execute a queued run. A message that comes twice or too late finds the row taken and does nothing."""
    run_execute(run_id=run_id)


@shared_task(name="actions.catalogue_sync")
def catalogue_sync(server_id: int) -> None:
    """Read what a server says of itself. What fails is noted at the server, and tried again by the sweep."""
    server = Server.objects.filter(pk=server_id).first()
    if server is None:
        return
    try:
        synced = catalogue.catalogue_sync(server=server)
    except MustWait as reason:
        logger.info("Reading the catalogue of %s waits: %s", server.name, reason)
    except (AMIError, SecretUnreadable, catalogue.SyncRefused) as error:
        logger.warning("Reading the catalogue of %s failed: %s", server.name, error)
    else:
        logger.info("Catalogue of %s: %s.", server.name, synced.sentence)


@worker_process_shutdown.connect
def sessions_close(**_: object) -> None:
    """A prefork worker's child ends without Python's own farewell (`atexit`), which does this elsewhere."""
    pool.stop()
