"""The office's dialplan, the one of tests/simulator/recording/conf/extensions.conf."""

from ami_integration.simulator.conferencing import confbridge
from ami_integration.simulator.dialling import NETWORK, Steps, dial, next_priority
from ami_integration.simulator.office import ROOMS, Call, HungUp, Plan
from ami_integration.simulator.queueing import run_queue
from ami_integration.simulator.telephony import Channel, State


def run_dialplan(call: Call, channel: Channel, plan: Plan) -> Steps:
    """Run the channel's extension to its end, and hang it up."""
    office, switch = call.office, call.office.switch
    cause = 16
    try:
        if channel.context == "from-trunk":
            target = channel.exten[4:]
            switch.execute(channel, "Goto", f"office,{target},1")
            channel.context, channel.exten = "office", target
        if channel.exten in office.phones:
            status, cause = yield from dial(call, channel, plan)
            if status != "ANSWER":
                next_priority(call, channel, "Hangup")
        elif channel.exten in ROOMS:
            yield from answer(call, channel)
            yield from confbridge(call, channel, channel.exten, plan)
        elif channel.exten == "800":
            yield from answer(call, channel)
            next_priority(call, channel, "Wait", "2")
            yield 2.0
            next_priority(call, channel, "Hangup")
        else:
            queue = next(queue for queue in office.queues.values() if queue.exten == channel.exten)
            yield from answer(call, channel)
            yield from run_queue(call, channel, queue, plan)
    except HungUp as hung_up:
        cause = hung_up.cause
    if not channel.gone:
        switch.request_hangup(channel, 16, soft=True)
        if cause == 17 and channel.is_sip:
            channel.tech_cause = "486"
        switch.hang_up(channel, cause)


def answer(call: Call, channel: Channel) -> Steps:
    """Answer(): the channel is up, unless it was."""
    switch = call.office.switch
    switch.execute(channel, "Answer")
    if channel.state is not State.UP:
        switch.set_state(channel, State.UP)
        yield NETWORK
