"""What the blocking and the asyncio client say and check alike."""

from __future__ import annotations

from ami_integration.ami.errors import ConnectionLost, LoginError, NoBanner, NotAMI, seconds
from ami_integration.ami.messages import Action, Headers, Message
from ami_integration.ami.protocol import Banner
from ami_integration.ami.transports import TLS, Transport


def as_action(action: str | Action, headers: Headers) -> Action:
    """An action from a name and headers, or the one that was given."""
    return action if isinstance(action, Action) else Action(action, headers)


def check_banner(transport: Transport, message: Message) -> Banner:
    """The first message of a session, if it is an AMI banner.

    Raises:
        NotAMI: it isn't; the error shows what came.
    """
    if isinstance(message, Banner) and message.ami_version:
        return message
    seen = message.raw[:60]
    what = (
        "an SSH server" if seen.startswith(b"SSH-") else "a web server" if seen.startswith(b"HTTP/") else None
    )
    guess = f", which looks like {what}" if what else ""
    raise NotAMI(f"{transport} doesn't speak AMI: it greeted with {seen!r}{guess}.")


def no_banner(transport: Transport) -> NoBanner:
    """The connection was closed before the banner."""
    return NoBanner(
        f"{transport} closed the connection before any greeting: it may have too many sessions that haven't "
        f"logged in (authlimit in manager.conf), or the port isn't AMI's."
    )


def silent(transport: Transport, timeout: float) -> NoBanner:
    """Connected, and nothing was said."""
    hint = "" if isinstance(transport, TLS) else " It may expect TLS, or speak another protocol."
    return NoBanner(f"{transport} accepted the connection and said nothing for {seconds(timeout)}.{hint}")


def no_login(transport: Transport) -> LoginError:
    """The connection was closed in the middle of the login: no refusal, so it may be tried again soon."""
    return LoginError(f"{transport} closed the connection during the login without a reason.")


def lost(transport: Transport, error: BaseException | None, *, sent: bool) -> ConnectionLost:
    """The connection ended.

    Args:
        error: what the system said, or None where the PBX closed it.
        sent: whether the action that waited could have been seen.
    """
    if error is None:
        return ConnectionLost(f"{transport} closed the connection.", sent=sent)
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return ConnectionLost(f"The connection to {transport} was lost: {said}.", sent=sent)
