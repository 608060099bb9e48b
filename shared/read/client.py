"""The cost API over HTTP: one pooled client, explicit timeouts, no redirects, and a token for the ARM host alone."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import cache
from types import TracebackType
from typing import Protocol, Self

import httpx

from shared.edge import Call, Clock, Edge
from shared.read.answers import (
    DETAILS,
    QUERY,
    Answer,
    Expired,
    Refused,
    Transient,
    classify,
    date_of,
    far_off,
)
from shared.read.query import same_host

LARGEST_BODY = 64 * 1024 * 1024
TIMEOUT = httpx.Timeout(120.0, connect=15.0, pool=60.0)
CLIENT_TYPE = "CostLedger"
SIGN_IN = "sign in (`az login`), or give the app its managed identity"


class TokenUnavailableError(Exception):
    """The identity gave no token: nobody is signed in, or the app has no identity."""


class TokenUnreachableError(Exception):
    """Whoever gives tokens did not answer: later it may well do."""


class Tokens(Protocol):
    """Where bearer tokens come from."""

    async def token(self, *, fresh: bool) -> str:
        """Give a bearer token; `fresh` when the last one was refused as expired.

        Raises:
            TokenUnavailableError: there is none to be had.
            TokenUnreachableError: nobody answered.
        """
        ...

    async def close(self) -> None:
        """Let go of what was opened."""
        ...


class StaticToken:
    """The token of `ARM_TOKEN`, for a loopback endpoint only (the settings refuse it elsewhere)."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def token(self, *, fresh: bool) -> str:  # noqa: ARG002 - there is only one
        """Give the token."""
        return self._token

    async def close(self) -> None:
        """Nothing was opened."""


class IdentityTokens:
    """Tokens of the app's own identity (managed identity in Azure, the signed-in developer on a laptop)."""

    def __init__(self, scope: str) -> None:
        # Imported here: azure.identity costs 290 ms, which no cold start of another function should pay.
        from azure.identity.aio import DefaultAzureCredential  # noqa: PLC0415

        self._scope = scope
        self._make = DefaultAzureCredential
        self._credential = DefaultAzureCredential()

    async def token(self, *, fresh: bool) -> str:
        """Give a token; the credential caches it until shortly before it ends."""
        if fresh:
            # The cache believes in the refused token: only a new credential asks again.
            await self._credential.close()
            self._credential = self._make()
        from azure.core.exceptions import AzureError, ClientAuthenticationError  # noqa: PLC0415 - as above

        try:
            return (await self._credential.get_token(self._scope)).token
        except ClientAuthenticationError as error:
            raise TokenUnavailableError(_first_line(error)) from error
        except AzureError as error:
            raise TokenUnreachableError(_first_line(error)) from error

    async def close(self) -> None:
        """Close the credential's own connections."""
        await self._credential.close()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]


@cache
def _trusted() -> ssl.SSLContext:
    """Load the certificates that are trusted, once per process: it takes 100 ms."""
    return httpx.create_ssl_context()


class _TooLarge(Exception):  # noqa: N818 - a state, not a fault
    """The body went over the limit while it was read."""


class CostApi:
    """Asks the cost APIs and says what the answers mean."""

    def __init__(
        self,
        *,
        endpoint: str,
        tokens: Callable[[], Tokens],
        edge: Edge,
        clock: Clock,
        floor: timedelta,
    ) -> None:
        self._endpoint = endpoint
        self._make_tokens = tokens
        self._tokens: Tokens | None = None
        self._edge = edge
        self._clock = clock
        self._floor = floor
        self._ahead = timedelta()
        self._client = httpx.AsyncClient(
            verify=_trusted(),
            timeout=TIMEOUT,
            follow_redirects=False,
            limits=httpx.Limits(max_connections=64, max_keepalive_connections=32),
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()
        if self._tokens is not None:
            await self._tokens.close()

    def service_now(self) -> datetime:
        """Give the time by the service's clock, as far as its answers to this process have told it.

        Readings are dated by the service, so what is compared with them is as well: workers' clocks differ. The
        last answer counts whose date is within a day of this machine's clock: a wrong one would date failed attempts
        so that no reading makes up for them.
        """
        return self._clock() + self._ahead

    def post(self, url: str, body: bytes, scope: str) -> Awaitable[Answer]:
        """Post a query.

        An expired token is fetched anew and tried once more. What goes wrong on the way is `Transient`.

        Raises:
            ForeignLinkError: the URL leads to another host than the ARM endpoint; nothing was sent.
        """
        # Handed on and not awaited: each frame in between would be woken for every piece of a body.
        return self._ask(url, body, scope)

    def get(self, url: str, scope: str) -> Awaitable[Answer]:
        """Get a resource, its URL as it is, under the same rules as `post`."""
        return self._ask(url, None, scope)

    async def _ask(self, url: str, body: bytes | None, scope: str) -> Answer:
        same_host(self._endpoint, url)
        answer = await self._once(url, body, scope, fresh=False)
        if isinstance(answer, Expired):
            answer = await self._once(url, body, scope, fresh=True)
        if isinstance(answer, Expired):
            return Refused(
                "401 ExpiredAuthenticationToken: a fresh token was refused as well",
                "check ARM_TOKEN or the identity this app signs in with, and the clock of the machine",
            )
        return answer

    async def _once(self, url: str, body: bytes | None, scope: str, *, fresh: bool) -> Answer:
        if self._tokens is None:
            self._tokens = self._make_tokens()
        tokens = self._tokens
        try:
            token = await self._edge(Call("token", "get", "arm"), lambda: tokens.token(fresh=fresh))
        except TokenUnavailableError as error:
            return Refused(f"TokenUnavailable: {error}", SIGN_IN)
        except TokenUnreachableError as error:
            return Transient("TokenUnreachable", str(error))
        headers = {"Authorization": f"Bearer {token}", "ClientType": CLIENT_TYPE}
        if body is not None:
            headers["Content-Type"] = "application/json"

        async def effect() -> tuple[int, dict[str, str], bytes]:
            async with self._stream(url, body, headers) as response:
                return response.status_code, dict(response.headers), await _bounded(response)

        try:
            operation = "get" if body is None else "post"
            status, answered, content = await self._edge(Call("api", operation, scope), effect)
        except httpx.TimeoutException as error:
            return Transient("Timeout", f"no answer in time ({type(error).__name__})")
        except _TooLarge:
            return Transient("BodyTooLarge", f"the answer is larger than {LARGEST_BODY} bytes")
        except (httpx.TransportError, httpx.DecodingError) as error:
            return Transient("ConnectionLost", f"{type(error).__name__}: {error}")
        now = self._clock()
        dated = date_of(answered)
        if dated is not None and not far_off(dated, now):
            self._ahead = dated - now
        api = DETAILS if body is None else QUERY
        return classify(status, answered, content, scope=scope, floor=self._floor, now=now, api=api)

    @asynccontextmanager
    async def _stream(
        self, url: str, body: bytes | None, headers: dict[str, str]
    ) -> AsyncIterator[httpx.Response]:
        method = "GET" if body is None else "POST"
        async with self._client.stream(method, url, content=body, headers=headers) as response:
            yield response


async def _bounded(response: httpx.Response) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in response.aiter_bytes():
        size += len(part)
        if size > LARGEST_BODY:
            raise _TooLarge
        parts.append(part)
    return b"".join(parts)
