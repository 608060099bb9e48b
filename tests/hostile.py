"""Storage that is hostile to us: a proxy before the emulator that does what the real service may do.

It stands between the SDK and the emulator on real HTTP, a port for each service, and is told what to do by a
`Hostility`. Every trick is one that the service's documentation allows: short and empty pages with a token,
messages out of order or visible again while they are worked, `ServerBusy`, connections that break before the
work, after it, or in the middle of the answer.
"""

import io
import re
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from hmac import digest
from random import Random
from typing import Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from aiohttp import ClientSession, TCPConnector, web
from aiohttp.test_utils import RawTestServer
from multidict import CIMultiDict
from yarl import URL

SERVICES: Final = ("Blob", "Queue", "Table")
BUSY: Final = ((503, "ServerBusy"), (500, "InternalError"), (500, "OperationTimedOut"))
THROTTLED: Final = (429, "TooManyRequests")
"""Only tables say so, and only there does the SDK try again."""

_OF_THE_CONNECTION: Final = {"connection", "content-length", "host", "keep-alive", "transfer-encoding"}
_SIGNED: Final = (
    *("Content-Encoding", "Content-Language", "Content-Length", "Content-MD5", "Content-Type", "Date"),
    *("If-Modified-Since", "If-Match", "If-None-Match", "If-Unmodified-Since", "Range"),
)
_LATER: Final = "later|"
"""Marks a token of ours: an empty page was given in the place of the one that it asks for."""

_MESSAGE: Final = re.compile(r"<QueueMessage>.*?</QueueMessage>", re.DOTALL)
_PROTOCOL: Final = "2019-02-02"
_XML: Final = '<?xml version="1.0" encoding="utf-8"?>'


@dataclass
class Hostility:
    """What goes wrong, each with its chance from 0 to 1 for one call. Nothing does unless it is said.

    `pages` are the sizes at which table queries and blob listings are cut. `in_a_row` is how often one call may
    fail at the most, the SDK's own three further tries counted in: up to 3, no call fails for good. Only calls
    fail whose method and path hold `only`.
    """

    pages: tuple[int, ...] = ()
    empty: float = 0
    shuffled: float = 0
    reappearing: float = 0
    refused: float = 0
    reset: float = 0
    lost: float = 0
    torn: float = 0
    in_a_row: int = 2
    only: str = ""


@dataclass
class Asked:
    """One request as it goes on to the emulator."""

    service: str
    method: str
    path: str
    query: dict[str, str]
    headers: CIMultiDict[str]
    body: bytes = b""

    @property
    def is_query(self) -> bool:
        return self.service == "Table" and self.method == "GET" and self.path.endswith("()")

    @property
    def is_listing(self) -> bool:
        return self.service == "Blob" and self.query.get("comp") == "list"

    @property
    def is_receipt(self) -> bool:
        return self.service == "Queue" and self.method == "GET" and "visibilitytimeout" in self.query


