"""What goes wrong on purpose goes wrong as told, within its bounds."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from itertools import pairwise
from typing import Any

import httpx
import pytest

from infra.local.simulator import ALL_ERRORS, Faults, Running, Tenant, serve
from infra.local.simulator.faults import ErrorKind, Refusal, Schema
from infra.local.simulator.throttle import FAMILIES, Limiter, hint_headers

AUTH = {"Authorization": "Bearer simulator-token"}
TOP = 40
PREFIX = "x-ms-ratelimit-microsoft.costmanagement-"


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with serve(Tenant(11, subscriptions=2, days=6, rows_per_day=100)) as running:
        yield running


@pytest.fixture
def client(running: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running.url, headers=AUTH) as client:
        yield client


@pytest.fixture
def scope(running: Running) -> str:
    running.simulator.journal.clear()
    return running.simulator.tenant.subscription_scopes[0]


def body(*grouping: str) -> dict[str, Any]:
    return {
        "type": "ActualCost",
        "timeframe": "Custom",
        "timePeriod": {"from": "2026-05-02T00:00:00Z", "to": "2026-05-04T23:59:59Z"},
        "dataset": {
            "granularity": "Daily",
            "aggregation": {"totalCost": {"name": "Cost", "function": "Sum"}},
            "grouping": [{"type": "Dimension", "name": name} for name in grouping],
        },
    }


ROWS = body("ResourceId", "Meter", "ServiceName", "MeterSubcategory", "ChargeType")


def address(path: str, top: int = TOP) -> str:
    return f"{path}/providers/Microsoft.CostManagement/query?api-version=2025-03-01&$top={top}"


def ask(client: httpx.Client, link: str, asked: dict[str, Any] | None = None) -> httpx.Response:
    return client.post(link, json=asked or ROWS)


def page(answer: httpx.Response) -> tuple[list[tuple[str, str]], str | None]:
    """Give a page's rows, each as (identity, cost text), and its nextLink."""
    properties = json.loads(answer.text, parse_float=str)["properties"]
    names = [column["name"] for column in properties["columns"]]
    rows = []
    for row in properties["rows"]:
        said = dict(zip(names, row, strict=True))
        cost = str(said.pop("Cost"))
        rows.append((json.dumps(said, sort_keys=True), cost))
    return rows, properties["nextLink"]


def read(client: httpx.Client, path: str, top: int = TOP, most: int = 40) -> list[list[tuple[str, str]]]:
    pages: list[list[tuple[str, str]]] = []
    link: str | None = address(path, top)
    while link and len(pages) < most:
        rows, link = page(ask(client, link))
        pages.append(rows)
    return pages


def test_overlapping_pages_repeat_the_last_rows_and_lose_nothing(
    running: Running, client: httpx.Client, scope: str
) -> None:
    running.simulator.faults = Faults()
    (whole,) = read(client, scope, 5000)
    running.simulator.faults = Faults(overlap=3)
    pages = read(client, scope)

    assert len(pages) > 3
    assert all(after[:3] == before[-3:] for before, after in pairwise(pages))
    assert [row for n, rows in enumerate(pages) for row in rows[3 if n else 0 :]] == whole


def test_a_moved_row_comes_twice_with_two_amounts_of_which_the_later_is_true(
    running: Running, client: httpx.Client, scope: str
) -> None:
    running.simulator.faults = Faults()
    truth = dict(read(client, scope, 5000)[0])
    running.simulator.faults = Faults(move_rate=1, spoiled_readings=2)

    for _ in range(2):
        rows = [(number, *row) for number, rows in enumerate(read(client, scope)) for row in rows]
        (twice,) = [name for name, count in Counter(name for _, name, _ in rows).items() if count > 1]
        (first, former), (second, final) = [(number, cost) for number, name, cost in rows if name == twice]
        assert first < second
        assert former != final == truth[twice]
        assert {name for _, name, _ in rows} == set(truth)
    assert dict(row for rows in read(client, scope) for row in rows) == truth


