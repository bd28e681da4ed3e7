"""The coverage-guided fuzz target: ``python -m tests.fuzz.fuzz_protocol CORPUS [libFuzzer options]``.

The first bytes of an input say where the rest is cut; the rest is what a PBX sends after its banner. Whatever
it is, nothing raises, the messages are those of the plain reference however the input is cut, and reading one
header gives what reading all of them gives.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["ami_integration"]):
    from ami_integration.ami import Event, Message, Protocol, Response

from tests.ami.reference import assert_regular, reference

BANNER = b"Asterisk Call Manager/11.0.0\r\n"


def check(data: bytes) -> None:
    """One input. Raises AssertionError, or whatever the protocol raises."""
    cuts, stream = data[:3], data[3:]
    bounds = [0, *sorted(len(stream) * cut // 256 for cut in cuts), len(stream)]
    protocol = Protocol("client")
    protocol.receive_data(BANNER)
    protocol.next_message()
    messages: list[Message] = []
    for start, end in zip(bounds, bounds[1:], strict=False):
        if start < end:
            protocol.receive_data(stream[start:end])
        while isinstance(message := protocol.next_message(), Message):
            messages.append(message)
    if b"follows" not in stream.lower():  # the reference knows only the short way to end such an answer
        seen = []
        for message in messages:
            *lines, last = message.raw.split(b"\n")
            seen.append([*(line.removesuffix(b"\r") for line in lines), last])
        assert seen == reference(stream)
    for message in messages:
        assert_regular(message)
        everything = message.items()
        for name, _ in everything[:5]:
            if name:
                same = [value for key, value in everything if key.lower() == name.lower()]
                exact = [value for key, value in everything if key == name]
                if type(message) in (Event, Response):
                    plain = [line for line in message.text.split("\r\n") if line.startswith(f"{name}: ")]
                    exact = [line[len(name) + 2 :] for line in plain] + exact
                assert message.get(name) == exact[0], (message.raw, name)
                assert message.getall(name) == same, (message.raw, name)
        _ = message.kind, message.name, repr(message)


def main() -> None:
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
