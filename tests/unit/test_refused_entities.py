"""An entity that somebody edited, or that another version wrote, is refused by name and never guessed at."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.days import (
    Announced,
    Attempt,
    Owned,
    Pointer,
    Publication,
    PublishedFile,
    Reading,
    ScopeState,
    Written,
)
from shared.days.rows import (
    announced_row,
    day_of,
    pointer_row,
    publication_row,
    read_announced,
    read_pointer,
    read_publication,
)
from shared.quota import gate as gates
from shared.quota.places import Gate
from shared.read.new_columns import NewColumn, column_row, read_column
from shared.reconcile.alerts import Alert, alert_row, read_alert
from shared.registry.model import DayVerdict, Page, Sums, Verdict
from shared.registry.rows import page_row, read_counts, read_entry, read_following, read_staged, verdict_row
from shared.runs import DayTask, ListedScope, Run, RunStatus, Slice
from shared.runs.rows import day_row, read_day, read_poison, read_run, read_slice, run_row, slice_row
from shared.scope_list import Source
from shared.scopes import Scope
from shared.storage.packing import pack_json, unpack
from shared.storage.rows import Replace, Row, Value
from shared.summary import abandoned
from shared.versions import UnreadableError, readable

NOW = datetime(2026, 5, 10, 12, 30, 15, 250, tzinfo=UTC)
FIRST, LAST = date(2026, 5, 1), date(2026, 5, 9)
SCOPE = Scope.parse("/subscriptions/92cdc4dd-8520-5ee9-8904-10bdce1cdf86")
GENERATION = "20260510T123015000250Z-0a1b2c"
AMOUNTS = {"USD": Decimal("12.300000000000000001"), "EUR": Decimal("-0.5")}
SUMS = Sums(Decimal("12.3"), Decimal(13), Decimal(2), Decimal(2), 3000)

RUN = Run(
    id="20260510T123015Z-run-0a1b2c",
    kind="run",
    first=FIRST,
    last=LAST,
    full=True,
    seeding="0a1b2c3d",
    planned=2,
    scopes=(ListedScope(SCOPE.path, SCOPE.key, "query", ("ServiceName", "ChargeType"), ("ActualCost",)),),
    created_at=NOW,
    etag="e",
)
SUMMARY = {
    **abandoned(RUN, "it stalled"),
    "days": [{"metric": "ActualCost", "day": "2026-05-01", "state": "incomplete"}],
}
CLOSED = replace(RUN, status=RunStatus.PARTIAL, closed_at=NOW, summary=SUMMARY)
SLICE = Slice(
    run=RUN.id,
    name="0a1b2c3d-00001",
    seeding=RUN.seeding,
    scope=SCOPE.path,
    scope_key=SCOPE.key,
    metric="ActualCost",
    source="query",
    grouping=("ServiceName", "ChargeType", "tag:team"),
    first=FIRST,
    last=LAST,
    page_size=5000,
    tolerance=Decimal("0.000000001"),
    accept_vanished=False,
    generation=GENERATION,
    reading=2,
    reading_first=FIRST,
    reading_last=LAST,
    not_before=NOW,
    waiting_for=f"{GENERATION}/3",
    cause="Stalled",
    cure="wait",
    etag="e",
    touched_at=NOW,
)
DAY = DayTask(RUN.id, RUN.seeding, "ActualCost", FIRST, cause="x", etag="e", touched_at=NOW)
READING = Reading(
    run=RUN.id,
    slice=SLICE.name,
    generation=GENERATION,
    digest=f"{7:064x}",
    shape="query|1|ServiceName",
    records=3000,
    totals=AMOUNTS,
    absolutes=AMOUNTS,
    control=AMOUNTS,
    control_kind="query",
    agreed=True,
    read_at=NOW,
)
ATTEMPT = Attempt(RUN.id, ScopeState.FAILED, "RBACAccessDenied", NOW, (NOW,))
POINTER = Pointer("ActualCost", FIRST, SCOPE.path, SCOPE.key, READING, NOW, ATTEMPT, "e")
PUBLICATION = Publication(
    metric="ActualCost",
    day=FIRST,
    view={SCOPE.key: (SCOPE.lower_path, READING.digest, READING.shape, "reconciled")},
    listed=(SCOPE.key,),
    scopes_at=NOW,
    as_of=NOW,
    status="reconciled",
    totals=AMOUNTS,
    published_at=NOW,
    files=(PublishedFile("daily/x", 1, 2, "0", '"0x1"'),),
    disagrees={SCOPE.lower_path: "Disagrees"},
    owned={SCOPE.key: Owned(1, AMOUNTS)},
    alike={"/providers/microsoft.billing/billingaccounts/8611537": ("0a", "0b")},
    manifest_etag='"0x2"',
    known_since=NOW,
    ended={"0a": 2},
    written={"0a": Written(NOW, settled=True, fingerprint="0" * 64)},
    aside="aside/ActualCost/2026-05-10/0a.parquet",
    aside_sha256="0" * 64,
    aside_of=("0a",),
    etag="e",
)
PAGE = Page(
    number=2,
    cursor_in="https://management.azure.com/?$skiptoken=a",
    cursor_out="https://management.azure.com/?$skiptoken=b",
    read_at=NOW,
    raw_rows=3001,
    duplicates=1,
    outside=0,
    staged="pages/a.parquet",
    sums={FIRST: {"USD": SUMS}},
    digests={FIRST: 2**256 - 1},
    packed=bytes(range(250)) * 288,
    requests=1,
    throttled=0,
    single=False,
    tells_period=True,
    kinds={FIRST: ("legacy", "modern")},
)
VERDICT = Verdict(
    number=3,
    read_at=NOW,
    control_kind="query",
    days=(DayVerdict(FIRST, agreed=True, digest=7, sums={"USD": SUMS}, control={"USD": SUMS}),),
    requests=1,
    throttled=0,
    decided_at=NOW,
)
HELD = gates._Held("tenant", Gate((NOW, NOW + timedelta(seconds=1)), NOW, timedelta(3)), "e", timedelta(1))
POISONED = Row("poison", "cost-pages|m", {"version": 1, "raw": "x", "inserted_on": NOW, "drained_at": NOW})

ALERT = Alert(
    scope=SCOPE.path,
    scope_key=SCOPE.key,
    currency="USD",
    first=FIRST,
    last=LAST,
    billed=Decimal("100.25"),
    ledger=Decimal("99.000000000000000001"),
    run="20260510T123015Z-reconcile-0a1b2c",
    run_for=Decimal("100.25"),
    seen_at=NOW,
    seeded=True,
    earlier={Decimal("350.25"): "20260410T123015Z-reconcile-3d4e5f"},
    etag="e",
)


COLUMN = NewColumn(Source.USAGE_DETAILS, "zone", f"{RUN.id}|{SLICE.name}|{GENERATION}|3", NOW)


def gate_row(held: gates._Held) -> Row:
    operation = gates._write(held, held.gate, held.booked)
    assert isinstance(operation, Replace)
    return operation.row


def entry_row(entry: Page | Verdict) -> Row:
    return page_row("p", entry) if isinstance(entry, Page) else verdict_row("p", entry)


@dataclass(frozen=True)
class Kind:
    """One kind of entity: a valid one, how it is written, and how it is read."""

    valid: Any
    write: Callable[[Any], Row]
    read: Callable[[Row], Any]
    table: str

    @property
    def row(self) -> Row:
        """The valid entity as it comes from the table."""
        return replace(self.write(self.valid), etag="e", timestamp=NOW)


KINDS = {
    "run": Kind(RUN, run_row, read_run, "CostRuns"),
    "closed run": Kind(CLOSED, run_row, read_run, "CostRuns"),
    "slice": Kind(SLICE, slice_row, read_slice, "CostRuns"),
    "day": Kind(DAY, day_row, read_day, "CostRuns"),
    "poison record": Kind(
        replace(POISONED, etag="e", timestamp=NOW), lambda row: row, read_poison, "CostRuns"
    ),
    "new column": Kind(COLUMN, column_row, read_column, "CostRuns"),
    "alert": Kind(ALERT, alert_row, read_alert, "CostRuns"),
    "pointer": Kind(POINTER, pointer_row, read_pointer, "CostDays"),
    "publication": Kind(PUBLICATION, publication_row, read_publication, "CostDays"),
    "announced": Kind(
        Announced(replace(PUBLICATION, etag=None), f"{7:064x}", PUBLICATION.name),
        announced_row,
        read_announced,
        "CostDays",
    ),
    "page": Kind(PAGE, entry_row, read_entry, "CostHashes"),
    "verdict": Kind(VERDICT, entry_row, read_entry, "CostHashes"),
    "gate": Kind(HELD, gate_row, gates._read_gate, "CostQuota"),
}
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())

other_values: st.SearchStrategy[Value] = st.one_of(
    st.sampled_from(["", "x", "1", "2026-05-02", "NaN", "ActualCost", "open", "page"]),
    st.text(max_size=5),
    st.sampled_from([-1, 0, 1, 2, 2**62]),
    st.booleans(),
    st.binary(max_size=30),
    st.sampled_from([NOW, datetime(1, 1, 1, tzinfo=UTC)]),
    st.sampled_from([None, 1, "x", [], {}, [1], {"x": "1"}, {"x": ["1"] * 5}, [["2026-05-01", 1]]]).map(
        lambda value: pack_json("x", value)["x_0"]
    ),
)


@st.composite
def edited(draw: st.DrawFn, values: dict[str, Value]) -> dict[str, Value]:
    """Drop a property, give it another value, damage its bytes, or add one."""
    name = draw(st.sampled_from(sorted(values)))
    held = values[name]
    how = draw(st.sampled_from(["drop", "change", "damage", "add"]))
    if how == "drop":
        return {other: value for other, value in values.items() if other != name}
    if how == "add":
        return {
            **values,
            draw(st.sampled_from(["note", "etag", "reading_1", "hashes_9"])): draw(other_values),
        }
    if how == "damage" and isinstance(held, bytes) and held:
        at = draw(st.integers(0, len(held) - 1))
        cut, flipped = held[:at], held[:at] + bytes([held[at] ^ draw(st.integers(1, 255))]) + held[at + 1 :]
        return {**values, name: draw(st.sampled_from([cut, flipped, held + b"\0"]))}
    return {**values, name: draw(other_values)}


def read_or_refused(kind: Kind, row: Row) -> object:
    """Read an entity, or give the refusal of it; anything else that is raised is the reader's own."""
    try:
        return kind.read(row)
    except UnreadableError as error:
        return error


