"""Messages are small, versioned, and refused by name when they are anything else."""

from datetime import UTC, date, datetime

import msgspec
import pytest

from shared.messages import BadMessage, DayItem, PageItem, RunItem

HOST_FIELDS = {
    "id",
    "dequeuecount",
    "insertiontime",
    "expirationtime",
    "nextvisibletime",
    "popreceipt",
    "queuetrigger",
}
PLACE = datetime(2026, 5, 10, 12, 0, 0, 250_000, tzinfo=UTC)
ITEMS = [
    RunItem(run="20260510T040000Z"),
    DayItem(run="r", metric="ActualCost", day=date(2026, 5, 10)),
    PageItem(run="r", slice="s-00001", generation="g", page=3),
    PageItem(
        run="r", slice="s", generation="g", page=9, not_before=PLACE, place=PLACE, shifts=(1, 2), attempt=4
    ),
]


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: type(item).__name__)
def test_message_comes_back_as_it_was_sent(item: RunItem | DayItem | PageItem) -> None:
    assert type(item).decode(item.encode()) == item


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: type(item).__name__)
def test_no_field_has_a_name_of_the_hosts_metadata(item: RunItem | DayItem | PageItem) -> None:
    """The host lays a message's fields over the trigger's metadata, whatever their case."""
    assert not {name.lower() for name in msgspec.json.decode(item.encode())} & HOST_FIELDS


def test_message_of_a_page_holds_no_cursor() -> None:
    """A nextLink may be longer than a queue message; it stands in the registry."""
    assert len(ITEMS[-1].encode()) < 500
    assert not [name for name in PageItem.__struct_fields__ if "cursor" in name or "link" in name]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        b"\xff\xfe\x00",
        b"[]",
        b"null",
        b'"text"',
        b'{"version":1}',
        b'{"version":2,"run":"r"}',
        b'{"version":"1","run":"r"}',
        b'{"version":1,"run":7}',
        b'{"version":1,"run":"r","extra":true}',
    ],
)
def test_anything_else_is_a_bad_message(body: bytes) -> None:
    with pytest.raises(BadMessage):
        RunItem.decode(body)


def test_other_version_is_named_with_the_one_that_is_read() -> None:
    with pytest.raises(BadMessage, match="RunItem of version 7; this release reads version 1"):
        RunItem.decode(b'{"version":7,"run":"r"}')
