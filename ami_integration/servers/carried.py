"""What the steps of an import hand on: in the page, readable only to amiweb.

Between two steps nothing of a file is kept on this side. What the next step needs travels through the
browser, encrypted by the key ring of the secrets, and opens only for the same person, kind and a short time.
"""

import json
import time
import zlib
from typing import Any

from ami_integration.secrets.encryption import Secret, SecretUnreadable

#: Seconds for which a page may wait to be sent.
LASTS = 30 * 60
#: Characters of what a page carries; a request holds no more.
LONGEST = 2 * 1024 * 1024
#: Bytes that it may unfold to.
_MOST = 8 * 1024 * 1024


class CarriedLost(Exception):
    """What a page brought back can't be used. The message says why and what to do."""


def carried(data: Any, *, kind: str, user: Any) -> str:
    """Pack `data`, which JSON can hold, for a hidden field of this person's page.

    Raises:
        ImproperlyConfigured: there is no key.
    """
    packed = json.dumps([kind, user.pk, time.time(), data], separators=(",", ":"))
    return Secret.from_plain(zlib.compress(packed.encode()).hex()).token


def brought_back(text: str, *, kind: str, user: Any) -> Any:
    """What `carried` packed.

    Raises:
        CarriedLost: it is too old, somebody else's, of another page, or was changed on the way.
    """
    try:
        if len(text) > LONGEST:
            raise ValueError("too long")
        unfold = zlib.decompressobj()
        plain = unfold.decompress(bytes.fromhex(Secret(text).reveal()), _MOST)
        of, pk, since, data = json.loads(plain)
    except (SecretUnreadable, ValueError, zlib.error):
        raise CarriedLost("The page came back damaged. Begin again; nothing was saved.") from None
    if of != kind or pk != user.pk:
        raise CarriedLost("This page was made for somebody else. Begin again; nothing was saved.")
    if not 0 <= time.time() - since <= LASTS:
        raise CarriedLost(
            f"This page waited for more than {LASTS // 60} minutes. Begin again; nothing was saved."
        )
    return data
