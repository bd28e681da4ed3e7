"""
A PBX that speaks AMI without telephony: for the trial, for training, for tests and for load.

``SimulatedPBX`` is the server, ``open_office()`` makes the company that calls go on in, ``Faults`` go wrong
on demand, and a ``Replay`` tells what a real PBX told. It is plain Python (asyncio) and knows neither Django
nor the client (replay.py alone reads the client's recordings); that it parses and writes AMI by itself is
told in requests.py and wire.py. How far it is like a real Asterisk 22 is measured against captures of one
(tests/simulator), and against one that runs (tests/pbx/test_simulator.py).

Known to differ: the order of events of different channels is always one of the many that a real PBX's
threads produce; a Local channel's device tells each state once; of an Originate's applications only Wait()
is timed, any other takes ten seconds; Codecs, EarlyMedia and PreDialGoSub are accepted and do nothing; a
queue calls only members whose interface is a phone of the office; Setvar and Getvar know few functions
(variables.py), and variables aren't inherited; endpoints have no authentication to show; no RTCP events, CDR
or CEL; HTTP is not there.
"""

from ami_integration.simulator.company import OfficeSettings, Plan
from ami_integration.simulator.faults import Faults
from ami_integration.simulator.office import Office
from ami_integration.simulator.people import open_office
from ami_integration.simulator.replay import Replay
from ami_integration.simulator.server import Account, Limits, PortRefused, SimulatedPBX
from ami_integration.simulator.version import AMI_VERSION, ASTERISK_VERSION
from ami_integration.simulator.wire import Event, EventClass

USERNAME = "amiweb"
SECRET = "simulated"  # noqa: S105 - protects nothing: the simulator has no telephony and listens on loopback
"""The account of the trial's simulated PBXs."""

__all__ = [
    "AMI_VERSION",
    "ASTERISK_VERSION",
    "SECRET",
    "USERNAME",
    "Account",
    "Event",
    "EventClass",
    "Faults",
    "Limits",
    "Office",
    "OfficeSettings",
    "Plan",
    "PortRefused",
    "Replay",
    "SimulatedPBX",
    "open_office",
]
