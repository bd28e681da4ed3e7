"""What an event says that nobody may read, taken out before it leaves the listener.

A dialplan that sets a variable sends its value to every login with `read=dialplan` (VarSet), and the
applications that it runs with their arguments (Newexten). So secrets come in events as they come in answers,
and the same words tell them. They are masked here, where an event comes in: what the stream, the store, the
live page and every export hold has passed through.

This stands in the listener's hot path, so the bytes are searched for the few words first; nearly no event has
one, and those that have are read whole.
"""

from ami_integration.access.masking import headers_mask
from ami_integration.ami import Event
from ami_integration.ami.messages import encode


def raw_hidden(event: Event) -> bytes:
    """The bytes of an event, as `Event.raw` has them, with every secret value replaced by `MASK`."""
    raw = event.raw
    if not _may_hold_a_secret(raw):
        return raw
    pairs = event.items()
    masked = headers_mask(pairs)
    if masked == pairs:
        return raw  # an odd one stays as it came
    return encode("\r\n".join(f"{name}: {value}" if name else value for name, value in masked))


def _may_hold_a_secret(raw: bytes) -> bool:
    folded = raw.lower() if raw.isascii() else raw.decode("utf-8", "replace").casefold().encode()
    # Written out, since this is run for each event. A word of `masking` holds one of these; a login stands in
    # a URL. (`user:word@host` without `://` would cost a look at every Local channel.)
    return (
        b"secret" in folded
        or b"pass" in folded
        or b"pwd" in folded
        or b"cred" in folded
        or b"token" in folded
        or b"key" in folded
        or b"digest" in folded
        or b"pin" in folded
        or (b"://" in folded and b"@" in folded)
    )
