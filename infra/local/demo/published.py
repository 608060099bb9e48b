"""The published files, brought from the emulator into a folder that stays when the emulator is gone."""

import asyncio
import re
import shutil
from datetime import date
from pathlib import Path

from shared.engine import Engine

ETags = dict[str, str]
"""The ETag of each published blob by its name."""

_AT_ONCE = 16
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


async def copy(engine: Engine, folder: Path, known: ETags) -> ETags:
    """Make `folder` a copy of the container, fetching only what changed since `known` was copied there."""
    blobs, container = engine.storage.blobs, engine.settings.container
    listed = {item.name: item.etag for item in await blobs.list(container, "")}
    if not known:
        shutil.rmtree(folder, ignore_errors=True)
    for gone in known.keys() - listed.keys():
        (folder / gone).unlink()
    room = asyncio.Semaphore(_AT_ONCE)

    async def fetch(name: str) -> None:
        async with room:
            blob = await blobs.get(container, name, if_match=listed[name])
        if blob is None:
            raise FileNotFoundError(f"{name} was taken away while it was copied")
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(blob.data)

    await asyncio.gather(*(fetch(name) for name in listed if listed[name] != known.get(name)))
    return listed


def rewritten(before: ETags, after: ETags) -> set[str]:
    """Name the blobs that were written, or taken away, between two listings."""
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def days_of(names: set[str]) -> set[date]:
    """Give the days that published files belong to; each has its day in its path."""
    return {date.fromisoformat(day) for name in names for day in _DAY.findall(name)}
