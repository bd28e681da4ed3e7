"""The office's dialplan, the one of tests/simulator/recording/conf/extensions.conf."""

from collections.abc import Generator

from ami_integration.simulator.calls import Call, HungUp, Redirected
from ami_integration.simulator.channels import Channel, State
from ami_integration.simulator.company import ROOMS, Plan
from ami_integration.simulator.conferencing import confbridge
from ami_integration.simulator.dialling import NETWORK, Steps, Wait, dial, next_priority
from ami_integration.simulator.queueing import run_queue


def run_dialplan(call: Call, channel: Channel, plan: Plan) -> Steps:
    """Run the channel's extension to its end, and any that it is sent to, and hang it up."""
    switch = call.office.switch
    cause = 0
    redirected: Redirected | None = None
    while True:
        try:
            cause = yield from _run_extension(call, channel, plan)
            redirected = call.take_redirect(channel)
        except Redirected as sent:
            redirected = sent
        except HungUp as hung_up:
            cause = hung_up.cause
            redirected = None
        if redirected is None or channel.gone:
            break
        redirected.go(call)
    if not channel.gone:
        switch.request_hangup(channel, 16, soft=True)
        if cause == 17 and channel.is_sip:
            channel.tech_cause = "486"
        switch.hang_up(channel, cause)


def _run_extension(call: Call, channel: Channel, plan: Plan) -> Generator[Wait, None, int]:
    """Run an extension from the channel's priority on; gives the cause that the channel ends with."""
    office, switch = call.office, call.office.switch
    first = channel.priority
    if not office.extension_exists(channel.context, channel.exten, first):
        return 0
    if channel.context == "from-trunk":
        target = channel.exten[4:]
        switch.execute(channel, "Goto", f"office,{target},1")
        channel.context, channel.exten = "office", target
    cause = 16
    channel.priority = max(1, first - 1)  # the steps behind the first one count on from the one before
    if channel.exten in office.phones:
        status = ""
        if first == 1:
            status, cause = yield from dial(call, channel, plan)
        if status != "ANSWER":
            next_priority(call, channel, "Hangup")
        return cause
    if first == 1:
        yield from answer(call, channel)
    queue = next((queue for queue in office.queues.values() if queue.exten == channel.exten), None)
    if first == 3:
        pass
    elif queue is not None:
        yield from run_queue(call, channel, queue, plan)
        return cause
    elif channel.exten in ROOMS:
        yield from confbridge(call, channel, channel.exten, plan)
    else:
        next_priority(call, channel, "Wait", "2")
        yield 2.0
    next_priority(call, channel, "Hangup")
    return cause


def answer(call: Call, channel: Channel) -> Steps:
    """Answer(): the channel is up, unless it was."""
    switch = call.office.switch
    switch.execute(channel, "Answer")
    if channel.state is not State.UP:
        switch.set_state(channel, State.UP)
        yield NETWORK
