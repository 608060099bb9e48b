"""When a nextLink leads in a circle."""

import pytest

from shared.read.cursors import token, used

PAGE_1 = "https://arm/subscriptions/x/query?api-version=2025-03-01&$top=10&$skiptoken=AQAAAA%3D%3D"


@pytest.mark.parametrize(
    "link",
    [
        PAGE_1,
        "https://arm/SUBSCRIPTIONS/x/Query?api-version=2021-10-01&$top=10&$skiptoken=AQAAAA==",
        "https://arm/subscriptions/x/query?$SkipToken=AQAAAA%3d%3D&api-version=2025-03-01",
    ],
    ids=["as it was", "other casing and version", "other order and escapes"],
)
def test_same_page_in_other_words_was_used(link: str) -> None:
    assert used(link, [None, PAGE_1])


def test_next_page_was_not_used() -> None:
    assert not used(PAGE_1.replace("AQAAAA", "AgAAAA"), [None, PAGE_1])


def test_tokens_differ_by_case() -> None:
    """Base64 of another number differs in nothing else."""
    assert not used(PAGE_1.replace("AQAAAA", "aqAAAA"), [PAGE_1])


def test_link_without_a_token_is_compared_as_a_whole() -> None:
    assert used("https://arm/X?a=1", ["https://arm/x?a=1"])
    assert not used("https://arm/x?a=2", ["https://arm/x?a=1"])


def test_first_page_has_no_token_and_no_link_equals_it() -> None:
    assert token(None) == ""
    assert not used(PAGE_1, [None])