@every_kind
def test_entity_is_read_as_it_was_written(kind: Kind) -> None:
    assert kind.read(kind.row) == kind.valid


@every_kind
@given(data=st.data())
def test_edited_entity_is_refused_by_name_or_says_exactly_what_is_read(
    kind: Kind, data: st.DataObject
) -> None:
    """Whatever one does to one of its properties; another exception would be the reader's own."""
    row = replace(kind.row, values=data.draw(edited(kind.row.values)))

    found = read_or_refused(kind, row)

    if isinstance(found, UnreadableError):
        assert found.what == f"{kind.table} entity ({row.pk}, {row.rk})"
        assert str(found).startswith(f"{found.what} {found.wrong}; ")
    else:
        assert found == kind.valid or kind.write(found).values == row.values


@every_kind
@given(version=st.one_of(st.integers(), other_values).filter(lambda one: type(one) is not int or one != 1))
def test_every_other_version_is_refused(kind: Kind, version: Value) -> None:
    row = replace(kind.row, values={**kind.row.values, "version": version})
    with pytest.raises(
        UnreadableError, match=r"is of version .*, this release reads 1; run the release that"
    ):
        kind.read(row)


@every_kind
def test_entity_without_a_version_is_refused(kind: Kind) -> None:
    values = {name: value for name, value in kind.row.values.items() if name != "version"}
    with pytest.raises(UnreadableError, match='has no property "version"'):
        kind.read(replace(kind.row, values=values))


