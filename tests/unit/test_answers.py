"""What each answer of the cost API means, by the documents and by what was seen."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest

from shared.quota.limits import Used
from shared.read.answers import (
    DETAILS,
    Answer,
    Expired,
    PageAnswer,
    Refused,
    Throttled,
    Transient,
    classify,
    longest_hint,
)

NOW = datetime(2026, 5, 10, 12, tzinfo=UTC)
SCOPE = "/subscriptions/0b5e0f3c-3f52-4a8e-9d4e-1f6c5f2f8a11"

ROLE = f"grant Cost Management Reader 72fafb9e-0641-4937-9268-a91bfd8191a3 on {SCOPE}"


def answer(
    status: int, code: str = "", message: str = "", *, headers: Mapping[str, str] | None = None
) -> Answer:
    body = f'{{"error":{{"code":"{code}","message":"{message}"}}}}'.encode() if code else b""
    floor = timedelta(seconds=30)
    return classify(status, headers or {}, body, scope=SCOPE, floor=floor, now=NOW)


def test_page_carries_its_body_and_the_services_own_time() -> None:
    """Workers' clocks do not count."""
    found = classify(
        200,
        {"date": "Sun, 10 May 2026 11:59:30 GMT"},
        b"{}",
        scope=SCOPE,
        floor=timedelta(),
        now=NOW,
    )

    assert found == PageAnswer(b"{}", datetime(2026, 5, 10, 11, 59, 30, tzinfo=UTC))


@pytest.mark.parametrize("headers", [{}, {"date": "yesterday"}], ids=["no date", "bad date"])
def test_page_without_a_readable_date_is_dated_by_the_worker(headers: Mapping[str, str]) -> None:
    assert answer(204, headers=headers) == PageAnswer(b"", NOW)


@pytest.mark.parametrize(
    ("consumed", "remaining", "expected"),
    [
        ("1", "QueriesPerHour:597,QueriesPerMin:57,QueriesPer10Sec:9", (1, {3600: 597, 60: 57, 10: 9})),
        ("3", "QueriesPerHour:0, QueriesPerDay:5", (3, {3600: 0})),
        ("0", "", (1, {})),
        ("many", "QueriesPerHour:-1,QueriesPerMin,:,QueriesPer10Sec:1e3", (1, {})),
    ],
)
def test_page_tells_what_it_used_of_the_quota_and_what_is_left(
    consumed: str, remaining: str, expected: tuple[int, dict[int, int]]
) -> None:
    prefix = "x-ms-ratelimit-microsoft.costmanagement-qpu-"
    units, left = expected

    found = answer(204, headers={f"{prefix}consumed": consumed, f"{prefix}remaining": remaining})

    spans = {timedelta(seconds=seconds): number for seconds, number in left.items()}
    assert found == PageAnswer(b"", NOW, Used(units, spans))


def test_no_content_is_a_page_without_rows_and_200_without_a_body_is_none() -> None:
    """An answer that lost its body on the way must not read as a day without cost."""
    assert answer(204) == PageAnswer(b"", NOW)
    assert isinstance(answer(200), Transient)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 30),
        ({"retry-after": "5"}, 30),
        ({"retry-after": "45"}, 45),
        ({"retry-after": "Sun, 10 May 2026 12:01:00 GMT"}, 60),
        ({"retry-after": "Sun, 10 May 2026 11:00:00 GMT"}, 30),
        ({"retry-after": "soon"}, 30),
        ({"x-ms-ratelimit-microsoft.costmanagement-qpu-retry-after": "61"}, 61),
        ({"x-ms-ratelimit-microsoft.costmanagement-clienttype-retry-after": "62"}, 62),
        ({"x-ms-ratelimit-microsoft.consumption-tenant-retry-after": "63"}, 63),
        (
            {
                "retry-after": "12",
                "x-ms-ratelimit-microsoft.costmanagement-entity-retry-after": "90",
                "x-ms-ratelimit-microsoft.costmanagement-tenant-retry-after": "31",
            },
            90,
        ),
        ({"x-ms-ratelimit-microsoft.costmanagement-qpu-consumed": "500"}, 30),
        ({"retry-after": "99999999999"}, 3600),
    ],
)
def test_throttle_waits_for_the_longest_hint_and_never_less_than_the_floor(
    headers: Mapping[str, str], seconds: int
) -> None:
    assert answer(429, "429", "Too many requests.", headers=headers) == Throttled(timedelta(seconds=seconds))


def test_hint_may_have_fractions_of_a_second() -> None:
    assert longest_hint({"retry-after": "1.25"}, NOW) == timedelta(seconds=1.25)


