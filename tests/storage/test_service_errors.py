"""What each answer of the service comes to and what is tried again: a service that fails to order."""

import os
import time
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import BaseTestServer, RawTestServer

from shared.storage import (
    Busy,
    Conflict,
    Insert,
    Missing,
    Refused,
    Row,
    Storage,
    StorageError,
    TooLarge,
    Unavailable,
    pack,
    storage_connection,
)


class Service:
    """Answers from a list, the last one for ever, and keeps the bodies it was sent."""

    def __init__(self, *answers: tuple[int, str]) -> None:
        self.answers = list(answers)
        self.bodies: list[bytes] = []

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        self.bodies.append(await request.content.read())
        status, code = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if status == 0:  # the connection breaks after the service has done its work
            assert request.transport is not None
            request.transport.close()
        headers = {"x-ms-error-code": code} if code else {"ETag": '"0x1"'}
        # The Table client reads the code from the body, the others from the header.
        body = {"odata.error": {"code": code, "message": {"lang": "en", "value": "as ordered"}}}
        if not code:
            return web.Response(status=status or 500, headers=headers)
        return web.json_response(body, status=status, headers=headers)


def account(server: BaseTestServer) -> Storage:
    endpoints = "".join(f"{kind}Endpoint={server.make_url('/a')};" for kind in ("Blob", "Queue", "Table"))
    return Storage(storage_connection({"COST_STORAGE": f"AccountName=a;AccountKey=QUFBQQ==;{endpoints}"}))


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (409, "EntityAlreadyExists", Conflict),
        (412, "UpdateConditionNotSatisfied", Conflict),
        (404, "TableNotFound", Missing),
        (413, "RequestBodyTooLarge", TooLarge),
        (400, "EntityTooLarge", TooLarge),
        (400, "TooManyProperties", TooLarge),
        (401, "AuthenticationFailed", Refused),
        (403, "AuthorizationPermissionMismatch", Refused),
        (409, "TableBeingDeleted", Busy),
        (400, "InvalidInput", StorageError),
    ],
)
async def test_answer_is_named_by_the_state_it_means(status: int, code: str, kind: type) -> None:
    """None of these is tried again: nothing would change."""
    service = Service((status, code))
    async with RawTestServer(service) as server, account(server) as storage:
        with pytest.raises(StorageError) as caught:
            await storage.tables.insert("Rows", Row("p", "r"))

    assert type(caught.value) is kind
    assert (caught.value.what, caught.value.code) == ("Rows/p/r", code)
    assert len(service.bodies) == 1


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [(503, "ServerBusy", Busy), (500, "InternalError", Unavailable), (0, "", Unavailable)],
    ids=["busy", "fault", "broken connection"],
)
async def test_service_that_keeps_failing_is_tried_a_few_times_and_named(
    status: int, code: str, kind: type
) -> None:
    service = Service((status, code))
    began = time.monotonic()
    async with RawTestServer(service) as server, account(server) as storage:
        with pytest.raises(Unavailable) as caught:
            await storage.tables.insert("Rows", Row("p", "r"))

    assert type(caught.value) is kind
    assert len(service.bodies) == 4
    assert time.monotonic() - began < 8


@pytest.mark.parametrize("failure", [(503, "ServerBusy"), (0, "")], ids=["busy", "broken connection"])
async def test_large_row_is_sent_whole_again(failure: tuple[int, str]) -> None:
    """A large body goes out as a stream, and the second try must not find that stream at its end."""
    service = Service(failure, (204, ""))
    row = Row("p", "r", dict(pack("d", os.urandom(900_000))))
    async with RawTestServer(service) as server, account(server) as storage:
        assert await storage.tables.insert("Rows", row) == '"0x1"'

    first, second = service.bodies
    assert len(first) > 1_200_000  # base64
    assert first == second


async def test_insert_that_is_tried_again_may_meet_itself() -> None:
    """Time line: inserted, answer lost, tried again, conflict. So the caller must look at the row."""
    service = Service((0, ""), (409, "EntityAlreadyExists"))
    async with RawTestServer(service) as server, account(server) as storage:
        with pytest.raises(Conflict):
            await storage.tables.insert("Rows", Row("p", "r"))


@pytest.mark.parametrize("kind", ["blob", "queue"])
async def test_blob_and_queue_are_tried_again_soon(kind: str) -> None:
    """The clients' own first pause is 15 seconds, in which a lease may run out."""
    service = Service((503, "ServerBusy"), (201, ""))
    began = time.monotonic()
    async with RawTestServer(service) as server, account(server) as storage:
        await (storage.blobs.put("c", "b", b"1") if kind == "blob" else storage.queues.create("q"))

    assert len(service.bodies) == 2
    assert time.monotonic() - began < 4


CALLS: dict[str, Callable[[Storage], Awaitable[object]]] = {
    "table insert": lambda storage: storage.tables.insert("Rows", Row("p", "r")),
    "table get": lambda storage: storage.tables.get("Rows", "p", "r"),
    "table query": lambda storage: storage.tables.query("Rows", ""),
    "table batch": lambda storage: storage.tables.batch("Rows", [Insert(Row("p", "r"))]),
    "blob put": lambda storage: storage.blobs.put("c", "b", b"1"),
    "blob get": lambda storage: storage.blobs.get("c", "b"),
    "blob list": lambda storage: storage.blobs.list("c", ""),
    "queue send": lambda storage: storage.queues.send("q", b"1"),
    "queue receive": lambda storage: storage.queues.receive("q", hide_seconds=1),
}


@pytest.mark.parametrize("call", CALLS)
async def test_answer_of_someone_else_on_the_way_is_an_error_of_ours_too(call: str) -> None:
    """A proxy answers without any of the service's own codes."""
    async with RawTestServer(Service((418, ""))) as server, account(server) as storage:
        with pytest.raises(StorageError) as caught:
            await CALLS[call](storage)

    assert type(caught.value) is StorageError
    assert caught.value.code == "HTTP 418"
