"""
What the simulator says of its actions and events: in the layout of Asterisk 22, in sentences of our own.

``pages`` is the layout; the other modules hold the descriptions, by what they are about. Names, order,
required headers, values and privileges are those of a real Asterisk 22 (a test compares them with the facts
in ami_integration/actions/catalogue/data/22.json), so that a form made of them fits the real one too.
"""

from ami_integration.simulator.catalogue.calls import ACTIONS as _CALLS
from ami_integration.simulator.catalogue.conferences import ACTIONS as _CONFERENCES
from ami_integration.simulator.catalogue.conferences import EVENTS as _OF_CONFERENCES
from ami_integration.simulator.catalogue.database import ACTIONS as _DATABASE
from ami_integration.simulator.catalogue.devices import ACTIONS as _DEVICES
from ami_integration.simulator.catalogue.devices import EVENTS as _OF_DEVICES
from ami_integration.simulator.catalogue.events import EVENTS as _OF_CALLS
from ami_integration.simulator.catalogue.pages import Argument, Description, EventDescription
from ami_integration.simulator.catalogue.queues import ACTIONS as _QUEUES
from ami_integration.simulator.catalogue.queues import EVENTS as _OF_QUEUES
from ami_integration.simulator.catalogue.sessions import ACTIONS as _SESSIONS
from ami_integration.simulator.catalogue.sessions import EVENTS as _OF_SESSIONS

DESCRIPTIONS: tuple[Description, ...] = tuple(
    sorted(
        (*_SESSIONS, *_CALLS, *_QUEUES, *_CONFERENCES, *_DATABASE, *_DEVICES),
        key=lambda description: description.name.lower(),
    )
)
_LISTED = tuple(
    event
    for description in DESCRIPTIONS
    for event in (*description.items, *((description.complete,) if description.complete else ()))
)
EVENTS: dict[str, EventDescription] = {
    event.name: event
    for event in sorted(
        (*_LISTED, *_OF_CALLS, *_OF_QUEUES, *_OF_CONFERENCES, *_OF_DEVICES, *_OF_SESSIONS),
        key=lambda event: event.name,
    )
}
"""Every event that the simulator tells or lists, by name."""

__all__ = ["DESCRIPTIONS", "EVENTS", "Argument", "Description", "EventDescription"]
