"""The services themselves, Query and usageDetails: take a request, decide what goes wrong with it, and answer."""

import asyncio
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import NoReturn

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from infra.local.simulator import dice
from infra.local.simulator.answers import Answer, Answers, Row
from infra.local.simulator.billing import BillRequest, balance, bill_request, invoices
from infra.local.simulator.details import (
    DetailsQuery,
    details_body,
    page_size,
    parse_details,
    read_link,
    records,
)
from infra.local.simulator.details import next_link as details_link
from infra.local.simulator.faults import Asked, Desk, Faults, Named
from infra.local.simulator.journal import Entry, Journal
from infra.local.simulator.paging import (
    DEFAULT_TOP,
    MOST_TOP,
    BadTokenError,
    Page,
    cut,
    decode_token,
    next_link,
    page_count,
)
from infra.local.simulator.query import BadQueryError, Query, parse_query
from infra.local.simulator.records import Shape, shape_of
from infra.local.simulator.replies import JSON, failed, oversized, page_body, refusal, refused
from infra.local.simulator.schema import drifted
from infra.local.simulator.scopes import UnknownScopeError, scope_key
from infra.local.simulator.spoils import endless, looped, spoiled_rows
from infra.local.simulator.tenant import Tenant
from infra.local.simulator.throttle import Limiter, consumption_headers, hint_headers

DEFAULT_TOKEN = "simulator-token"  # noqa: S105 - opens nothing but this simulator

_QUERY = re.compile(r"(/.+?)/providers/microsoft\.costmanagement/query/?", re.IGNORECASE)
_DETAILS = re.compile(
    r"(/.+?)(?:/providers/microsoft\.billing/billingperiods/([^/]+))?"
    r"/providers/microsoft\.consumption/usagedetails/?",
    re.IGNORECASE,
)
_VERSION = re.compile(r"\d{4}-\d\d-\d\d(-preview)?")


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request that was let in: its scope's path as written, page size and page number."""

    path: str
    base: str
    top: int
    number: int


class _AnsweredError(Exception):
    """A gate answered, so the query is not executed."""

    def __init__(self, response: Response, fault: str = "") -> None:
        super().__init__(response.status_code, fault)
        self.response = response
        self.fault = fault