@every_kind
@pytest.mark.parametrize("row_key", ["", "x", "slice", "day|s", "scope|x", "7", "0000٣", "cost-lost|m"])
def test_entity_under_a_key_that_is_none_of_its_kind_is_refused_or_keeps_it(kind: Kind, row_key: str) -> None:
    """Some keys may be any text; they are given back as they are."""
    row = replace(kind.row, rk=row_key)
    found = read_or_refused(kind, row)
    if isinstance(found, UnreadableError):
        assert found.what == f"{kind.table} entity ({row.pk}, {row_key})"
    else:
        assert row_key in {getattr(found, name, None) for name in ("id", "key")}


@pytest.mark.parametrize(
    ("kind", "changes", "wrong"),
    [
        pytest.param("run", {"planned": None}, 'has no property "planned"', id="dropped"),
        pytest.param("run", {"planned": -1}, 'has -1 as "planned", which it cannot be', id="less than none"),
        pytest.param(
            "run", {"planned": 9 * 10**18}, '0 as "planned", which it cannot be', id="more than there can be"
        ),
        pytest.param(
            "slice", {"state": None}, 'has no property "state"', id="dropped though it has a default"
        ),
        pytest.param(
            "run", {"first": "x"}, "has 'x' as \"first\": Invalid RFC3339 encoded date", id="no day"
        ),
        pytest.param(
            "slice", {"page_size": "5"}, "has '5' as \"page_size\": Expected `int`, got `str`", id="text"
        ),
        pytest.param(
            "slice", {"reading": True}, 'has True as "reading": Expected `int`, got `bool`', id="bool"
        ),
        pytest.param(
            "slice", {"not_before": "2026-05-01T00:00:00Z"}, 'as "not_before": Exp', id="text as time"
        ),
        pytest.param(
            "slice", {"tolerance": 5}, 'has int as "tolerance", text was expected', id="whole number"
        ),
        pytest.param(
            "slice", {"scope": "/subscriptions/x"}, 'as "scope_key", which it cannot be', id="other scope"
        ),
        pytest.param(
            "slice", {"metric": "Cost"}, "has 'Cost' as \"metric\", which it cannot be", id="metric"
        ),
        pytest.param("slice", {"generation": "g"}, 'as "generation", which it cannot be', id="generation"),
        pytest.param(
            "slice",
            {"generation": "20261399T000000000000Z-abcdef"},
            'as "generation", which it cannot be',
            id="generation of no time",
        ),
        pytest.param(
            "slice",
            {"awaits": "99991231T235959999999Z-abcdef"},
            'as "awaits", which it cannot be',
            id="generation after which no time is",
        ),
        pytest.param(
            "run", {"note": "x"}, 'has a property "note" that this release does not know', id="unknown"
        ),
        pytest.param(
            "run", {"status": "complete"}, 'as "status", which it cannot be', id="closed without an end"
        ),
        pytest.param(
            "closed run", {"summary_0": b"x"}, 'has "summary_0" that cannot be unpacked', id="packed"
        ),
        pytest.param("publication", {"files_0": None}, 'has no property "files_0"', id="packed dropped"),
        pytest.param("pointer", {"changed_at": None}, 'has None as "changed_at"', id="half a pointer"),
        pytest.param(
            "page", {"hashes_1": None}, 'bytes as "hashes", which it cannot be', id="a part dropped"
        ),
        pytest.param("page", {"hashes_0": b"x" * 24}, 'bytes as "hashes", which it cannot be', id="cut"),
        pytest.param(
            "page", pack_json("kinds", {"2026-04-01": ["legacy"]}), 'as "kinds", which', id="kinds of no day"
        ),
        pytest.param(
            "page", pack_json("kinds", {f"{FIRST}": ["x", "a"]}), 'as "kinds", which', id="kinds unsorted"
        ),
        pytest.param("page", pack_json("kinds", {f"{FIRST}": []}), 'as "kinds", which', id="no kind"),
        pytest.param("gate", {"places_0": b"x" * 9}, "cannot be unpacked: ", id="torn places"),
        pytest.param("gate", {"shift": 2**62}, 'as "shift", which it cannot be', id="pause of 146,000 years"),
        pytest.param("poison record", {"raw": 1}, 'has 1 as "raw": Expected `str`, got `int`', id="no text"),
    ],
)
def test_message_says_what_is_wrong_and_names_the_property(
    kind: str, changes: dict[str, Value | None], wrong: str
) -> None:
    row = KINDS[kind].row
    values = {name: value for name, value in {**row.values, **changes}.items() if value is not None}
    with pytest.raises(UnreadableError) as caught:
        KINDS[kind].read(replace(row, values=values))
    assert wrong in caught.value.wrong


