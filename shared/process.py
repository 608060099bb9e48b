"""The one engine of this worker process, opened by the first function that runs."""

import asyncio
import os
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.engine import Engine

_stack = AsyncExitStack()
_opened: "Engine | None" = None
_opening = asyncio.Lock()


async def engine() -> "Engine":
    """Give the engine, opened on first use and kept for the life of the process."""
    from shared.engine import open_engine  # noqa: PLC0415 - a host that only lists its functions needs none

    global _opened  # noqa: PLW0603 - one engine per process is what this module is
    async with _opening:
        if _opened is None:
            _opened = await _stack.enter_async_context(open_engine(os.environ))
    return _opened


async def close() -> None:
    """Close the engine, for hosts that end in an orderly manner; the next use opens another."""
    global _opened  # noqa: PLW0603 - as above
    async with _opening:
        _opened = None
        await _stack.aclose()
