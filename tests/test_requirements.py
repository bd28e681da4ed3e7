"""What is installed is what the files say, on every machine and every supported Python."""

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent.parent / "requirements"


@pytest.mark.parametrize("name", ["base.txt", "dev.txt", "bench.txt"])
def test_compiled_requirements_name_no_index_and_no_path_of_the_machine_that_compiled_them(name: str) -> None:
    text = (FOLDER / name).read_text()
    assert "://" not in text
    assert not re.search(r"(?m)(?:^|\s)(?:/|~|[A-Za-z]:\\)", text)
    assert not re.search(r"(?m)^--(?!hash)", text)


@pytest.mark.parametrize(("name", "least"), [("base.txt", 32), ("dev.txt", 32), ("bench.txt", 3)])
def test_every_compiled_requirement_is_pinned_and_hashed(name: str, least: int) -> None:
    blocks = re.split(r"(?m)^(?=[A-Za-z0-9])", (FOLDER / name).read_text())
    packages = [block for block in blocks if re.match(r"[A-Za-z0-9]", block)]
    assert len(packages) >= least
    for block in packages:
        first = block.splitlines()[0]
        assert re.match(r"[a-z0-9._-]+(\[[a-z,]+\])?==\S+", first), first
        assert "--hash=sha256:" in block, first


@pytest.mark.parametrize("name", ["base.in", "ssh.in", "dev.in", "bench.in"])
def test_every_direct_dependency_has_a_reason_beside_it(name: str) -> None:
    for line in (FOLDER / name).read_text().splitlines():
        if line and not line.startswith(("#", "-")):
            assert re.search(r"\s# \w.{8,}", line), line


def test_every_direct_dependency_is_in_the_compiled_file() -> None:
    pairs = (
        ("base.in", "base.txt"),
        ("ssh.in", "base.txt"),
        ("dev.in", "dev.txt"),
        ("bench.in", "bench.txt"),
    )
    for source, compiled in pairs:
        pinned = set(re.findall(r"(?m)^([a-z0-9._-]+)(?:\[[a-z,]+\])?==", (FOLDER / compiled).read_text()))
        for line in (FOLDER / source).read_text().splitlines():
            if line and not line.startswith(("#", "-")):
                wanted = re.match(r"[A-Za-z0-9._-]+", line)
                assert wanted is not None
                assert wanted[0].lower().replace("_", "-") in pinned, f"{line}: run `make requirements`"


def test_the_web_brings_the_ssh_tunnels_of_the_client_in_the_same_versions() -> None:
    wanted = re.findall(r"(?m)^([a-z].*?)\s+#", (FOLDER / "ssh.in").read_text())
    assert wanted
    assert set(wanted) <= set(re.findall(r"(?m)^([a-z].*?)\s+#", (FOLDER / "base.in").read_text()))


def test_test_run_installs_the_same_versions_as_the_trial() -> None:
    def pins(name: str) -> dict[str, str]:
        return dict(re.findall(r"(?m)^([a-z0-9._-]+)(?:\[[a-z,]+\])?==(\S+)", (FOLDER / name).read_text()))

    base, dev = pins("base.txt"), pins("dev.txt")
    assert {name: dev.get(name) for name in base} == base
