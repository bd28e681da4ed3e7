"""Telling others that a row changed: the workers that it waits, and the open pages that a run has news.

Both go through Valkey, both are hints and not the truth, and so neither ever raises: a worker that isn't
rung finds the row by the sweep, a page that isn't told reads the row again by itself. The first failure is
logged, and the recovery; what happens in between is not news.
"""

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

from asgiref.sync import async_to_sync
from celery import current_app
from channels.layers import get_channel_layer

from ami_integration.actions.models import ActionRun, FanOut
from ami_integration.outage import Outage

logger = logging.getLogger(__name__)

#: The Celery task that executes a run (`tasks.execute`), by name, because the tasks call the services.
TASK = "actions.execute"
#: Seconds that a push may take: it is called between the claim of a run and its sending.
PUSH_LIMIT = 2


task_queue = Outage(
    logger, "the task queue can't be reached; runs and alerts wait in the database until a sweep rings again"
)
channel_layer = Outage(
    logger, "the channel layer can't be reached; open pages read their run again by themselves"
)


def ring(ids: Iterable[int], *, task: str = TASK) -> list[int]:
    """Tell the workers of these rows, once; the first failure ends it, since the next would fail too.

    A connection of its own, opened now: a pooled one may have died with the broker, and the settings that
    let a worker wait for its broker (kombu tries again with a pause between) would hold a web request up
    for seconds.

    Args:
        ids: of the runs, or of what else the task works on.
        task: the Celery task, which takes one of them.

    Returns:
        those that the task queue took.
    """
    rung: list[int] = []
    options = {
        **current_app.conf.broker_transport_options,
        "max_retries": 0,
        "socket_connect_timeout": 1,
        "socket_timeout": 2,
    }
    try:
        with current_app.connection_for_write(connect_timeout=1, transport_options=options) as connection:
            for pk in ids:
                current_app.send_task(task, (pk,), connection=connection, retry=False, ignore_result=True)
                rung.append(pk)
    except Exception as error:  # whatever it is, the sweep rings again
        task_queue.failed(error)
    else:
        if rung:
            task_queue.ended()
    return rung


def push(run_id: int) -> None:
    """Tell the pages that show this run to read it again."""
    _tell(ActionRun(pk=run_id).group, "run.changed", run_id)


def push_fanout(fanout_id: int) -> None:
    """Tell the pages that show this fan-out to read it again."""
    _tell(FanOut(pk=fanout_id).group, "fanout.changed", fanout_id)


def _tell(group: str, what: str, pk: int) -> None:
    try:
        async_to_sync(_push)(group, {"type": what, "id": str(pk)})
    except Exception as error:  # whatever it is, the page reads the rows again by itself
        channel_layer.failed(error)
    else:
        channel_layer.ended()


async def _push(group: str, message: dict[str, Any]) -> None:
    layer = get_channel_layer()
    assert layer is not None  # the settings name one
    async with asyncio.timeout(PUSH_LIMIT):
        await layer.group_send(group, message)
