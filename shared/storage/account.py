"""One storage account: its tables, its blobs and its queues behind one edge."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from shared.edge import direct
from shared.storage.blobs import Blobs
from shared.storage.clients import Clients
from shared.storage.queues import Queues
from shared.storage.tables import Tables

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable
    from types import TracebackType
    from typing import Self

    from shared.connection import StorageConnection
    from shared.edge import Edge


class Storage:
    """Tables, blobs and queues of one account; close it, or use it as an async context manager.

    Making one costs nothing and calls nobody: the clients are imported and made on their first use, in the
    event loop that is running then, which must be the one of every later use.
    """

    def __init__(self, connection: StorageConnection, edge: Edge = direct) -> None:
        self._clients = Clients(connection)
        self._made: set[tuple[str, str]] = set()
        self.tables = Tables(self._clients, edge)
        self.blobs = Blobs(self._clients, edge)
        self.queues = Queues(self._clients, edge)

    async def ensure(
        self, *, tables: Iterable[str] = (), queues: Iterable[str] = (), containers: Iterable[str] = ()
    ) -> None:
        """Make what is not there yet, all at once; what this object has seen made is not asked for again.

        Raises:
            StorageError: The first of what went wrong, once every call has ended.
        """
        kinds = (("table", tables), ("queue", queues), ("container", containers))
        wanted = {(kind, name) for kind, names in kinds for name in names} - self._made
        ordered = sorted(wanted)
        ended = await asyncio.gather(*(self._create(*item) for item in ordered), return_exceptions=True)
        self._made |= {item for item, end in zip(ordered, ended, strict=True) if end is None}
        for end in ended:
            if end is not None:
                raise end

    async def close(self) -> None:
        """Close every connection; nothing can be called after this."""
        await self._clients.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _create(self, kind: str, name: str) -> Awaitable[None]:
        if kind == "table":
            return self.tables.create(name)
        if kind == "queue":
            return self.queues.create(name)
        return self.blobs.create(name)
