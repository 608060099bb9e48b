"""The page path: from an answer's bytes to what is stored of it, without the storing."""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal

import httpx

from infra.local.simulator import Running, Tenant, serve
from shared.normalise.hashing import unpack
from shared.plan.grouping import default_grouping
from shared.read import query
from shared.read.sources import reader_of
from shared.registry.generations import Generation
from shared.registry.pages import Page
from shared.registry.rows import page_row
from shared.runs import Slice
from shared.scopes import Scope
from shared.staging import encode
from tests.bench.baselines import map_elements, row_by_row
from tests.bench.figures import Figure, at_least, at_most
from tests.bench.timing import side_by_side

PART = "page path"
PAGE_SIZE = 5000
PAGES = 10
ROUNDS = 5
READ_AT = datetime(2026, 6, 1, tzinfo=UTC)


def figures() -> Iterator[Figure]:
    """Read the same pages in the product's way and in two plain ones."""
    piece, bodies = pages_of(Tenant(5, subscriptions=1, days=PAGES, rows_per_day=PAGE_SIZE), PAGES)
    rows = page_path(piece, bodies)
    for plain in (row_by_row, map_elements):
        if (found := plain(bodies)) != rows:
            raise AssertionError(f"{plain.__name__} found {found} rows, the page path {rows}")
    spent = side_by_side(
        {
            "product": lambda: page_path(piece, bodies),
            "row by row": lambda: row_by_row(bodies),
            "map_elements": lambda: map_elements(bodies),
        },
        ROUNDS,
    )
    own = spent["product"]
    yield Figure(PART, f"pages of {PAGE_SIZE} rows", len(bodies), "pages")
    for name, one in spent.items():
        yield Figure(PART, f"{name}: rows", rows / one.wall, "rows/s")
        target = at_most(25) if name == "product" else None
        yield Figure(PART, f"{name}: CPU", 1000 * one.cpu / len(bodies), "ms/page", target)
    yield Figure(
        PART, "against row by row", spent["row by row"].wall / own.wall, "times the rows/s", at_least(4)
    )
    yield Figure(PART, "against map_elements", spent["map_elements"].wall / own.wall, "times the rows/s")


def page_path(piece: Slice, bodies: Sequence[bytes]) -> int:
    """Do with pages what `shared.read.fetch_page` does with them between the answer and the storage."""
    reader = reader_of(piece)
    generation = Generation(piece.partition, {}, unpack(b""))
    rows = 0
    for number, body in enumerate(bodies, 1):
        answered = reader.read(piece, body)
        fresh = reader.compare(answered.records, generation.keys).fresh
        data = encode(fresh.frame)
        page = Page(
            number=number,
            cursor_in=None,
            cursor_out=answered.next_link,
            read_at=READ_AT,
            raw_rows=answered.rows,
            duplicates=0,
            outside=fresh.outside,
            staged=f"{len(data)}",
            sums=fresh.sums(piece.metric),
            digests=fresh.digests(),
            packed=fresh.packed(),
            requests=1,
            throttled=0,
            single=False,
        )
        page_row(piece.partition, page)
        generation = generation.extended([page])
        rows += len(fresh.frame)
    return rows


def pages_of(tenant: Tenant, most: int) -> tuple[Slice, list[bytes]]:
    """Ask a simulated tenant for the pages of its first subscription, with the slice that asks for them."""
    with serve(tenant) as running, httpx.Client() as client:
        piece = slice_of(tenant.subscription_scopes[0], tenant.days[0], tenant.days[-1])
        return piece, list(_bodies(running, client, piece, most))


def slice_of(path: str, first: date, last: date) -> Slice:
    """Give a slice as a run would plan it."""
    return Slice(
        run="bench",
        name="bench-00000",
        seeding="bench",
        scope=path,
        scope_key=Scope.parse(path).key,
        metric="ActualCost",
        source="query",
        grouping=default_grouping(Scope.parse(path)),
        first=first,
        last=last,
        page_size=PAGE_SIZE,
        tolerance=Decimal("1e-6"),
        accept_vanished=False,
        generation="20260601T000000000000Z-bench",
        reading=1,
        reading_first=first,
        reading_last=last,
    )


def _bodies(running: Running, client: httpx.Client, piece: Slice, most: int) -> Iterator[bytes]:
    url: str | None = query.first_url(running.url, piece.scope, piece.page_size)
    asked = query.body(piece.metric, piece.grouping, piece.first, piece.last)
    headers = {"Authorization": f"Bearer {running.simulator.token}", "Content-Type": "application/json"}
    for _ in range(most):
        if url is None:
            return
        answer = client.post(url, content=asked, headers=headers, timeout=120)
        answer.raise_for_status()
        yield answer.content
        url = answer.json()["properties"]["nextLink"]
