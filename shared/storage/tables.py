# ruff: noqa: PLC0415 - the SDK is imported on first use
"""Azure Tables: rows under ETags.

Each method is one HTTP round trip through the edge, a query one for each page of its result. The client tries
a call again by itself when the service fails or the connection breaks, so an insert, a replacement or a
transaction may meet its own success and raise Conflict: callers read what is there and go on from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from shared.edge import Call
from shared.storage.clients import through
from shared.storage.errors import Conflict, Missing
from shared.storage.rows import (
    Delete,
    Insert,
    Operation,
    Replace,
    Row,
    Upsert,
    Value,
    check_keys,
    from_sdk,
    quoted,
    to_sdk,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from azure.data.tables.aio import TableClient

    from shared.edge import Edge
    from shared.storage.clients import Clients

__all__ = ["Delete", "Insert", "Operation", "Replace", "Row", "Tables", "Upsert", "Value", "quoted"]

BATCH_OPERATIONS: Final = 100
_PAGE_ROWS: Final = 1000
_SYSTEM: Final = ("PartitionKey", "RowKey", "Timestamp")
Continuation = dict[str, str] | None
# By itself the client tries neither POST nor PATCH again when the connection breaks.
_RETRIED: Final = frozenset({"GET", "PUT", "DELETE", "POST", "PATCH"})
# Else the service sends every inserted row back, up to 1 MiB of it.
_NO_ECHO: Final = "return-no-content"


class Tables:
    """The tables of one storage account."""

    def __init__(self, clients: Clients, edge: Edge) -> None:
        self._clients = clients
        self._edge = edge
        self._cache: dict[str, TableClient] = {}

    async def create(self, table: str) -> None:
        """Make a table; one that exists is fine."""
        try:
            await through(
                self._edge, Call("table", "create", table), lambda: self._client(table).create_table()
            )
        except Conflict:
            return

    async def insert(self, table: str, entity: Row) -> str:
        """Insert a row and give its ETag.

        Raises:
            Conflict: There is a row under these keys, maybe from an earlier try of this call.
            TooLarge: The row does not fit.
        """
        sent = to_sdk(entity)

        async def effect() -> str:
            answer = await self._client(table).create_entity(
                sent, response_preference=_NO_ECHO, retry_on_methods=_RETRIED
            )
            return str(answer["etag"])

        return await through(self._edge, Call("table", "insert", table), effect, _what(table, entity))

    async def get(self, table: str, pk: str, rk: str) -> Row | None:
        """Read one row, or None where there is none.

        Raises:
            Missing: There is no such table.
        """
        check_keys(pk, rk)

        async def effect() -> Row:
            return from_sdk(await self._client(table).get_entity(pk, rk))

        try:
            return await through(self._edge, Call("table", "get", table), effect, f"{table}/{pk}/{rk}")
        except Missing as missing:
            if missing.code == "TableNotFound":
                raise
            return None

    async def query(
        self,
        table: str,
        filter: str,  # noqa: A002 - the service's own word
        *,
        select: Sequence[str] | None = None,
        top: int | None = None,
    ) -> list[Row]:
        """Read the rows that a filter describes, in the order of their keys.

        Args:
            table: The table's name.
            filter: An OData filter; values in it come from `quoted`. Empty for the whole table.
            select: The properties to read; keys and ETag always come.
            top: The most rows to read; all if not given.

        Returns:
            All rows, however many pages they take: a page may be short, even empty, and not the last.

        Raises:
            Missing: There is no such table.
        """
        rows: list[Row] = []
        token: Continuation = None
        while top is None or len(rows) < top:
            wanted = _PAGE_ROWS if top is None else min(top - len(rows), _PAGE_ROWS)
            page, token = await self._page(table, filter, select, wanted, token)
            rows += page
            if token is None:
                break
        return rows

    async def replace(self, table: str, entity: Row, etag: str) -> str:
        """Put a row in the place of the one that has this ETag, and give the new ETag.

        Raises:
            Conflict: The row was changed or taken away since.
            TooLarge: The row does not fit.
        """
        return await self._update("replace", table, entity, etag)

    async def merge(self, table: str, entity: Row, etag: str | None = None) -> str:
        """Set these properties of a row that is there, leave its others, and give the new ETag.

        Raises:
            Conflict: An ETag is given and the row was changed or taken away since.
            Missing: No ETag is given and there is no such row.
            TooLarge: The row does not fit.
        """
        return await self._update("merge", table, entity, etag)

    async def upsert(self, table: str, entity: Row) -> str:
        """Put a row, in the place of any other under its keys, and give its ETag.

        Raises:
            TooLarge: The row does not fit.
        """
        sent = to_sdk(entity)

        async def effect() -> str:
            answer = await self._client(table).upsert_entity(sent, mode="replace")
            return str(answer["etag"])

        return await through(self._edge, Call("table", "upsert", table), effect, _what(table, entity))

    async def delete(self, table: str, pk: str, rk: str, etag: str | None = None) -> None:
        """Take away a row; one that is gone already is fine.

        Raises:
            Conflict: An ETag is given and the row was changed since.
        """
        check_keys(pk, rk)

        async def effect() -> None:
            await self._client(table).delete_entity(pk, rk, **_condition(etag))

        await through(self._edge, Call("table", "delete", table), effect, f"{table}/{pk}/{rk}")

    async def remove(self, table: str, pk: str, rks: Sequence[str]) -> None:
        """Take away rows of one partition, 100 to a transaction; those that are gone already are fine."""
        for start in range(0, len(rks), BATCH_OPERATIONS):
            some = rks[start : start + BATCH_OPERATIONS]
            try:
                await self.batch(table, [Delete(pk, rk) for rk in some])
            except Conflict:
                # One was gone: to another who removes them too, or to an earlier try of this very transaction.
                for rk in some:
                    await self.delete(table, pk, rk)

    async def batch(self, table: str, operations: Sequence[Operation]) -> list[str | None]:
        """Do up to 100 operations of one partition together or not at all.

        Returns:
            The new ETag for each operation, None for a deletion.

        Raises:
            Conflict: A row to insert was there, an ETag was lost or a row to delete is gone; nothing is done.
            Missing: There is no such table.
            TooLarge: A row, or all together (4 MiB), does not fit; nothing is done.
            ValueError: There are more than 100 operations, two on one row, or two partitions.
        """
        if not operations:
            return []
        keys = [(op.pk, op.rk) if isinstance(op, Delete) else (op.row.pk, op.row.rk) for op in operations]
        if len(keys) > BATCH_OPERATIONS or len(set(keys)) < len(keys) or len({pk for pk, _ in keys}) > 1:
            raise ValueError("a transaction takes at most 100 different rows of one partition")
        for key in keys:
            check_keys(*key)
        sent = [_transacted(operation) for operation in operations]

        async def effect() -> list[str | None]:
            answers = await self._client(table).submit_transaction(sent, retry_on_methods=_RETRIED)
            return [answer.get("etag") for answer in answers]

        try:
            return await through(
                self._edge, Call("table", "batch", table), effect, f"{table}/{keys[0][0]} ({len(keys)} rows)"
            )
        except Missing as missing:
            raise _lost(missing, expected=True) from missing

    async def _page(
        self, table: str, condition: str, select: Sequence[str] | None, wanted: int, token: Continuation
    ) -> tuple[list[Row], Continuation]:
        """Read one page from where `token` says; a fresh iterator, so that the effect can run again."""
        columns = None if select is None else [*_SYSTEM, *select]

        async def effect() -> tuple[list[Row], Continuation]:
            client = self._client(table)
            items: Any = (
                client.query_entities(condition, results_per_page=wanted, select=columns)
                if condition
                else client.list_entities(results_per_page=wanted, select=columns)
            )
            pages = items.by_page(token)
            rows = [from_sdk(entity) async for entity in await anext(pages)]
            return rows, pages.continuation_token

        return await through(self._edge, Call("table", "query", table), effect)

    async def _update(self, mode: str, table: str, entity: Row, etag: str | None) -> str:
        sent = to_sdk(entity)

        async def effect() -> str:
            answer = await self._client(table).update_entity(
                sent, mode=mode, retry_on_methods=_RETRIED, **_condition(etag)
            )
            return str(answer["etag"])

        try:
            return await through(self._edge, Call("table", mode, table), effect, _what(table, entity))
        except Missing as missing:
            raise _lost(missing, expected=etag is not None) from missing

    def _client(self, table: str) -> TableClient:
        if table not in self._cache:
            self._cache[table] = self._clients.tables().get_table_client(table)
        return self._cache[table]


def _what(table: str, row: Row) -> str:
    return f"{table}/{row.pk}/{row.rk}"


def _condition(etag: str | None) -> dict[str, Any]:
    """Write If-Match; an ETag that matches everything would be no condition at all."""
    from azure.core import MatchConditions

    if etag is None:
        return {}
    if etag in {"", "*"}:
        raise ValueError("an ETag must be one that the service gave")
    return {"etag": etag, "match_condition": MatchConditions.IfNotModified}


def _lost(missing: Missing, *, expected: bool) -> Conflict | Missing:
    """Tell a lost race: an expected row that is gone was taken away by another; a whole table was not."""
    if expected and missing.code != "TableNotFound":
        return Conflict(missing.what, missing.code)
    return missing


def _transacted(operation: Operation) -> tuple[str, dict[str, Any], dict[str, Any]]:
    match operation:
        case Insert(row):
            return "create", to_sdk(row), {"response_preference": _NO_ECHO}
        case Replace(row, etag):
            return "update", to_sdk(row), {"mode": "replace", **_condition(etag)}
        case Upsert(row):
            return "upsert", to_sdk(row), {"mode": "replace"}
        case Delete(pk, rk, etag):
            return "delete", {"PartitionKey": pk, "RowKey": rk}, _condition(etag)
