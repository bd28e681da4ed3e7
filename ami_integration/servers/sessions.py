"""Action sessions: one connection with a login for as long as a `with` block."""

from collections.abc import Iterator
from contextlib import contextmanager

from ami_integration.ami import AMIClient, Timeouts
from ami_integration.servers.models import Server


@contextmanager
def open_session(
    server: Server, *, events: str = "off", timeouts: Timeouts | None = None
) -> Iterator[AMIClient]:
    """A session with `server`, logged in; closed with the block.

    Args:
        events: the EventMask of the login: `off`, `on`, or classes as in `call,system`.
        timeouts: time limits in seconds; the client's own by default.

    Raises:
        SecretUnreadable: no key opens the stored secret; nothing was sent.
        AMIError: connecting or logging in failed; its `phase` says where.
    """
    client = AMIClient(
        server.ami_transport(),
        username=server.username,
        secret=server.secret.reveal(),
        events=events,
        timeouts=timeouts,
    )
    with client:
        yield client