RECORDS: list[tuple[str, str, tuple[str | int, ...]]] = [
    ("pointer", "reading", ()),
    ("pointer", "attempt", ()),
    ("publication", "owned", (SCOPE.key,)),
    ("publication", "files", (0,)),
    ("run", "scopes", (0,)),
    ("closed run", "summary", ()),
    ("closed run", "summary", ("slices",)),
    ("closed run", "summary", ("days", 0)),
    ("closed run", "summary", ("failures", 0)),
    ("page", "repeated", ()),
]
"""Every packed value that has names of its own in it, and where: a kind of entity, the value, the way to it."""


def other_keys(record: dict[str, object]) -> list[tuple[str, dict[str, object]]]:
    """Drop, rename and add a key: give each time the key that is wrong, and what is left."""
    found: list[tuple[str, dict[str, object]]] = [("note", {**record, "note": None})]
    for name, held in record.items():
        dropped = {other: value for other, value in record.items() if other != name}
        found += [(name, dropped), (name, {**dropped, f"{name}_before": held})]
    return found


def packed_in(row: Row, packed: str) -> Any:  # noqa: ANN401 - any JSON
    return msgspec.json.decode(zlib.decompress(unpack(packed, row.values)))


def record_in(row: Row, packed: str, way: tuple[str | int, ...]) -> dict[str, object]:
    record = packed_in(row, packed)
    for step in way:
        record = record[step]
    assert isinstance(record, dict)
    assert record
    return record


