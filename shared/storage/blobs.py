"""Azure Blobs: whole files under ETags.

A blob is written whole in one PUT and read whole in one GET, so no reader ever sees half of it. `If-Match: *`
is never sent: the storage emulator takes it for true even where there is no blob.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from shared.edge import Call
from shared.storage.clients import ONE_PUT_BYTES, through
from shared.storage.errors import Conflict, Missing, TooLarge

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from datetime import datetime

    from azure.storage.blob.aio import BlobClient, ContainerClient

    from shared.edge import Edge
    from shared.storage.clients import Clients

_NO_CONTAINER: Final = {"ContainerNotFound", "ContainerBeingDeleted"}


@dataclass(frozen=True, slots=True)
class Blob:
    """A blob's bytes and the ETag they were read under."""

    data: bytes
    etag: str


@dataclass(frozen=True, slots=True)
class BlobItem:
    """One line of a listing; size in bytes, time in UTC."""

    name: str
    etag: str
    size: int
    last_modified: datetime


Listing = list[BlobItem]
Folders = list[str]


class Blobs:
    """The blobs of one storage account."""

    def __init__(self, clients: Clients, edge: Edge) -> None:
        self._clients = clients
        self._edge = edge
        self._containers: dict[str, ContainerClient] = {}

    async def create(self, container: str) -> None:
        """Make a private container; one that exists is fine."""

        async def effect() -> None:
            await self._container(container).create_container()

        try:
            await through(self._edge, Call("blob", "create", container), effect)
        except Conflict:
            return

    async def put(
        self,
        container: str,
        name: str,
        data: bytes,
        *,
        if_match: str | None = None,
        if_none_match: bool = False,
        content_type: str = "application/octet-stream",
        metadata: Mapping[str, str] | None = None,
    ) -> str:
        """Write a blob whole, in one PUT, and give its ETag.

        Args:
            container: The container's name.
            name: The blob's name.
            data: Its bytes, at most 5,000 MiB.
            if_match: Write only in the place of the blob that has this ETag.
            if_none_match: Write only where no blob is.
            content_type: The content type that readers are told.
            metadata: Names (ASCII identifiers) and values kept beside the blob.

        Raises:
            Conflict: The condition does not hold, maybe because of an earlier try of this very call.
            Missing: There is no such container.
            TooLarge: The data does not fit into one PUT.
            ValueError: Both conditions are given, or an ETag that the service never gives.
        """
        if len(data) > ONE_PUT_BYTES:
            raise TooLarge(f"{container}/{name} of {len(data)} bytes", "RequestBodyTooLarge")
        if if_match is not None and if_none_match:
            raise ValueError("a blob can be expected there or not there, not both")
        condition = _condition(if_match)

        async def effect() -> str:
            from azure.storage.blob import ContentSettings  # noqa: PLC0415 - imported on first use

            answer = await self._blob(container, name).upload_blob(
                data,
                # The client says If-None-Match: * when it may not overwrite.
                overwrite=not if_none_match,
                content_settings=ContentSettings(content_type=content_type),
                metadata=None if metadata is None else dict(metadata),
                **condition,
            )
            return _quoted(str(answer["etag"]))

        try:
            return await through(self._edge, Call("blob", "put", f"{container}/{name}"), effect)
        except Missing as missing:
            raise _lost(missing, expected=if_match is not None) from missing

    async def get(self, container: str, name: str, *, if_match: str | None = None) -> Blob | None:
        """Read a blob whole, or None where there is none.

        Raises:
            Conflict: An ETag is given and the blob was written since.
            Missing: There is no such container.
        """
        condition = _condition(if_match)

        async def effect() -> Blob:
            stream = await self._blob(container, name).download_blob(**condition)
            return Blob(await stream.readall(), _quoted(str(stream.properties.etag)))

        try:
            return await through(self._edge, Call("blob", "get", f"{container}/{name}"), effect)
        except Missing as missing:
            if missing.code in _NO_CONTAINER:
                raise
            return None

    async def delete(self, container: str, name: str, if_match: str | None = None) -> bool:
        """Take away a blob and tell whether one was there.

        Raises:
            Conflict: An ETag is given and the blob was written since.
            Missing: There is no such container.
        """
        condition = _condition(if_match)

        async def effect() -> None:
            await self._blob(container, name).delete_blob(**condition)

        try:
            await through(self._edge, Call("blob", "delete", f"{container}/{name}"), effect)
        except Missing as missing:
            if missing.code in _NO_CONTAINER:
                raise
            return False
        return True

    async def list(self, container: str, prefix: str) -> Listing:
        """List the blobs whose names begin with `prefix`, in the order of their names; one call for a page.

        Raises:
            Missing: There is no such container.
        """
        found = self._items(
            container, prefix, lambda: self._container(container).list_blobs(name_starts_with=prefix)
        )
        return [
            BlobItem(str(blob.name), _quoted(str(blob.etag)), int(blob.size), blob.last_modified)
            async for blob in found
        ]

    async def folders(self, container: str, prefix: str) -> Folders:
        """List the folders right below `prefix` (which ends in `/`): what comes next in names, up to its `/`.

        Raises:
            Missing: There is no such container.
        """
        found = self._items(
            container, prefix, lambda: self._container(container).walk_blobs(prefix, delimiter="/")
        )
        names = [str(item.name) async for item in found]
        return [name.removeprefix(prefix)[:-1] for name in names if name.endswith("/")]

    async def _items(self, container: str, prefix: str, listing: Callable[[], Any]) -> AsyncIterator[Any]:
        """Read a listing page by page, each from a fresh iterator: the client may make the call again."""
        token: str | None = None

        async def effect() -> tuple[Sequence[Any], str | None]:
            pages = listing().by_page(token)
            return [item async for item in await anext(pages)], pages.continuation_token

        while True:
            page, token = await through(self._edge, Call("blob", "list", f"{container}/{prefix}"), effect)
            for item in page:
                yield item
            if not token:
                return

    def _container(self, container: str) -> ContainerClient:
        if container not in self._containers:
            self._containers[container] = self._clients.blobs().get_container_client(container)
        return self._containers[container]

    def _blob(self, container: str, name: str) -> BlobClient:
        return self._container(container).get_blob_client(name)


def _condition(etag: str | None) -> dict[str, Any]:
    from azure.core import MatchConditions  # noqa: PLC0415 - imported on first use

    if etag is None:
        return {}
    if etag in {"", "*"}:
        raise ValueError("an ETag must be one that the service gave")
    return {"etag": etag, "match_condition": MatchConditions.IfNotModified}


def _quoted(etag: str) -> str:
    """Write an ETag as the header does: a listing leaves the quotes away, and the two must compare equal."""
    return etag if etag.endswith('"') else f'"{etag}"'


def _lost(missing: Missing, *, expected: bool) -> Conflict | Missing:
    """Tell a lost race: an expected blob that is gone was taken away by another; a container was not."""
    if expected and missing.code not in _NO_CONTAINER:
        return Conflict(missing.what, missing.code)
    return missing
