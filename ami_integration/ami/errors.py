"""What can go wrong between us and a PBX, named by the phase in which it did.

Every error answers the one question that decides what to do next: ``sent``, could the PBX have seen the
action? ``False`` means that no byte of it left this machine, so it may be tried again; ``True`` means that it
may have been carried out, so repeating it could dial twice. The messages are sentences for an administrator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ami_integration.ami.messages import Reply

#: What a `TLSFailed` names.
TLSReason = Literal["unknown_ca", "name", "expired", "pin", "version", "clear_text", "other"]
#: What an `SSHFailed` names.
SSHReason = Literal["host_key", "auth", "key", "forbidden", "extra", "other"]
#: What a `LoginFailed` names.
LoginReason = Literal["refused", "in_use", "no_challenge", "filter"]


class AMIError(Exception):
    """Base of all errors of this package.

    Attributes:
        sent: whether the PBX could have seen the action that this error ended.
    """

    def __init__(self, message: str, *, sent: bool = False) -> None:
        super().__init__(message)
        self.sent = sent

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions with keyword-only arguments don't survive pickling on their own, and Celery pickles them.
        return (_rebuild, (type(self), self.args, self.__dict__))


def _rebuild(cls: type[AMIError], args: tuple[object, ...], state: dict[str, object]) -> AMIError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class InvalidAction(AMIError, ValueError):
    """The action can't be put on the wire: a mistake on our side, found before anything was sent."""


class MessageTooLarge(AMIError):
    """The PBX sent a message longer than the limit; the session can't go on."""


class ConnectError(AMIError):
    """No session could be opened.

    Attributes:
        phase: where it ended: ``resolve``, ``connect``, ``tls``, ``ssh`` or ``banner``.
    """

    phase = "connect"


class NameNotResolved(ConnectError):
    """The host name has no address."""

    phase = "resolve"


class ConnectTimeout(ConnectError):
    """No answer came within the phase's time limit."""

    def __init__(self, message: str, *, phase: str = "connect") -> None:
        super().__init__(message)
        self.phase = phase


class ConnectRefused(ConnectError):
    """The host answered that nothing listens there, or that it can't be reached."""


class TLSFailed(ConnectError):
    """The TLS handshake failed.

    Attributes:
        reason: ``unknown_ca``, ``name``, ``expired``, ``pin`` (not the pinned certificate), ``version`` (only
            versions older than 1.2), ``clear_text`` or ``other``.
    """

    phase = "tls"

    def __init__(self, message: str, *, reason: TLSReason = "other") -> None:
        super().__init__(message)
        self.reason = reason


class SSHFailed(ConnectError):
    """The SSH tunnel could not be opened.

    Attributes:
        reason: ``host_key`` (not the pinned one), ``auth`` (the SSH server refuses the login), ``key`` (the
            private key can't be used), ``forbidden`` (the server doesn't forward), ``extra`` (asyncssh isn't
            installed) or ``other``.
        host_key: the host key that the server showed, as it would be pinned; "" if that isn't the matter.
    """

    phase = "ssh"

    def __init__(self, message: str, *, reason: SSHReason = "other", host_key: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.host_key = host_key


class NoBanner(ConnectError):
    """The port was closed or stayed silent before an AMI banner came.

    Attributes:
        reason: ``closed`` (too many sessions that haven't logged in, or not AMI's port) or ``silent``.
    """

    phase = "banner"

    def __init__(self, message: str, *, reason: Literal["closed", "silent"] = "closed") -> None:
        super().__init__(message)
        self.reason = reason


class NotAMI(ConnectError):
    """The port speaks something else than AMI."""

    phase = "banner"


class LoginError(AMIError):
    """The session was opened, but the PBX let nobody in."""


class LoginFailed(LoginError):
    """The PBX refused the login, in its own words.

    Attributes:
        reason: ``refused`` (username, secret or this address: Asterisk doesn't say which), ``in_use`` (the
            account allows one session, and has it), ``no_challenge`` (only a plain login is possible, over a
            link that others could read), or ``filter`` (the account may log in, but not set the filters that
            were asked for).
    """

    def __init__(self, message: str, *, reason: LoginReason = "refused") -> None:
        super().__init__(message)
        self.reason = reason


class LoginTimeout(LoginError):
    """The PBX didn't answer the login in time."""


class Unanswered(AMIError):
    """The answer didn't come, or didn't end.

    Attributes:
        reply: what had come of the answer, for example the items of a list without an end; or None.
    """

    def __init__(self, message: str, *, sent: bool = False, reply: Reply | None = None) -> None:
        super().__init__(message, sent=sent)
        self.reply = reply


class ActionTimeout(Unanswered):
    """The answer didn't come (or didn't end) in time."""


class ConnectionLost(Unanswered):
    """The connection ended while something was waiting for it."""


def seconds(value: float) -> str:
    """A time limit in words, for error messages: ``5 s``, ``0.25 s``."""
    return f"{value:g} s"
