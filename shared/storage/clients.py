# ruff: noqa: PLC0415 - the clients take 800 ms and 100 MB to import, so they are imported on first use
"""The SDK's clients for one account, made on first use, and what their errors mean."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.request import getproxies_environment

from shared.storage.errors import Busy, Conflict, Missing, Refused, StorageError, TooLarge, Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from azure.core.credentials_async import AsyncTokenCredential
    from azure.core.exceptions import AzureError
    from azure.core.pipeline.transport import AioHttpTransport
    from azure.data.tables.aio import TableServiceClient
    from azure.storage.blob.aio import BlobServiceClient
    from azure.storage.queue.aio import QueueServiceClient

    from shared.connection import StorageConnection
    from shared.edge import Call, Edge

T = TypeVar("T")

ONE_PUT_BYTES: Final = 5000 * 1024 * 1024
"""The service takes this much in one Put Blob; below it the client must never fall back to blocks."""

_CONNECTIONS: Final = 200
_IDLE_SECONDS: Final = 4.0  # below the 5 s after which the emulator (Node) hangs up on an idle connection
_CONNECT_SECONDS: Final = 10
_READ_SECONDS: Final = 60
_RETRIES: Final = 3
# Pauses of about 2, 4 and 8 seconds; the blob and the queue client make their retry policy of these.
_GROWING_PAUSES: Final = {
    "retry_total": _RETRIES,
    "initial_backoff": 0,
    "increment_base": 2,
    "random_jitter_range": 1,
}
_LARGE_BODY_BYTES: Final = 512 * 1024

_TOO_LARGE_CODES: Final = {
    "EntityTooLarge",
    "PropertyValueTooLarge",
    "RequestBodyTooLarge",
    "TooManyProperties",
}
_CODE_IN_BODY: Final = re.compile(r'"code"\s*:\s*"(\w+)"')
_REFUSED: Final = {401, 403}
_CONFLICT: Final = {409, 412}
_BUSY: Final = {429, 503}


class Clients:
    """One client for each service of an account, sharing nothing but the identity.

    They are made on first use, within the running event loop, and serve until `close`.
    """

    def __init__(self, connection: StorageConnection) -> None:
        self._connection = connection
        self._credential: AsyncTokenCredential | None = None
        self._tables: TableServiceClient | None = None
        self._blobs: BlobServiceClient | None = None
        self._queues: QueueServiceClient | None = None

    def tables(self) -> TableServiceClient:
        """Give the Table service's client."""
        if self._tables is None:
            from azure.data.tables.aio import TableServiceClient

            options: dict[str, Any] = {
                "transport": _transport(),
                "retry_total": _RETRIES,
                "retry_backoff_factor": 0.5,
                "retry_backoff_max": 4,
            }
            text = self._connection.connection_string
            self._tables = (
                TableServiceClient.from_connection_string(text, **options)
                if text is not None
                else TableServiceClient(self._connection.uri("table"), credential=self._identity(), **options)
            )
        return self._tables

    def blobs(self) -> BlobServiceClient:
        """Give the Blob service's client."""
        if self._blobs is None:
            from azure.storage.blob.aio import BlobServiceClient

            options: dict[str, Any] = {
                "transport": _transport(),
                **_GROWING_PAUSES,
                "max_single_put_size": ONE_PUT_BYTES,
                "max_single_get_size": ONE_PUT_BYTES,
            }
            text = self._connection.connection_string
            self._blobs = (
                BlobServiceClient.from_connection_string(text, **options)
                if text is not None
                else BlobServiceClient(self._connection.uri("blob"), credential=self._identity(), **options)
            )
        return self._blobs

    def queues(self) -> QueueServiceClient:
        """Give the Queue service's client."""
        if self._queues is None:
            from azure.storage.queue.aio import QueueServiceClient

            options: dict[str, Any] = {"transport": _transport(), **_GROWING_PAUSES}
            text = self._connection.connection_string
            self._queues = (
                QueueServiceClient.from_connection_string(text, **options)
                if text is not None
                else QueueServiceClient(self._connection.uri("queue"), credential=self._identity(), **options)
            )
        return self._queues

    async def close(self) -> None:
        """Close every connection and the identity; nothing can be called after this."""
        for client in (self._tables, self._blobs, self._queues, self._credential):
            if client is not None:
                await client.close()

    def _identity(self) -> AsyncTokenCredential:
        if self._credential is None:
            from azure.identity.aio import DefaultAzureCredential, ManagedIdentityCredential

            self._credential = (
                ManagedIdentityCredential(client_id=self._connection.client_id)
                if self._connection.is_managed_identity
                else DefaultAzureCredential()
            )
        return self._credential


