"""What idle sessions take of memory: ``python -m tests.bench.sessions PORT USERNAME COUNT``.

The secret is in the environment variable AMI_SECRET.

A process of its own, so that neither what the tests import nor what they have freed is counted or hidden.
Prints the bytes that so many logged-in sessions of the asyncio client add.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from pathlib import Path

from ami_integration.ami import TCP, AsyncAMIClient

#: Logins at once, below Asterisk's authlimit.
AT_ONCE = 20


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


async def hold(port: int, username: str, secret: str, count: int) -> int:
    before = resident()
    clients = [AsyncAMIClient(TCP("127.0.0.1", port), username=username, secret=secret) for _ in range(count)]
    for start in range(0, count, AT_ONCE):
        await asyncio.gather(*(client.connect() for client in clients[start : start + AT_ONCE]))
    added = resident() - before
    assert all(client.connected for client in clients)
    await asyncio.gather(*(client.close() for client in clients))
    return added


if __name__ == "__main__":
    print(asyncio.run(hold(int(sys.argv[1]), sys.argv[2], os.environ["AMI_SECRET"], int(sys.argv[3]))))