def packed_anew(row: Row, packed: str, way: tuple[str | int, ...], record: dict[str, object]) -> Row:
    """Put another record in a packed value's place."""
    root = [packed_in(row, packed)]
    *steps, last = (0, *way)
    held: Any = root
    for step in steps:
        held = held[step]
    held[last] = record
    return replace(row, values={**row.values, **pack_json(packed, root[0])})


@pytest.mark.parametrize(("kind", "packed", "way"), RECORDS)
def test_packed_record_of_other_keys_is_refused_by_name(
    kind: str, packed: str, way: tuple[str | int, ...]
) -> None:
    """What an earlier or later build packed under other names is not read with defaults in their place."""
    row = KINDS[kind].row
    for wrong, other in other_keys(record_in(row, packed, way)):
        with pytest.raises(UnreadableError) as caught:
            KINDS[kind].read(packed_anew(row, packed, way, other))
        assert f'has "{packed}_0" that cannot be unpacked: ' in caught.value.wrong
        assert wrong in caught.value.wrong


@pytest.mark.parametrize(("kind", "packed", "way"), RECORDS)
def test_order_of_the_keys_of_a_packed_record_says_nothing(
    kind: str, packed: str, way: tuple[str | int, ...]
) -> None:
    row = KINDS[kind].row
    turned = dict(reversed(record_in(row, packed, way).items()))
    assert KINDS[kind].read(packed_anew(row, packed, way, turned)) == KINDS[kind].valid


def test_verdict_whose_days_tell_more_or_less_is_refused() -> None:
    row = KINDS["verdict"].row
    (day,) = packed_in(row, "verdict")
    for other in (day[:-1], [*day, True]):
        with pytest.raises(UnreadableError, match='has "verdict_0" that cannot be unpacked: '):
            read_entry(replace(row, values={**row.values, **pack_json("verdict", [other])}))


@pytest.mark.parametrize("read", [read_staged, read_following, read_counts])
@given(data=st.data())
def test_reader_of_a_few_properties_raises_nothing_else_either(
    read: Callable[[Row], object], data: st.DataObject
) -> None:
    row = page_row("p", PAGE)
    row = replace(row, values=data.draw(edited(row.values)))
    readable([row], read, lambda error: None)


@pytest.mark.parametrize(
    "partition", ["ActualCost", "Cost|2026-05-01", "ActualCost|20260501", "ActualCost|2026-05-01|x"]
)
def test_row_of_no_day_is_refused_by_name(partition: str) -> None:
    with pytest.raises(UnreadableError, match="remove it: it belongs to no day"):
        day_of(Row(partition, "publication", {"version": 1}))


def test_unreadable_rows_are_left_out_only_if_somebody_is_told() -> None:
    bad = replace(KINDS["day"].row, values={})
    rows, told = [bad, KINDS["day"].row, bad], list[UnreadableError]()

    assert readable(rows, read_day, told.append) == [DAY]
    assert len(told) == 2
    with pytest.raises(UnreadableError):
        readable(rows, read_day, None)


def test_nothing_that_is_shown_of_a_value_is_long() -> None:
    row = replace(KINDS["run"].row, values={**KINDS["run"].row.values, "first": "x" * 10_000})
    with pytest.raises(UnreadableError) as caught:
        read_run(row)
    assert len(caught.value.wrong) < 200
