"""Secrets of servers that aren't in the database."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.exceptions import ValidationError
from pytest_django import Settings

from ami_integration.secrets.encryption import SecretUnreadable
from ami_integration.secrets.sources import (
    LONGEST,
    EnvironmentSecret,
    FileSecret,
    Source,
    secret_elsewhere,
    validate_source,
    variable_allowed,
)
from amiweb.configuration import load
from amiweb.variables import VARIABLES


@pytest.fixture
def folder(tmp_path: Path, settings: Settings) -> Path:
    folder = tmp_path / "secrets"
    folder.mkdir()
    settings.AMIWEB_SECRETS_DIR = str(folder)
    return folder


def why(secret: EnvironmentSecret | FileSecret) -> str:
    assert not secret.readable
    with pytest.raises(SecretUnreadable) as caught:
        secret.reveal()
    return str(caught.value)


def test_a_variable_is_read_by_its_name(settings: Settings) -> None:
    settings.AMIWEB_ENVIRONMENT_SECRETS = {"AMIWEB_SECRET_BERLIN": "word"}
    assert EnvironmentSecret("AMIWEB_SECRET_BERLIN").reveal() == "word"
    assert EnvironmentSecret("AMIWEB_SECRET_BERLIN").readable


def test_a_variable_that_is_not_set_is_told_with_what_to_do() -> None:
    said = why(EnvironmentSecret("AMIWEB_SECRET_BERLIN"))
    assert "AMIWEB_SECRET_BERLIN is not set" in said
    assert "restart amiweb" in said


def test_only_variables_that_are_for_it_are_read(settings: Settings) -> None:
    settings.AMIWEB_ENVIRONMENT_SECRETS = {"PATH": "/bin", "AMIWEB_SECRET_KEY": "ours"}
    ours = ("AMIWEB_SECRET_KEY", "AMIWEB_SECRET_KEY_FILE", "AMIWEB_DATABASE_URL")
    for name in (*ours, "PATH", "AMIWEB_SECRET_"):
        assert not variable_allowed(name)
        assert "no variable that a server's secret may come from" in why(EnvironmentSecret(name))
        with pytest.raises(ValidationError, match="begins with AMIWEB_SECRET_"):
            validate_source(Source.ENVIRONMENT, name)


def test_amiwebs_own_variables_are_never_among_them(tmp_path: Path) -> None:
    ours = {name: "x" for one in VARIABLES for name in (one.name, f"{one.name}_FILE")}
    assert not [name for name in ours if variable_allowed(name)]
    environ = {"AMIWEB_VAR_DIR": str(tmp_path / "var"), "AMIWEB_SECRET_KEY": "k"}
    found = load({**environ, "AMIWEB_SECRET_BERLIN": "canary"}, tmp_path)
    assert found.environment_secrets == {"AMIWEB_SECRET_BERLIN": "canary"}
    assert "canary" not in repr(found)


def test_a_file_is_read_anew_each_time_without_its_line_end(folder: Path) -> None:
    secret = FileSecret("berlin")
    (folder / "berlin").write_text("word\n")
    first = secret.mark
    assert secret.reveal() == "word"
    (folder / "berlin").write_text("another\r\n")
    assert secret.reveal() == "another"
    assert secret.mark != first


def test_a_key_keeps_its_lines(folder: Path) -> None:
    (folder / "berlin.ssh_key").write_text("-----BEGIN\nabc\n-----END\n")
    assert FileSecret("berlin.ssh_key").reveal() == "-----BEGIN\nabc\n-----END"


def test_a_link_within_the_folder_is_followed_and_one_that_leads_out_is_not(folder: Path) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "berlin").write_text("word")
    (folder / "berlin").symlink_to(folder / "data" / "berlin")
    assert FileSecret("berlin").reveal() == "word"
    (folder.parent / "elsewhere").write_text("not yours")
    (folder / "bonn").symlink_to(folder.parent / "elsewhere")
    assert "leads out of" in why(FileSecret("bonn"))


@pytest.mark.parametrize("name", ["../elsewhere", "/etc/passwd", ".hidden", "", "a/b", "a\0b", "a\n"])
def test_only_a_plain_name_is_a_file(folder: Path, name: str) -> None:
    (folder.parent / "elsewhere").write_text("not yours")
    assert "no plain name" in why(FileSecret(name))
    assert not FileSecret(name).exists
    with pytest.raises(ValidationError, match="plain name"):
        validate_source(Source.FILE, name)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"\xff\xfe", "isn't UTF-8"),
        (b"x" * (LONGEST + 1), "that is no secret"),
    ],
)
def test_what_is_no_secret_is_told(folder: Path, content: bytes, said: str) -> None:
    (folder / "berlin").write_bytes(content)
    assert said in why(FileSecret("berlin"))


def test_a_file_that_is_not_there_is_told_with_what_to_do(folder: Path) -> None:
    said = why(FileSecret("berlin"))
    assert str(folder / "berlin") in said
    assert "No such file" in said


def test_without_a_folder_files_are_no_choice(settings: Settings) -> None:
    settings.AMIWEB_SECRETS_DIR = ""
    assert "AMIWEB_SECRETS_DIR" in why(FileSecret("berlin"))
    with pytest.raises(ValidationError, match="AMIWEB_SECRETS_DIR"):
        validate_source(Source.FILE, "berlin")


def test_a_file_that_everybody_reads_is_known(folder: Path) -> None:
    (folder / "berlin").write_text("word")
    (folder / "berlin").chmod(0o644)
    assert FileSecret("berlin").open_to_others
    (folder / "berlin").chmod(0o640)
    assert not FileSecret("berlin").open_to_others


def test_further_secrets_have_the_name_with_an_end() -> None:
    assert secret_elsewhere("environment", "AMIWEB_SECRET_B", "action_secret") == EnvironmentSecret(
        "AMIWEB_SECRET_B_ACTIONS"
    )
    assert secret_elsewhere("file", "b", "ssh_password") == FileSecret("b.ssh_password")


def test_no_text_shows_it(settings: Settings) -> None:
    settings.AMIWEB_ENVIRONMENT_SECRETS = {"AMIWEB_SECRET_BERLIN": "word"}
    assert "word" not in repr(EnvironmentSecret("AMIWEB_SECRET_BERLIN"))
    assert "word" not in EnvironmentSecret("AMIWEB_SECRET_BERLIN").mark