def test_a_lost_row_is_missing_until_the_bound_is_reached(
    running: Running, client: httpx.Client, scope: str
) -> None:
    running.simulator.faults = Faults()
    (whole,) = read(client, scope, 5000)
    running.simulator.faults = Faults(lose_rate=1, spoiled_readings=3)
    readings = [[row for rows in read(client, scope) for row in rows] for _ in range(4)]

    assert [len(whole) - len(rows) for rows in readings] == [1, 1, 1, 0]
    (lost,) = set(whole) - set(readings[0])
    assert abs(float(lost[1])) > 1e-6
    assert running.simulator.journal.by_fault["lose"] > 0


def test_the_page_before_a_spoiled_one_is_the_same_when_asked_again(
    running: Running, client: httpx.Client, scope: str
) -> None:
    running.simulator.faults = Faults(lose_rate=0.5, move_rate=0.5)
    first, link = page(ask(client, address(scope)))
    assert link
    assert page(ask(client, link)) == page(ask(client, link))
    assert len(first) == TOP


def test_a_reading_of_one_page_is_never_spoiled(running: Running, client: httpx.Client, scope: str) -> None:
    running.simulator.faults = Faults(move_rate=1)
    (rows,) = read(client, scope, 5000)
    assert len(rows) == len(set(rows)) == len({name for name, _ in rows})
    assert running.simulator.journal.by_fault == {}


def test_a_loop_points_back_and_a_later_reading_gets_through(
    running: Running, client: httpx.Client, scope: str
) -> None:
    running.simulator.faults = Faults(loop_rate=1, spoiled_readings=1)
    looping = read(client, scope, most=30)
    assert len(looping) == 30
    assert len({tuple(rows) for rows in looping}) < 30

    pages = read(client, scope, most=30)
    assert len({tuple(rows) for rows in pages}) == len(pages) < 30


def test_endless_paging_stands_under_a_scopes_name(
    running: Running, client: httpx.Client, scope: str
) -> None:
    running.simulator.faults = Faults(endless=(scope.upper(),))
    pages = read(client, scope, most=30)
    assert len(pages) == 30
    assert pages[0] in pages[1:]
    assert len(read(client, running.simulator.tenant.subscription_scopes[1], most=30)) < 30


def test_rows_outside_the_window_come_too_when_told(
    running: Running, client: httpx.Client, scope: str
) -> None:
    running.simulator.faults = Faults(out_of_window=2)
    (rows,) = read(client, scope, 5000)
    days = Counter(json.loads(name)["UsageDate"] for name, _ in rows)
    assert (days[20260501], days[20260505]) == (2, 2)
    assert set(days) == {20260501, 20260502, 20260503, 20260504, 20260505}


def test_an_empty_page_follows_a_full_last_one_when_told(
    running: Running, client: httpx.Client, scope: str
) -> None:
    running.simulator.faults = Faults(empty_tail=True)
    (whole,) = read(client, scope, 5000)
    full, empty = read(client, scope, len(whole))
    assert (len(full), empty) == (len(whole), [])


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        ("500", 500, "500"),
        ("503", 503, "ServiceUnavailable"),
        ("504", 504, "GatewayTimeout"),
        ("404", 404, "NotFound"),
    ],
)
def test_an_error_has_its_status_and_body(
    running: Running, client: httpx.Client, scope: str, kind: ErrorKind, status: int, code: str
) -> None:
    running.simulator.faults = Faults(error_rate=1, error_kinds=(kind,), errors_in_a_row=1)
    answer = ask(client, address(scope))

    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert ("Retry-After" in answer.headers) == (kind == "503")
    assert ("GtmDimensionDataProvider" in answer.text) == (kind == "404")
    assert ask(client, address(scope)).status_code == 200


def test_a_truncated_body_is_no_json(running: Running, client: httpx.Client, scope: str) -> None:
    running.simulator.faults = Faults(error_rate=1, error_kinds=("truncated",))
    answer = ask(client, address(scope))
    assert answer.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        answer.json()


def test_a_cut_connection_ends_before_its_content_length(
    running: Running, client: httpx.Client, scope: str
) -> None:
    running.simulator.faults = Faults(error_rate=1, error_kinds=("cut",), errors_in_a_row=1)
    with pytest.raises(httpx.RemoteProtocolError):
        ask(client, address(scope))
    assert ask(client, address(scope)).status_code == 200


