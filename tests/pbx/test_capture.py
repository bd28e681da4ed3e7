"""Both commands that record captures still do, and what they write is what the tests read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.pbx import capture, provision
from tests.pbx.asterisk import Asterisk
from tests.simulator.recording import record

pytestmark = pytest.mark.pbx


def names_of(data: bytes) -> list[bytes]:
    return re.findall(rb"(?m)^Event: ([^\r\n]+)", data)


@pytest.mark.usefixtures("asterisk22", "asterisk16")  # where there is none, they say why
def test_a_scenario_of_the_wire_is_recorded_from_every_version(tmp_path: Path) -> None:
    assert capture.main(["--to", str(tmp_path), "originate_no_such_channel", "queue_status"]) == 0
    for suite in provision.SUITES.values():
        folder = tmp_path / suite.asterisk
        kept = {path.name for path in folder.iterdir()}
        assert kept == {
            "version",
            *(
                f"{name}{end}"
                for name in ("originate_no_such_channel", "queue_status")
                for end in (".ami", ".sent.ami")
            ),
        }
        before = (capture.CAPTURES / suite.asterisk / "originate_no_such_channel.ami").read_bytes()
        data = (folder / "originate_no_such_channel.ami").read_bytes()
        assert data.startswith(b"Asterisk Call Manager/")
        assert set(names_of(data)) == set(names_of(before))
        sent = (folder / "originate_no_such_channel.sent.ami").read_bytes()
        assert b"\r\nKey: " + b"*" * 32 + b"\r\n" in sent


def test_a_scenario_of_the_office_is_recorded(asterisk22: Asterisk, tmp_path: Path) -> None:
    assert record.main(["--to", str(tmp_path), "call-busy"]) == 0
    (file,) = (tmp_path / asterisk22.version).iterdir()
    (before,) = record.CAPTURES.glob("*/call-busy.ami")
    # How often the test framework of Debian's build speaks is a matter of chance.
    kept, known = (
        [name for name in names_of(data) if name != b"TestEvent"]
        for data in (file.read_bytes(), before.read_bytes())
    )
    assert sorted(kept) == sorted(known)
