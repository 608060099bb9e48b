"""Steps side by side, of which one may fail."""

import asyncio
from collections.abc import Awaitable, Iterable
from typing import TypeVar

T = TypeVar("T")


async def together(steps: Iterable[Awaitable[T]]) -> list[T]:
    """Take steps side by side and give their results, in their order.

    All come to their end, whatever becomes of the others; then the first error is raised as it is, not in a group
    that hides its name.
    """
    results: list[T] = []
    for end in await asyncio.gather(*steps, return_exceptions=True):
        if isinstance(end, BaseException):
            raise end
        results.append(end)
    return results