def test_errors_of_all_kinds_let_a_patient_reader_through(
    running: Running, client: httpx.Client, scope: str
) -> None:
    running.simulator.faults = Faults()
    whole = read(client, scope)
    running.simulator.faults = Faults(error_rate=1, throttle_rate=1, errors_in_a_row=4, throttles_in_a_row=2)

    pages, tries, link = [], 0, address(scope)
    while link:
        tries += 1
        try:
            rows, next_link = page(ask(client, link))
        except (httpx.RemoteProtocolError, json.JSONDecodeError, KeyError):
            continue
        pages.append(rows)
        link = next_link or ""

    assert pages == whole
    assert tries <= len(pages) * 5 * 3
    assert set(running.simulator.journal.by_fault) == {*ALL_ERRORS, "throttle"}


def test_the_same_seed_fails_the_same_requests(scope: str) -> None:
    seen = []
    for _ in range(2):
        with serve(Tenant(5, subscriptions=1, days=4, rows_per_day=80), Faults(throttle_rate=0.5)) as own:
            path = own.simulator.tenant.subscription_scopes[0]
            with httpx.Client(base_url=own.url, headers=AUTH) as client:
                seen.append([ask(client, address(path)).status_code for _ in range(30)])
    assert seen[0] == seen[1]
    assert set(seen[0]) == {200, 429}


def test_an_oversize_body_is_as_large_as_told_and_still_json(
    running: Running, client: httpx.Client, scope: str
) -> None:
    running.simulator.faults = Faults(oversize=(scope,), oversize_bytes=3_000_000)
    answer = ask(client, address(scope))
    assert len(answer.content) > 3_000_000
    assert page(answer)[0]


@pytest.mark.parametrize(
    ("refusal", "status"),
    [
        ("RBACAccessDenied", 401),
        ("AuthorizationFailed", 403),
        ("SubscriptionNotFound", 404),
        ("UnsupportedOffer", 400),
    ],
)
def test_a_refused_scope_stays_refused_and_others_do_not(
    running: Running, client: httpx.Client, scope: str, refusal: Refusal, status: int
) -> None:
    running.simulator.faults = Faults(refuse={scope: refusal})
    assert {ask(client, address(scope)).status_code for _ in range(10)} == {status}
    assert ask(client, address(running.simulator.tenant.subscription_scopes[1])).status_code == 200


@pytest.mark.parametrize(
    ("schema", "sign"),
    [
        ("missing_column", lambda said: "Cost" not in said["types"]),
        ("column_type", lambda said: said["types"]["Cost"] == "String"),
        ("ragged", lambda said: len(said["rows"][-1]) == len(said["types"]) - 1),
        ("cost_text", lambda said: any(isinstance(row[said["cost"]], str) for row in said["rows"])),
        ("nan", lambda said: any(row[said["cost"]] != row[said["cost"]] for row in said["rows"])),
        ("huge", lambda said: any(row[said["cost"]] > 1e20 for row in said["rows"])),
        ("day", lambda said: any(20260599 in row for row in said["rows"])),
    ],
)
def test_a_drifted_schema_drifts_on_the_first_page(
    running: Running, client: httpx.Client, scope: str, schema: Schema, sign: Callable[[dict[str, Any]], bool]
) -> None:
    running.simulator.faults = Faults(bad_schema={scope: schema})
    properties = ask(client, address(scope)).json()["properties"]
    types = {column["name"]: column["type"] for column in properties["columns"]}
    assert sign({"types": types, "rows": properties["rows"], "cost": [*types, "Cost"].index("Cost")})
    assert len(page(ask(client, properties["nextLink"]))[0]) == TOP


def test_a_foreign_next_link_and_a_redirect_lead_to_the_host_told(
    running: Running, client: httpx.Client, scope: str
) -> None:
    other = "https://collector.invalid"
    running.simulator.faults = Faults(foreign_next_link=(scope,))
    assert (page(ask(client, address(scope)))[1] or "").startswith(other)

    running.simulator.faults = Faults(redirect=(scope,))
    answer = ask(client, address(scope))
    assert answer.status_code == 302
    assert answer.headers["Location"].startswith(other)


