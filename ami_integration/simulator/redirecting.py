"""Redirect: a channel leaves what it does and goes on elsewhere in the dialplan."""

from ami_integration.simulator.calls import Call, Place, Redirected
from ami_integration.simulator.channels import Channel
from ami_integration.simulator.dialplan import run_dialplan
from ami_integration.simulator.office import Office
from ami_integration.simulator.people import some_plan


def redirect(office: Office, channel: Channel, place: Place) -> None:
    """Send a channel there; takes effect at the next step of the call that it is in.

    Asterisk doesn't ask whether there is such a place, and a channel that finds none is hung up.
    """

    def resume(redirected: Redirected) -> None:
        call = Call(office)
        channel.owner = call
        call.start(run_dialplan(call, channel, some_plan(office)))

    channel.owner.interrupt(Redirected(channel, place, resume))