@dataclass
class Answered:
    """One answer of the emulator, or of the proxy in its place."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass
class HostileStorage:
    """The proxy. `connection_string` leads to it; `done` counts the calls and what was done to them."""

    upstream: str
    rng: Random
    hostility: Hostility = field(default_factory=Hostility)
    done: Counter[str] = field(default_factory=Counter)
    connection_string: str = ""
    _faults: Counter[str] = field(default_factory=Counter)
    _released: Counter[str] = field(default_factory=Counter)
    _session: ClientSession | None = None

    async def serve(self, service: str, request: web.BaseRequest) -> web.StreamResponse:
        """Work one request as the hostility has it."""
        asked = Asked(
            service=service,
            method=request.method,
            path=request.rel_url.raw_path,
            query=dict(parse_qsl(request.rel_url.raw_query_string, keep_blank_values=True)),
            headers=_kept(request.headers),
            body=await request.content.read(),
        )
        self.done["calls"] += 1
        fault = self._fault(asked)
        if fault == "refused":
            answers = (*BUSY, THROTTLED) if service == "Table" else BUSY
            return _plain(_error(service, *self.rng.choice(answers)))
        if fault == "reset":
            return _broken(request)
        answer = await self._worked(asked)
        if fault == "lost":
            return _broken(request)
        if fault == "torn" and answer.body:
            return await _half(request, answer)
        return _plain(answer)

    def _fault(self, asked: Asked) -> str | None:
        """Choose what goes wrong; the SDK's tries of one call have one id, so that an end is in sight."""
        call = asked.headers.get("x-ms-client-request-id", "")
        if self.hostility.only not in f"{asked.method} {asked.path}":
            return None
        for name in ("refused", "reset", "lost", "torn"):
            if self._faults[call] < self.hostility.in_a_row and self._happens(getattr(self.hostility, name)):
                self._faults[call] += 1
                self.done[name] += 1
                return name
        return None

    async def _worked(self, asked: Asked) -> Answered:
        if asked.is_query or asked.is_listing:
            return await self._page(asked)
        answer = await self._send(asked)
        return await self._received(asked, answer) if asked.is_receipt and answer.status == 200 else answer

    async def _page(self, asked: Asked) -> Answered:
        """Cut a page at a size of our own, or give none of it and a token that leads back here."""
        token, most = ("NextPartitionKey", "$top") if asked.is_query else ("marker", "maxresults")
        at = asked.query.get(token, "")
        if at.startswith(_LATER):
            asked.query[token] = at.removeprefix(_LATER)
            if not asked.query[token]:
                del asked.query[token]
        elif self._happens(self.hostility.empty):
            self.done[f"empty {asked.service}"] += 1
            return _nothing(asked, _LATER + at)
        if self.hostility.pages:
            size = self.rng.choice(self.hostility.pages)
            asked.query[most] = str(min(size, int(asked.query.get(most, size))))
            self.done[f"cut {asked.service}"] += 1
        return await self._send(asked)

    async def _received(self, asked: Asked, answer: Answered) -> Answered:
        """Turn received messages round, and let some be visible again while they are worked."""
        text = answer.body.decode()
        messages = _MESSAGE.findall(text)
        for message in messages:
            name = _of(message, "MessageId")
            # Twice at the most: after five receipts a message is poison.
            if self._released[name] < 2 and self._happens(self.hostility.reappearing):
                self._released[name] += 1
                self.done["reappearing"] += 1
                await self._release(asked, name, _of(message, "PopReceipt"))
        if len(messages) > 1 and self._happens(self.hostility.shuffled):
            self.done["shuffled"] += 1
            mixed = iter(self.rng.sample(messages, len(messages)))
            text = _MESSAGE.sub(lambda _: next(mixed), text)
        return Answered(answer.status, answer.headers, text.encode())

    async def _release(self, asked: Asked, name: str, receipt: str) -> None:
        """Let a message's lease run out: its receiver has a receipt that is worth nothing any more."""
        query = {"popreceipt": receipt, "visibilitytimeout": "0"}
        headers = CIMultiDict({"x-ms-version": _PROTOCOL, "x-ms-date": asked.headers["x-ms-date"]})
        answer = await self._send(Asked("Queue", "PUT", f"{asked.path}/{name}", query, headers))
        if answer.status != 204:
            raise RuntimeError(f"the message was not released: {answer.body!r}")

    async def _send(self, asked: Asked) -> Answered:
        """Send a request on, signed anew: blobs and queues sign the query, which may be another now."""
        if asked.service != "Table":
            self._sign(asked)
        if self._session is None:
            self._session = ClientSession(
                connector=TCPConnector(limit=0, keepalive_timeout=4),
                auto_decompress=False,
                skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
            )
        origin = urlsplit(_pairs(self.upstream)[f"{asked.service}Endpoint"])
        query = urlencode(asked.query, quote_via=quote)
        async with self._session.request(
            asked.method,
            URL(f"{origin.scheme}://{origin.netloc}{asked.path}?{query}", encoded=True),
            headers=asked.headers,
            data=io.BytesIO(asked.body) if asked.body else None,
        ) as response:
            return Answered(response.status, _kept(response.headers), await response.read())

    def _sign(self, asked: Asked) -> None:
        """Sign with the account's key.

        https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key
        """
        account = _pairs(self.upstream)
        length = {"Content-Length": str(len(asked.body)) if asked.body else ""}
        own = sorted((name.lower(), value) for name, value in asked.headers.items())
        lines = [
            asked.method,
            *({**asked.headers, **length}.get(name, "") for name in _SIGNED),
            *(f"{name}:{value}" for name, value in own if name.startswith("x-ms-")),
            f"/{account['AccountName']}{asked.path}",
            *(f"{name.lower()}:{value}" for name, value in sorted(asked.query.items())),
        ]
        signature = digest(b64decode(account["AccountKey"]), "\n".join(lines).encode(), sha256)
        asked.headers["Authorization"] = f"SharedKey {account['AccountName']}:{b64encode(signature).decode()}"

    def _happens(self, chance: float) -> bool:
        return self.rng.random() < chance

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


