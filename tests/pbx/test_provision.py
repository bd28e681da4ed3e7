"""Provisioning without provisioning: what it decides and says; `make pbx` itself is the test of the rest."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import requirements
from tests.pbx import fixtures, provision


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "amiweb" / "pbx"


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Puts programs of the test's own before those of the system."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def add(name: str, script: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)

    return add


def marked(cache: Path, suite: str, **changes: object) -> None:
    chroot = cache / suite
    chroot.mkdir(parents=True)
    data = {
        "recipe": provision.RECIPE,
        "suite": suite,
        "version": "22.10.1",
        "package": "1:22.10.1",
    } | changes
    (chroot / provision.MARKER).write_text(json.dumps(data))


def test_a_chroot_counts_only_with_its_marker(cache: Path) -> None:
    (cache / "sid").mkdir(parents=True)
    assert provision.read_finished("sid") is None
    (cache / "sid").rmdir()
    marked(cache, "sid")
    finished = provision.read_finished("sid")
    assert finished is not None
    assert finished.version == "22.10.1"
    assert finished.chroot == cache / "sid"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"recipe": 1}'])
def test_a_marker_that_was_cut_off_is_none(cache: Path, text: str) -> None:
    (cache / "sid").mkdir(parents=True)
    (cache / "sid" / provision.MARKER).write_text(text)
    assert provision.read_finished("sid") is None


def test_a_chroot_of_an_older_recipe_is_rebuilt(cache: Path) -> None:
    marked(cache, "sid", recipe=provision.RECIPE - 1)
    assert provision.read_finished("sid") is None


def test_a_finished_chroot_is_used_and_a_broken_one_rebuilt(
    cache: Path, programs: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    marked(cache, "sid")
    built: list[str] = []

    def build(suite: provision.Suite, lock: int) -> provision.Finished:
        built.append(suite.name)
        return provision.Finished(suite.name, "22.10.2", "1:22.10.2", cache / suite.name)

    monkeypatch.setattr(provision, "build", build)
    programs("chroot", "echo Asterisk 22.10.1+dfsg")
    assert provision.provision(provision.SUITES["sid"]).version == "22.10.1"
    assert built == []
    programs("chroot", "exit 127")
    assert provision.provision(provision.SUITES["sid"]).version == "22.10.2"
    assert built == ["sid"]


def test_who_comes_second_waits_and_uses_what_the_first_has_built(
    cache: Path,
    programs: Callable[[str, str], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    programs("chroot", "echo Asterisk 22.10.1+dfsg")
    first_is_building, second_waits = threading.Event(), threading.Event()

    def build(suite: provision.Suite, lock: int) -> provision.Finished:
        assert not first_is_building.is_set(), "built twice"
        first_is_building.set()
        assert second_waits.wait(15)
        marked(cache, suite.name)
        finished = provision.read_finished(suite.name)
        assert finished is not None
        return finished

    def say(suite: str, text: str) -> None:
        if "waiting" in text:
            second_waits.set()

    monkeypatch.setattr(provision, "build", build)
    monkeypatch.setattr(provision, "say", say)
    first = threading.Thread(target=provision.provision, args=(provision.SUITES["sid"],))
    first.start()
    assert first_is_building.wait(15)
    assert provision.provision(provision.SUITES["sid"]).version == "22.10.1"
    first.join(15)


def test_mirrors_are_those_of_apt_without_security_archives(
    programs: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("AMIWEB_PBX_MIRROR", raising=False)
    (tmp_path / "mirrors").write_text("http://mirror.example/debian/\thttp://other.example/debian\n")
    lines = [
        "http://a.example/debian/ bookworm main",
        "http://a.example/debian/ bookworm-updates main",
        "http://a.example/debian-security/ bookworm-security main",
        "http://b.example/tool/ stable other",
        f"mirror+file:{tmp_path}/mirrors bookworm main",
        "",
    ]
    programs("apt-get", "cat <<'END'\n" + "\n".join(lines) + "\nEND")
    assert provision.apt_mirrors() == ["http://a.example/debian", "http://mirror.example/debian"]
    monkeypatch.setenv("AMIWEB_PBX_MIRROR", "http://archive.example/debian/")
    assert provision.apt_mirrors() == ["http://archive.example/debian"]


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("E: Failed to fetch http://a.example/x  404  Not Found", provision.NotInstallable),
        ("E: Failed to fetch http://a.example/x  Could not resolve 'a.example'", provision.ProvisionError),
    ],
)
def test_a_suite_that_left_the_mirror_is_told_from_a_mirror_that_is_away(
    programs: Callable[[str, str], None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    said: str,
    error: type[Exception],
) -> None:
    monkeypatch.setenv("AMIWEB_PBX_MIRROR", "http://a.example/debian")
    programs("apt-helper", f'echo "{said}" >&2; exit 100')
    monkeypatch.setattr(provision, "APT_HELPER", "apt-helper")
    with pytest.raises(provision.ProvisionError) as caught:
        provision.find_mirror("bullseye", tmp_path)
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("E: Package 'asterisk' has no installation candidate", provision.NotInstallable),
        ("E: Failed to fetch http://a.example/asterisk.deb", provision.ProvisionError),
    ],
)
def test_a_failed_step_is_one_line_that_names_the_log(
    programs: Callable[[str, str], None], cache: Path, said: str, error: type[Exception]
) -> None:
    cache.mkdir(parents=True)
    programs("install-it", f'echo Reading; echo "{said}"; echo; exit 100')
    with pytest.raises(provision.ProvisionError) as caught:
        provision.run_logged(cache / "log", "install-it")
    assert type(caught.value) is error
    assert str(caught.value) == f"install-it failed (100): {said} (all of it: {cache / 'log'})"


def test_a_missing_16_is_recorded_and_no_failure_but_a_missing_22_is(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cache.mkdir(parents=True)

    def build(suite: provision.Suite, lock: int) -> provision.Finished:
        raise provision.NotInstallable(f"no mirror has {suite.name}")

    monkeypatch.setattr(provision, "build", build)
    monkeypatch.setattr(provision, "check_machine", lambda: None)
    assert provision.main(["bullseye"]) == 0
    assert provision.unavailable_reason("bullseye") == "no mirror has bullseye"
    assert provision.main(["sid"]) == 1
    assert "not installable: no mirror has sid" in capsys.readouterr().out


def test_a_recorded_missing_16_is_a_skip_even_where_a_pbx_is_required(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AMIWEB_TEST_REQUIRE", "pbx")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(requirements, "_missed", {})
    with pytest.raises(pytest.fail.Exception, match="make pbx"):
        fixtures.prepared("16")
    cache.mkdir(parents=True)
    provision.unavailable_marker("bullseye").write_text("no mirror has it\n")
    with pytest.raises(pytest.skip.Exception, match="no mirror has it"):
        fixtures.prepared("16")


def test_an_ordinary_user_gets_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert provision.main([]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "pbx: must run as root (debootstrap and chroot need it); the other tests run without it"
    ]


def test_a_missing_debootstrap_is_named_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("shutil.which", lambda program: program != "debootstrap" or None)
    assert provision.main([]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "pbx: debootstrap not installed; apt-get install debootstrap"
    ]


def test_it_runs_on_a_bare_python() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", "import sys; sys.path.insert(0, '.'); import tests.pbx.provision"],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.returncode == 0
