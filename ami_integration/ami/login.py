"""Logging in: the steps, without I/O, so that both clients take the same ones.

By MD5 challenge, the secret never crosses the wire. Only where the PBX refuses the challenge and nobody can
listen (TLS, loopback, a tunnel that ends on the PBX itself) is a plain login tried. Where filters are
wanted, the EventMask stays off until they are set, so that no event slips through before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Sequence

from ami_integration.ami.action import Action
from ami_integration.ami.errors import LoginFailed
from ami_integration.ami.filters import EventFilter, supports_criteria
from ami_integration.ami.messages import Reply, encode

LoginSteps = Generator[Action, Reply, Reply]


def login_steps(
    *, username: str, secret: str, events: str, private: bool, filters: Sequence[EventFilter] = ()
) -> LoginSteps:
    """A generator of the actions to send; it is sent each reply, and returns the last.

    Args:
        username: the account in manager.conf.
        secret: its secret.
        events: the EventMask: ``on``, ``off`` or classes as in ``call,system``.
        private: whether nobody can read the link, so that a plain login would not show the secret.
        filters: what the PBX is to filter events by; set before any event is let through.

    Raises:
        LoginFailed: with the PBX's own words.
    """
    wanted, events = events, "off" if filters else events
    reply = yield Action("Challenge", {"AuthType": "MD5"})
    challenge = reply.response.get("Challenge")
    if reply.success and challenge:
        # Asterisk compares by strcmp with lower-case hex (main/manager.c, authenticate).
        key = hashlib.md5(encode(challenge + secret), usedforsecurity=False).hexdigest()
        login = Action("Login", {"AuthType": "MD5", "Username": username, "Key": key, "Events": events})
    elif private:
        login = Action("Login", {"Username": username, "Secret": secret, "Events": events})
    else:
        raise LoginFailed(
            f"The PBX refuses the MD5 challenge ({reply.message or 'no reason given'}), and the secret isn't "
            f"sent in clear over a link that others could read. Use TLS, or an SSH tunnel to the PBX itself.",
            reason="no_challenge",
        )
    reply = yield login
    if not reply.success:
        raise _refused(username, reply)
    if filters:
        yield from filter_steps(filters)
        reply = yield Action("Events", {"EventMask": wanted})
        if not reply.success:
            raise LoginFailed(f"The PBX refused the EventMask {wanted!r}: {reply.message}.", reason="filter")
    return reply


def filter_steps(filters: Sequence[EventFilter]) -> Generator[Action, Reply, None]:
    """Set filters in a session.

    Raises:
        LoginFailed: the PBX refused one, or is too old for it; ``reason`` is ``filter``.
    """
    if any(one.advanced for one in filters):
        # An Asterisk that doesn't know MatchCriteria would ignore it, and take the rest for another filter.
        reply = yield Action("CoreSettings")
        version = reply.response.get("AsteriskVersion", "")
        if not reply.success or not supports_criteria(version):
            seen = (
                f"is {version}" if version else f"doesn't tell its version ({reply.message or 'no reason'})"
            )
            raise LoginFailed(
                f"Filters by name, header and method need Asterisk 18.26, 20.11, 21.6, 22.1 or newer; "
                f"this one {seen}. Use a regular expression.",
                reason="filter",
            )
    for one in filters:
        reply = yield one.action()
        if not reply.success:
            raise LoginFailed(
                f"The PBX refused the filter {one.text!r}: {reply.message or 'no reason given'}. "
                f"Filter needs write=system.",
                reason="filter",
            )


def _refused(username: str, reply: Reply) -> LoginFailed:
    said = reply.message or "no reason given"
    if "already in use" in said.lower():
        return LoginFailed(
            f"The PBX refused the login of {username!r}: {said}. The account allows one session "
            f"(allowmultiplelogin=no) and has one; a lost one counts until the PBX notices.",
            reason="in_use",
        )
    return LoginFailed(
        f"The PBX refused the login of {username!r}: {said}. It doesn't say whether the name, the secret or "
        f"this machine's address (deny, permit, acl) is to blame."
    )
