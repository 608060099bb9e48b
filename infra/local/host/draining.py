"""How the host ends: what runs is given time, then cut off as a crash would."""

import asyncio
from collections.abc import Collection


async def finish(running: Collection[asyncio.Future[bool] | asyncio.Future[None]], seconds: float) -> None:
    """Wait at most `seconds` for all of `running`, then cancel what is left and see it end."""
    if not running:
        return
    _, unfinished = await asyncio.wait(running, timeout=seconds)
    for future in unfinished:
        future.cancel()
    await asyncio.gather(*unfinished, return_exceptions=True)
