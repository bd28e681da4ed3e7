"""What is advised for an error: every reason that the AMI client gives has words of its own."""

from __future__ import annotations

from typing import get_args

import pytest

from ami_integration import ami
from ami_integration.ami import (
    AMIError,
    ConnectError,
    ConnectTimeout,
    LoginError,
    LoginFailed,
    LoginTimeout,
    SSHFailed,
    TLSFailed,
)
from ami_integration.ami.errors import LoginReason, SSHReason, TLSReason
from ami_integration.secrets.encryption import SecretUnreadable
from ami_integration.servers.advice import advice
from ami_integration.servers.models import Server
from tests.servers.factories import SECRET


def advised(error: AMIError | SecretUnreadable, transport: str = "tls") -> str:
    server = Server(
        name="Berlin", host="127.0.0.1", port=5039, transport=transport, username="amiweb", secret=SECRET
    )
    return advice(error, server, username=server.username, peer="", timeout=1)


REASONS: list[AMIError] = [
    *(TLSFailed("no", reason=reason) for reason in get_args(TLSReason)),
    *(SSHFailed("no", reason=reason) for reason in get_args(SSHReason)),
    *(LoginFailed("no", reason=reason) for reason in get_args(LoginReason)),
    *(ConnectTimeout("no", phase=phase) for phase in ("resolve", "connect", "tls", "ssh")),
]


@pytest.mark.parametrize(
    "error",
    REASONS,
    ids=lambda error: f"{type(error).__name__} {getattr(error, 'reason', getattr(error, 'phase', ''))}",
)
def test_every_reason_has_advice_of_its_own(error: AMIError) -> None:
    said = advised(error)
    assert said.endswith(".") and len(said) > 40
    assert "{" not in said and "}" not in said
    assert [advised(other) for other in REASONS].count(said) == 1


def kinds(kind: type[AMIError]) -> list[type[AMIError]]:
    return [kind, *(found for below in kind.__subclasses__() for found in kinds(below))]


@pytest.mark.parametrize("transport", ["tcp", "tls"])
@pytest.mark.parametrize("kind", [*kinds(ConnectError), *kinds(LoginError)])
def test_every_kind_of_error_before_and_in_the_login_has_advice(kind: type[AMIError], transport: str) -> None:
    assert getattr(ami, kind.__name__) is kind
    assert advised(kind("no"), transport).endswith(".")


def test_a_secret_that_can_not_be_read_is_to_be_entered_anew() -> None:
    assert "enter the secret=" in advised(SecretUnreadable("no"))


def test_a_host_or_an_account_with_braces_is_told_as_it_is() -> None:
    server = Server(host="{host}", port=5039, transport="tls", username="{here}", secret=SECRET)
    assert "for {host} and" in advice(
        TLSFailed("no", reason="name"), server, username=server.username, peer="", timeout=1
    )
    assert "[{here}]" in advice(
        LoginFailed("no", reason="in_use"), server, username=server.username, peer="", timeout=1
    )


def test_a_login_that_is_not_answered_is_not_called_a_refusal() -> None:
    assert "stopped answering" in advised(LoginTimeout("no"))
