"""Logging in: the steps, without I/O, so that both clients take the same ones.

By MD5 challenge, the secret never crosses the wire. Only where the PBX refuses the challenge and nobody can
listen (TLS, a tunnel, loopback) is a plain login tried.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator

from ami_integration.ami.errors import LoginFailed
from ami_integration.ami.messages import Action, Reply, encode

LoginSteps = Generator[Action, Reply, Reply]


def login_steps(*, username: str, secret: str, events: str, private: bool) -> LoginSteps:
    """A generator of the actions to send; it is sent each reply, and returns the last.

    Args:
        username: the account in manager.conf.
        secret: its secret.
        events: the EventMask: ``on``, ``off`` or classes as in ``call,system``.
        private: whether nobody can read the link, so that a plain login would not show the secret.

    Raises:
        LoginFailed: with the PBX's own words.
    """
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
            f"sent in clear over a link that others could read. Use TLS."
        )
    reply = yield login
    if not reply.success:
        raise LoginFailed(f"The PBX refused the login of {username!r}: {reply.message or 'no reason given'}.")
    return reply
