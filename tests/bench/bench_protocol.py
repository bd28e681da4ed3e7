"""How fast the parser turns bytes into messages: the listener does it for every event of every PBX."""

import time

import pytest

from ami_integration.ami import NEED_DATA, Protocol
from tests.bench import SCALE

EVENT = (
    b"Event: Newexten\r\nPrivilege: dialplan,all\r\nChannel: PJSIP/100-00000001\r\nChannelState: 4\r\n"
    b"ChannelStateDesc: Ring\r\nCallerIDNum: 100\r\nCallerIDName: Alice Example\r\n"
    b"ConnectedLineNum: <unknown>\r\nConnectedLineName: <unknown>\r\nLanguage: en\r\nAccountCode: \r\n"
    b"Context: internal\r\nExten: 200\r\nPriority: 2\r\nUniqueid: 1700000000.17\r\n"
    b"Linkedid: 1700000000.17\r\n"
    b"Extension: 200\r\nApplication: Dial\r\nAppData: PJSIP/200,30\r\n\r\n"
)
EVENTS = max(100, int(200_000 * SCALE))


@pytest.mark.parametrize("chunk", [64, 1500, 65536])
def bench_events_arriving_in_chunks_of(chunk: int) -> None:
    protocol = Protocol()
    protocol.receive_data(b"Asterisk Call Manager/11.0.0\r\n")
    protocol.next_message()
    stream = EVENT * EVENTS
    parsed = 0
    began = time.perf_counter()
    for start in range(0, len(stream), chunk):
        protocol.receive_data(stream[start : start + chunk])
        while (message := protocol.next_message()) is not NEED_DATA:
            parsed += message.get("Linkedid") is not None
    seconds = time.perf_counter() - began
    assert parsed == EVENTS
    assert message is NEED_DATA
    speed, volume = EVENTS / seconds, len(stream) / seconds / 1e6
    print(f"\n{speed:,.0f} events/s ({volume:.0f} MB/s) in chunks of {chunk} bytes")
