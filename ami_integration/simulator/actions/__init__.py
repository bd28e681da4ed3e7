"""
The actions that the simulator offers, answered as Asterisk 22 answers them
(tests/simulator/captures/22*/exchanges, tests/pbx/test_simulator.py).

A handler gets the session and the request and writes the reply through the session. One that takes its time
(a failed login, an Originate that isn't asynchronous) simply awaits: its session does nothing else
meanwhile, as on the real one.
"""

from ami_integration.simulator.actions import (
    calls,
    conferences,
    core,
    database,
    devices,
    originate,
    queues,
    sessions,
)
from ami_integration.simulator.actions.action import Action, Handler, SessionClosed
from ami_integration.simulator.catalogue import DESCRIPTIONS

_HANDLERS: dict[str, Handler] = {
    name: handler
    for room in (sessions, core, calls, originate, queues, conferences, database, devices)
    for name, handler in room.HANDLERS.items()
}

ACTIONS = {page.name.lower(): Action(page, _HANDLERS[page.name]) for page in DESCRIPTIONS}
"""Every action by its name in lower case."""

__all__ = ["ACTIONS", "Action", "SessionClosed"]
