"""The simulator tells a call as a real Asterisk told it: same events, headers, order and values."""

from pathlib import Path

import pytest

from tests.simulator.comparison import (
    Message,
    capture_folders,
    comparable,
    events,
    is_told_alike,
    strands,
)
from tests.simulator.scenes import SCENES, Stage


def _strands(data: bytes) -> dict[str, list[Message]]:
    alike = [message for message in events(data) if is_told_alike(message)]
    return {name: [comparable(one) for one in strand] for name, strand in strands(alike).items()}


def _names(strand: list[Message]) -> list[str]:
    return [f"{dict(message)['Event']} {dict(message).get('Variable', '')}".strip() for message in strand]


def _play(name: str, capture: bytes) -> bytes:
    stage = Stage()
    # A real queue that has been used goes on where it was in its round.
    rung = [dict(message)["Interface"] for message in events(capture) if message[0][1] == "AgentCalled"]
    if rung and "ringall" not in name:
        stage.first_member(rung[0])
    SCENES[name](stage)
    stage.play_to_the_end()
    return stage.data()


@pytest.mark.parametrize("folder", capture_folders(), ids=lambda folder: folder.name)
@pytest.mark.parametrize("name", SCENES)
def test_a_scene_is_told_as_the_real_one_told_it(name: str, folder: Path) -> None:
    capture = (folder / f"{name}.ami").read_bytes()
    real, simulated = _strands(capture), _strands(_play(name, capture))

    assert sorted(simulated) == sorted(real)
    for strand in real:
        assert _names(simulated[strand]) == _names(real[strand]), strand
        assert simulated[strand] == real[strand], strand


def test_every_recorded_scenario_is_played() -> None:
    for folder in capture_folders():
        # Of a phone that doesn't exist only the outcome is told; test_originate.py has it.
        assert {path.stem for path in folder.glob("*.ami")} - {"originate-unknown-phone"} == set(SCENES)


def test_after_each_scene_no_channel_and_no_caller_is_left() -> None:
    for name, scene in SCENES.items():
        stage = Stage()
        scene(stage)
        stage.play_to_the_end()
        assert not stage.office.switch.channels, name
        assert not stage.office.conferences, name
        assert all(not queue.callers for queue in stage.office.queues.values()), name


def _shapes(data: bytes) -> dict[str, set[tuple[str, ...]]]:
    found: dict[str, set[tuple[str, ...]]] = {}
    for message in events(data):
        found.setdefault(dict(message)["Event"], set()).add(tuple(name for name, _ in message))
    return found


def test_every_event_has_the_headers_it_has_in_the_captures_of_local_channels() -> None:
    """tests/captures was recorded apart from this, with another dialplan: events look the same there."""
    captured: dict[str, set[tuple[str, ...]]] = {}
    for path in (Path(__file__).parents[1] / "captures" / "22").glob("*.ami"):
        if not path.name.endswith(".sent.ami"):
            for name, shapes in _shapes(path.read_bytes()).items():
                captured.setdefault(name, set()).update(shapes)
    simulated: dict[str, set[tuple[str, ...]]] = {}
    for scene in SCENES.values():
        stage = Stage()
        scene(stage)
        stage.play_to_the_end()
        for name, shapes in _shapes(stage.data()).items():
            simulated.setdefault(name, set()).update(shapes)

    for name in simulated.keys() & captured.keys():
        # Without causes, which not every hangup has.
        plain = {tuple(h for h in shape if h not in {"Cause", "TechCause"}) for shape in captured[name]}
        mine = {tuple(h for h in shape if h not in {"Cause", "TechCause"}) for shape in simulated[name]}
        assert mine & plain, name
    assert {
        "Newchannel",
        "DialBegin",
        "BridgeEnter",
        "Hangup",
        "QueueCallerJoin",
    } <= simulated.keys() & captured.keys()
