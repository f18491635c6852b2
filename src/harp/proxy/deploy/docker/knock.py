# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether an app listens where its container says."""

import asyncio

from harp.proxy.model import Upstream

AGAIN_S = 0.03
_ANSWER_S = 0.3


async def listens(place: Upstream, answer_s: float = _ANSWER_S) -> bool:
    """Whether a connection is taken there within ``answer_s`` seconds."""
    try:
        async with asyncio.timeout(answer_s):
            _reader, writer = await asyncio.open_connection(place.address, place.port)
    except OSError:
        return False
    writer.close()
    return True


async def listens_within(place: Upstream, patience_s: float) -> bool:
    """Whether one is taken there within so many seconds; it is tried again and again."""
    now = asyncio.get_running_loop().time
    deadline = now() + patience_s
    while now() < deadline:
        if await listens(place):
            return True
        await asyncio.sleep(AGAIN_S)
    return False