@asynccontextmanager
async def hostile(
    upstream: str, seed: int = 0, hostility: Hostility | None = None
) -> AsyncIterator[HostileStorage]:
    """Open a proxy before the account of a connection string; its own one leads to the same account."""
    storage = HostileStorage(upstream, Random(seed), hostility or Hostility())
    async with AsyncExitStack() as stack:
        stack.push_async_callback(storage.close)
        text = upstream
        for service in SERVICES:
            server = await stack.enter_async_context(RawTestServer(_handler(storage, service)))
            there = urlsplit(_pairs(upstream)[f"{service}Endpoint"])
            text = text.replace(f"{there.scheme}://{there.netloc}", f"http://127.0.0.1:{server.port}")
        storage.connection_string = text
        yield storage


def _handler(
    storage: HostileStorage, service: str
) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
    return partial(storage.serve, service)


def _pairs(text: str) -> dict[str, str]:
    return dict(part.split("=", 1) for part in text.strip(";").split(";"))


def _kept(headers: Mapping[str, str]) -> CIMultiDict[str]:
    return CIMultiDict(
        {name: value for name, value in headers.items() if name.lower() not in _OF_THE_CONNECTION}
    )


def _of(message: str, name: str) -> str:
    return message.split(f"<{name}>")[1].split(f"</{name}>", maxsplit=1)[0]


def _nothing(asked: Asked, token: str) -> Answered:
    """Give an empty page with a token, as a query does that has looked for five seconds and found nothing yet."""
    if asked.is_query:
        headers = {
            "Content-Type": "application/json;odata=minimalmetadata",
            "x-ms-continuation-NextPartitionKey": token,
            "x-ms-continuation-NextRowKey": asked.query.get("NextRowKey", ""),
        }
        return Answered(200, headers, b'{"value":[]}')
    body = (
        f'{_XML}<EnumerationResults ContainerName="any"><Blobs></Blobs>'
        f"<NextMarker>{token}</NextMarker></EnumerationResults>"
    )
    return Answered(200, {"Content-Type": "application/xml"}, body.encode())


def _error(service: str, status: int, code: str) -> Answered:
    """Say no as the service does: the Table service in JSON, the others in XML."""
    if service == "Table":
        kind = "application/json;odata=minimalmetadata;charset=utf-8"
        body = f'{{"odata.error":{{"code":"{code}","message":{{"lang":"en-US","value":"as ordered"}}}}}}'
    else:
        kind = "application/xml"
        body = f"{_XML}<Error><Code>{code}</Code><Message>as ordered</Message></Error>"
    headers = {
        "Content-Type": kind,
        "x-ms-error-code": code,
        "Date": f"{datetime.now(UTC):%a, %d %b %Y %T GMT}",
    }
    return Answered(status, headers, body.encode())


def _plain(answer: Answered) -> web.Response:
    return web.Response(status=answer.status, headers=answer.headers, body=answer.body)


def _broken(request: web.BaseRequest) -> web.Response:
    """Break the connection: whatever is returned reaches nobody."""
    assert request.transport is not None
    request.transport.close()
    return web.Response(status=500)


async def _half(request: web.BaseRequest, answer: Answered) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    response.content_length = len(answer.body)
    await response.prepare(request)
    await response.write(answer.body[: len(answer.body) // 2])
    assert request.transport is not None
    request.transport.close()
    return response