def test_without_any_hint_there_is_none() -> None:
    assert longest_hint({"content-length": "5"}, NOW) is None


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (500, "500", "An unexpected error"),
        (502, "BadGateway", ""),
        (503, "ServiceUnavailable", ""),
        (504, "GatewayTimeout", ""),
        (408, "RequestTimeout", ""),
        (404, "NotFound", "GtmDimensionDataProvider: x returns null or empty list."),
    ],
)
def test_stumble_is_tried_again(status: int, code: str, message: str) -> None:
    found = answer(status, code, message)

    assert isinstance(found, Transient)
    assert found.cause == code


def test_stumble_keeps_the_services_own_hint() -> None:
    found = answer(503, "ServiceUnavailable", headers={"retry-after": "7"})

    assert isinstance(found, Transient)
    assert found.wait == timedelta(seconds=7)


def test_body_of_a_stumble_may_be_anything() -> None:
    found = classify(500, {}, b"<html>", scope=SCOPE, floor=timedelta(), now=NOW)

    assert isinstance(found, Transient)
    assert found.cause == "Unknown"


def test_expired_token_is_a_state_of_its_own() -> None:
    assert answer(401, "ExpiredAuthenticationToken") == Expired()


@pytest.mark.parametrize(
    ("status", "code", "message", "cure"),
    [
        (
            401,
            "RBACAccessDenied",
            "no role",
            ROLE,
        ),
        (
            403,
            "AuthorizationFailed",
            "no",
            ROLE,
        ),
        (401, "InvalidAuthenticationToken", "", "check the identity this app signs in with"),
        (404, "SubscriptionNotFound", "gone", f"remove {SCOPE} from COST_SCOPES"),
        (400, "BadRequest", "Invalid query definition: Invalid dataset grouping: X", "change COST_GROUPING"),
        (400, "BadRequest", "unsupported offer", f"Query does not serve {SCOPE}"),
        (405, "MethodNotAllowed", "", f"Query does not serve {SCOPE}"),
    ],
)
def test_refusal_is_final_and_says_what_to_do(status: int, code: str, message: str, cure: str) -> None:
    found = answer(status, code, message)

    assert isinstance(found, Refused)
    assert code in found.cause
    assert found.cure.startswith(cure)


@pytest.mark.parametrize(
    ("status", "message", "cure"),
    [
        (
            400,
            "Invalid filter: usageStart",
            "usageDetails does not serve {} as asked: see the cause, then this",
        ),
        (
            400,
            "the dimension usageStart cannot be filtered",
            "usageDetails does not serve {} as asked: see the",
        ),
        (404, "no such dimension", "remove {} from COST_SCOPES if it is gone"),
    ],
)
def test_refusal_of_usage_details_never_speaks_of_a_grouping_and_names_the_period(
    status: int, message: str, cure: str
) -> None:
    """It has none: what it may not understand are the words for the days."""
    body = f'{{"error":{{"code":"BadRequest","message":"{message}"}}}}'.encode()

    found = classify(status, {}, body, scope=SCOPE, floor=timedelta(), now=NOW, api=DETAILS)

    assert isinstance(found, Refused)
    assert found.cure.startswith(cure.format(SCOPE))
    assert "GROUPING" not in found.cure
    assert ("`period` in COST_SCOPES" in found.cure) is (status == 400)


def test_scope_that_is_gone_is_not_told_to_change_its_grouping() -> None:
    found = answer(404, "NotFound", "the dimension of this scope is gone")

    assert isinstance(found, Refused)
    assert found.cure.startswith(f"remove {SCOPE} from COST_SCOPES")


def test_redirect_is_refused_and_names_its_target() -> None:
    found = answer(302, headers={"location": "https://collector.invalid/x"})

    assert isinstance(found, Refused)
    assert found.cause == "RedirectRefused: 302 to https://collector.invalid/x"


@pytest.mark.parametrize("status", [200, 204])
@pytest.mark.parametrize(
    ("date", "said"),
    [
        ("Mon, 11 May 2026 12:00:01 GMT", "2026-05-11T12:00:01+00:00"),
        ("Sat, 09 May 2026 11:59:59 GMT", "2026-05-09T11:59:59+00:00"),
    ],
    ids=["ahead", "back"],
)
def test_page_dated_more_than_a_day_ahead_or_back_is_not_believed(status: int, date: str, said: str) -> None:
    """The later reading always wins: no other could replace this one before that day, or it would replace none."""
    found = answered(status, date)

    assert isinstance(found, Transient)
    assert found.cause == "WrongDate"
    assert said in found.detail


@pytest.mark.parametrize("status", [200, 204])
@pytest.mark.parametrize("date", ["Mon, 11 May 2026 12:00:00 GMT", "Sat, 09 May 2026 12:00:00 GMT"])
def test_page_dated_a_day_ahead_or_back_is_believed(status: int, date: str) -> None:
    """The clock of a machine may be wrong by hours."""
    assert isinstance(answered(status, date), PageAnswer)


def answered(status: int, date: str) -> Answer:
    return classify(status, {"date": date}, b"{}", scope=SCOPE, floor=timedelta(), now=NOW)