def test_a_random_throttle_rotates_through_every_family(
    running: Running, client: httpx.Client, scope: str
) -> None:
    running.simulator.faults = Faults(throttle_rate=1, throttles_in_a_row=100, hint_seconds=0.25)
    answers = [ask(client, address(scope)) for _ in range(len(FAMILIES))]

    assert {answer.status_code for answer in answers} == {429}
    assert {answer.json()["error"]["code"] for answer in answers} == {"429"}
    hints = Counter(
        name.removeprefix(PREFIX)
        for answer in answers
        for name in answer.headers
        if "retry-after" in name  # httpx gives names in lower case
    )
    assert set(hints) == {
        "retry-after",
        *(f"{family}-retry-after" for family in ("qpu", "entity", "tenant", "clienttype", "client")),
    }
    assert sum(not any("retry-after" in name for name in answer.headers) for answer in answers) == 1


def test_a_fixed_family_gives_its_header_alone(running: Running, client: httpx.Client, scope: str) -> None:
    running.simulator.faults = Faults(throttle_rate=1, hint_family="tenant", hint_seconds=7)
    hints = {name: value for name, value in ask(client, address(scope)).headers.items() if "retry" in name}
    assert hints == {f"{PREFIX}tenant-retry-after": "7"}


def test_a_hint_as_a_date_is_never_shorter_than_told() -> None:
    now = parsedate_to_datetime(hint_headers("retry-after-date", 0)["Retry-After"]).timestamp()
    later = parsedate_to_datetime(hint_headers("retry-after-date", 90.5)["Retry-After"]).timestamp()
    assert 90 <= later - now <= 92


def test_the_limits_of_scope_and_tenant_refuse_with_the_time_that_is_left() -> None:
    limiter = Limiter(tenant=[(3, 10.0)], scope=[(2, 1.0)])

    assert [limiter.take("/a", now) for now in (0.0, 0.25)] == [None, None]
    assert limiter.take("/a", 0.5) == ("entity", 0.5)
    assert limiter.take("/b", 0.5) is None
    assert limiter.take("/b", 4.0) == ("qpu", 6.0)
    assert limiter.take("/b", 10.0) is None


def test_a_limit_refuses_over_http_and_says_what_is_left(
    running: Running, client: httpx.Client, scope: str
) -> None:
    running.simulator.faults = Faults(tenant_limits=((5, 3600.0),), scope_limits=((2, 600.0),))
    first, second, third = (ask(client, address(scope)) for _ in range(3))

    assert [first.status_code, second.status_code, third.status_code] == [200, 200, 429]
    assert first.headers[f"{PREFIX}qpu-consumed"] == "1"
    assert "QueriesPerHour:4," in first.headers[f"{PREFIX}qpu-remaining"]
    remaining = "x-ms-ratelimit-remaining-microsoft.costmanagement-entity-requests"
    assert second.headers[remaining] == "DefaultQuota:0"
    assert 590 < float(third.headers[f"{PREFIX}entity-retry-after"]) <= 600


def test_faults_are_set_over_http_and_bad_ones_refused(
    running: Running, client: httpx.Client, scope: str
) -> None:
    said = {"refuse": {scope: "AuthorizationFailed"}, "tenant_limits": [[9, 0.5]]}
    assert client.post("/_simulator/faults", json=said).json()["tenant_limits"] == [[9, 0.5]]
    assert running.simulator.faults == Faults(
        refuse={scope: "AuthorizationFailed"}, tenant_limits=((9, 0.5),)
    )
    assert ask(client, address(scope)).status_code == 403

    wrong: list[object] = [
        {"no_such": 1},
        {"error_rate": 2},
        {"error_kinds": ["418"]},
        {"hint_family": "guess"},
        [],
    ]
    for bad in wrong:
        assert client.post("/_simulator/faults", json=bad).status_code == 400
    assert client.post("/_simulator/faults", json={}).status_code == 200
    assert ask(client, address(scope)).status_code == 200