class Simulator:
    """The Query and usageDetails APIs of one tenant, with its invoices and balances.

    `token` is the only bearer token that is let in. Setting `faults`, at any time, resets their bounds. `shape`
    is the one in which usageDetails answers; None leaves it to the kind of the scope.
    """

    def __init__(self, tenant: Tenant, faults: Faults | None = None, token: str = DEFAULT_TOKEN) -> None:
        self.tenant = tenant
        self.token = token
        self.journal = Journal()
        self.faults = faults or Faults()
        self.shape: Shape | None = None
        self._answers = Answers(tenant)
        self._answered = 0

    @property
    def faults(self) -> Faults:
        """The faults in force."""
        return self._desk.faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._desk = Desk(faults, self.tenant.seed)
        self._limiter = Limiter(faults.tenant_limits, faults.scope_limits)
        self._details_limiter = Limiter((), faults.details_limits)

    async def respond(self, request: Request) -> Response:
        """Answer one request and write it down."""
        body = await request.body()
        found, details = _QUERY.fullmatch(request.url.path), _DETAILS.fullmatch(request.url.path)
        bill = bill_request(request.url.path)
        path = bill.scope if bill else found[1] if found else details[1] if details else ""
        response, fault = self._respond(request, path, body, details)
        self.journal.write(
            Entry(
                time=time.time(),
                method=request.method,
                path=request.url.path,
                scope=path,
                skiptoken=request.query_params.get("$skiptoken"),
                control=bill is None and details is None and b'"grouping"' not in body,
                with_token="authorization" in request.headers,
                status=response.status_code,
                fault=fault,
            )
        )
        if self.faults.latency:
            await asyncio.sleep(self.faults.latency)
        return response

    def _respond(
        self, request: Request, path: str, body: bytes, details: re.Match[str] | None
    ) -> tuple[Response, str]:
        """Give the answer and the name of the fault in it: the gates first, then the query."""
        key = scope_key(path)
        bill = bill_request(request.url.path)
        try:
            self._authorize(request.headers)
            _expect(path, request.method, "POST" if bill is None and details is None else "GET")
            named = self._desk.named(key)
            if details is not None:
                self._throttle(key, request.url.query, self._details_limiter)
                self._refuse(named, request.url.path, served=named.refusal == "UnsupportedOffer")
                return self._records(*self._read_details(request, path, details[2]), named)
            page = f"{request.query_params.get('$skiptoken')}/{blake2b(body).hexdigest()}"
            self._throttle(key, page, self._limiter)
            self._refuse(named, request.url.path)
            if bill is not None:
                return self._bill(bill, request, named), ""
            return self._page(*self._read(request, path, body), named)
        except _AnsweredError as answered:
            return answered.response, answered.fault

    def _authorize(self, headers: Mapping[str, str]) -> None:
        kind, _, token = headers.get("authorization", "").partition(" ")
        if token in self.faults.expired_tokens:
            _refuse(401, "ExpiredAuthenticationToken", "The access token expiry is in the past.")
        if kind.lower() != "bearer" or token != self.token:
            _refuse(401, "InvalidAuthenticationToken", "The access token is missing or invalid.")

    def _throttle(self, key: str, page: str, limiter: Limiter) -> None:
        refusing = limiter.take(key, time.monotonic())
        if refusing or self._desk.throttled(key, page):
            family, seconds = refusing or ("", self.faults.hint_seconds)
            if limiter is self._details_limiter:
                headers = consumption_headers(seconds)
            else:
                headers = hint_headers(self._desk.family(family), seconds)
            response = refused(429, "429", "Too many requests. Please retry.", headers)
            raise _AnsweredError(response, "limit" if refusing else "throttle")

    def _refuse(self, named: Named, path: str, *, served: bool = False) -> None:
        if named.refusal and not served:
            raise _AnsweredError(refusal(named.refusal), named.refusal)
        if named.redirect:
            raise _AnsweredError(RedirectResponse(f"{self.faults.foreign_base}{path}", 302), "redirect")

    def _read(self, request: Request, path: str, body: bytes) -> tuple[_Asked, Query]:
        try:
            asked = _asked(request, path)
            return asked, parse_query(body, self.tenant.scope(path), self.tenant.days[-1])
        except BadTokenError as error:
            _refuse(400, "BadRequest", f"Invalid skiptoken '{error}'")
        except BadQueryError as error:
            _refuse(400, "BadRequest", str(error))
        except UnknownScopeError:
            _refuse(404, "SubscriptionNotFound", f"The scope '{path}' could not be found.")

    def _bill(self, bill: BillRequest, request: Request, named: Named) -> Response:
        faults = self.faults.billing
        if not _VERSION.fullmatch(request.query_params.get("api-version", "")):
            _refuse(400, "MissingApiVersionParameter", "The api-version query parameter is required.")
        if scope_key(bill.scope) in map(scope_key, faults.forbidden):
            _refuse(403, "AuthorizationFailed", "The client is not authorized to read invoices.")
        try:
            if bill.period is not None:
                found = balance(self.tenant, bill.scope, bill.period, faults)
                return Response(status_code=204) if found is None else _json(found)
            documents = invoices(self.tenant, bill.scope, faults)
        except UnknownScopeError:
            _refuse(404, "NotFound", f"The resource '{bill.scope}' could not be found.")
        start = int(request.query_params.get("$skiptoken", "0"))
        end = start + (faults.page_size or len(documents))
        link = str(request.url.include_query_params(**{"$skiptoken": end})) if end < len(documents) else None
        if link is not None and named.foreign_next_link:
            link = f"{self.faults.foreign_base}{request.url.path}"
        return _json({"value": documents[start:end], "nextLink": link})

    def _read_details(
        self, request: Request, path: str, period: str | None
    ) -> tuple[_Asked, DetailsQuery, str]:
        try:
            scope, said = self.tenant.scope(path), request.query_params
            link = read_link(request.url.path, request.url.query)
            query = parse_details(said, scope, self.shape or shape_of(scope), period)
            _expect_version(said)
            base = f"{request.url.scheme}://{request.url.netloc}"
            asked = _Asked(request.url.path, base, page_size(said), link.number)
        except BadTokenError:
            _refuse(400, "BadRequest", "Invalid session token: follow nextLink as it is.")
        except BadQueryError as error:
            _refuse(400, "BadRequest", str(error))
        except UnknownScopeError:
            _refuse(404, "SubscriptionNotFound", f"The scope '{path}' could not be found.")
        return asked, query, link.first_query

    def _records(
        self, asked: _Asked, query: DetailsQuery, first_query: str, named: Named
    ) -> tuple[Response, str]:
        with self.tenant.lock:
            rows = records(self.tenant, query, self.faults.out_of_window)
        if kind := self._desk.error(query, asked.number):
            return failed(kind, details_body(cut(rows, asked.top, asked.number).rows, None)), kind
        if not rows:
            return Response(status_code=204), ""
        page, fault = self._cut(asked, rows, query, named)
        link = None
        if page.next_number is not None:
            base = self.faults.foreign_base if named.foreign_next_link else asked.base
            link = details_link(base, asked.path, first_query, page.next_number)
        body = details_body(page.rows, link, named.schema if asked.number == 0 else None)
        if named.oversize:
            return oversized(body, self.faults.oversize_bytes, {}), "oversize"
        return Response(body, media_type=JSON), fault

    def _page(self, asked: _Asked, query: Query, named: Named) -> tuple[Response, str]:
        answer = self._answers.get(query, self.faults.out_of_window)
        self._answered += 1
        if kind := self._desk.error(query, asked.number):
            return failed(kind, self._body(asked, answer, cut(answer.rows, asked.top, asked.number))), kind
        headers = self._limiter.answer_headers(query.scope.key)
        if not answer.rows and self.faults.empty_status == 204:  # noqa: PLR2004 - the status
            return Response(status_code=204, headers=headers), ""
        if query.grouping:
            page, fault = self._cut(asked, answer.rows, query, named)
        else:
            page, fault = cut(answer.rows, asked.top, asked.number, empty_tail=self.faults.empty_tail), ""
        body = self._body(asked, answer, page, named if query.grouping else None)
        if named.oversize:
            return oversized(body, self.faults.oversize_bytes, headers), "oversize"
        return Response(body, headers=headers, media_type=JSON), fault

    def _cut(self, asked: _Asked, rows: Sequence[Row], query: Asked, named: Named) -> tuple[Page, str]:
        if named.endless:
            return endless(rows, asked.top, asked.number), "endless"
        overlap = min(self.faults.overlap, asked.top - 1)
        pages = page_count(len(rows), asked.top, overlap)
        spoil = self._desk.spoil(query, asked.number, pages)
        rows = spoiled_rows(rows, spoil, asked.top, overlap)
        page = cut(rows, asked.top, asked.number, overlap, empty_tail=self.faults.empty_tail)
        return looped(page, asked.number, spoil, pages), spoil.kind if spoil else ""

    def _body(self, asked: _Asked, answer: Answer, page: Page, named: Named | None = None) -> str:
        schema = named.schema if named and asked.number == 0 else None
        columns, rows = drifted(schema, answer.columns, page.rows)
        link = None
        if page.next_number is not None:
            base = self.faults.foreign_base if named and named.foreign_next_link else asked.base
            link = next_link(base, asked.path, asked.top, page.next_number, self.tenant.seed)
        order = dice.number(self.tenant.seed, "columns", self._answered)
        return page_body(asked.path, columns, rows, link, order)


def _refuse(status: int, code: str, message: str) -> NoReturn:
    raise _AnsweredError(refused(status, code, message))


def _expect(path: str, method: str, supported: str) -> None:
    if not path:
        _refuse(404, "NotFound", "No such resource.")
    if method != supported:
        _refuse(405, "MethodNotAllowed", f"The requested resource supports {supported} alone.")


def _json(value: object) -> Response:
    return Response(json.dumps(value), media_type=JSON)


def _expect_version(said: Mapping[str, str]) -> None:
    if not _VERSION.fullmatch(said.get("api-version", "")):
        raise BadQueryError("The api-version query parameter (?api-version=) is required for all requests.")


def _asked(request: Request, path: str) -> _Asked:
    said = request.query_params
    _expect_version(said)
    top = said.get("$top", str(DEFAULT_TOP))
    if not top.isdecimal() or not 1 <= int(top) <= MOST_TOP:
        raise BadQueryError(f"Invalid query definition: Invalid $top: '{top}'; it goes from 1 to {MOST_TOP}")
    base = f"{request.url.scheme}://{request.url.netloc}"
    return _Asked(path, base, int(top), decode_token(said.get("$skiptoken")))
