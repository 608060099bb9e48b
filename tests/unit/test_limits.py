from datetime import timedelta

import pytest

from shared.quota.limits import Limit, parse_limits


def test_the_documented_quota_is_read() -> None:
    assert parse_limits("12/10s, 60/m,600/h") == (
        Limit(12, timedelta(seconds=10)),
        Limit(60, timedelta(minutes=1)),
        Limit(600, timedelta(hours=1)),
    )


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("1000/1s", Limit(1000, timedelta(seconds=1))),
        ("60/6s", Limit(60, timedelta(seconds=6))),
        ("1/24h", Limit(1, timedelta(days=1))),
    ],
)
def test_a_unit_may_be_counted(text: str, limit: Limit) -> None:
    assert parse_limits(text) == (limit,)


@pytest.mark.parametrize(
    "text", ["12", "12/", "0/m", "-1/m", "4/0s", "4/25h", "4/d", "4/1.5s", "4 / m", "\u0664/m", "4/m;5/h"]
)
def test_what_is_no_limit_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match=r"has .*: give N/\[K\]unit"):
        parse_limits(text)


@pytest.mark.parametrize("text", ["", " ", ","])
def test_no_limit_at_all_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="holds no limit"):
        parse_limits(text)


@pytest.mark.parametrize(("count", "per"), [(0, timedelta(seconds=1)), (1, timedelta(0))])
def test_a_limit_that_lets_nothing_through_cannot_be_made(count: int, per: timedelta) -> None:
    with pytest.raises(ValueError, match="at least one request"):
        Limit(count, per)