async def through(edge: Edge, call: Call, effect: Callable[[], Awaitable[T]], what: str | None = None) -> T:
    """Make one outside call through the edge and give its errors our names.

    `what` is the thing that an error is about, where `call.target` is not exact enough.

    Raises:
        StorageError: One of its subclasses, by what the service said.
    """
    from azure.core.exceptions import AzureError

    try:
        return await edge(call, effect)
    except AzureError as error:
        raise _named(error, call.target if what is None else what) from error


def _transport() -> AioHttpTransport:
    """Make an HTTP transport with a pool of its own; it belongs to the client that it is given to."""
    import aiohttp
    from azure.core.pipeline.transport import AioHttpTransport

    class Transport(AioHttpTransport):  # type: ignore[misc]  # the SDK gives it out through __getattr__
        """Hands large bodies to aiohttp as a stream, made anew for every try.

        aiohttp writes raw bytes in one go, which holds up the event loop, and warns of it above 1 MiB.
        """

        # Two generations of the SDK's requests come here, so there is no one type for them.
        async def send(self, request: Any, **options: Any) -> Any:  # noqa: ANN401
            body = request.data
            if not isinstance(body, str | bytes) or len(body) < _LARGE_BODY_BYTES:
                return await super().send(request, **options)
            request.data = io.BytesIO(body.encode() if isinstance(body, str) else body)
            try:
                return await super().send(request, **options)
            finally:
                request.data = body

    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=_CONNECTIONS, keepalive_timeout=_IDLE_SECONDS),
        # The rest is what the transport chooses when it makes the session itself.
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        # Looking for a proxy reads ~/.netrc anew for every request, so it is done only where there is one.
        trust_env=bool(getproxies_environment()),
    )
    return Transport(session=session, connection_timeout=_CONNECT_SECONDS, read_timeout=_READ_SECONDS)


def _named(error: AzureError, what: str) -> StorageError:  # noqa: PLR0911 - one return for each state
    """Find the state that an SDK error stands for."""
    from azure.core.exceptions import ClientAuthenticationError, HttpResponseError

    code = _code(error)
    if isinstance(error, ClientAuthenticationError):
        return Refused(what, code)
    status = error.status_code if isinstance(error, HttpResponseError) else None
    if status is None:
        return Unavailable(what, type(error).__name__)
    if status == 413 or code in _TOO_LARGE_CODES:  # noqa: PLR2004
        return TooLarge(what, code)
    if code.endswith("BeingDeleted") or status in _BUSY:
        # A table or queue that is being deleted answers 409 for half a minute and may then be made again.
        return Busy(what, code)
    # By status, a queue that exists is a success (204) and a message in other hands a bad request (400).
    if status in _CONFLICT or code in {"QueueAlreadyExists", "PopReceiptMismatch"}:
        return Conflict(what, code)
    if status == 404:  # noqa: PLR2004
        return Missing(what, code)
    if status in _REFUSED:
        return Refused(what, code)
    if status >= 500 or status == 408:  # noqa: PLR2004
        return Unavailable(what, code)
    return StorageError(what, code or f"HTTP {status}")


def _code(error: AzureError) -> str:
    """Give the service's own name for an error, such as `TableNotFound`, or nothing.

    The Table client sets it on most errors but raises those of an insert as they came, their body unread.
    """
    code = getattr(error, "error_code", None)
    if code:
        return str(getattr(code, "value", code))
    response = getattr(error, "response", None)
    found = None if response is None else _CODE_IN_BODY.search(response.text())
    return "" if found is None else found.group(1)
