"""An answer's columns are read by name, one type each; anything else is named with column and row."""

from typing import Any

import msgspec
import pytest

from shared.read.schema import SchemaDriftError, TornBodyError, read

COLUMNS = [
    ("Cost", "Number"),
    ("UsageQuantity", "Number"),
    ("UsageDate", "Number"),
    ("Meter", "String"),
    ("Currency", "String"),
]
ROW = ["1.50", "2", "20260510", '"D2"', '"USD"']


def answer(rows: list[list[str]], columns: list[tuple[str, str]] | None = None, link: str = "null") -> bytes:
    """Write an answer; the cells are JSON as they stand, so that numbers keep their digits."""
    named = ",".join(f'{{"name":"{name}","type":"{kind}"}}' for name, kind in (columns or COLUMNS))
    written = ",".join(f"[{','.join(row)}]" for row in rows)
    return f'{{"properties":{{"nextLink":{link},"columns":[{named}],"rows":[{written}]}}}}'.encode()


def changed(position: int, cell: str) -> list[list[str]]:
    return [ROW, [cell if place == position else kept for place, kept in enumerate(ROW)]]


def test_numbers_stay_the_text_they_were() -> None:
    """No double lies between the provider's figure and ours."""
    table = read(answer([["1.2345678901234567e-07", "12345678901234567890.5", *ROW[2:]]]), ["Meter"])

    assert (table.cost, table.quantity) == (["1.2345678901234567e-07"], ["12345678901234567890.5"])


def test_columns_are_found_by_name_in_any_order_and_case() -> None:
    places = [4, 2, 0, 3, 1]
    columns = [(COLUMNS[place][0].upper(), COLUMNS[place][1]) for place in places]

    table = read(answer([[ROW[place] for place in places]], columns), ["Meter"])

    assert table == read(answer([ROW]), ["Meter"])


def test_column_nobody_asked_for_is_ignored() -> None:
    table = read(answer([[*ROW, "7"]], [*COLUMNS, ("Surprise", "Number")]), ["Meter"])

    assert set(table.texts) == {"Meter", "Currency"}


@pytest.mark.parametrize("body", [b"", b"  \n"])
def test_empty_body_is_a_page_without_rows(body: bytes) -> None:
    table = read(body, ["Meter"])

    assert (table.rows, table.cost, table.next_link) == (0, [], None)


def test_answer_without_rows_is_a_page_without_rows() -> None:
    assert read(answer([]), ["Meter"]).rows == 0


@pytest.mark.parametrize("link", ['""', "null"])
def test_empty_next_link_is_none(link: str) -> None:
    assert read(answer([ROW], link=link), ["Meter"]).next_link is None


def test_null_dimension_is_kept_as_null() -> None:
    assert read(answer(changed(3, "null")), ["Meter"]).texts["Meter"] == ["D2", None]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (answer([ROW[1:]], COLUMNS[1:]), "column `Cost` is missing"),
        (answer([ROW], [("Cost", "String"), *COLUMNS[1:]]), "column `Cost` is of type 'String'"),
        (
            answer([ROW], [*COLUMNS[:3], ("Meter", "Number"), COLUMNS[4]]),
            "column `Meter` is of type 'Number'",
        ),
        (
            answer([[*ROW, '"x"']], [*COLUMNS, ("meter", "String")]),
            "column `meter` stands in the answer twice",
        ),
        (answer([ROW, ROW[:-1]]), "row 1 has 4 values for 5 columns"),
        (answer([ROW, [*ROW, "1"]]), "row 1 has 6 values for 5 columns"),
        (answer(changed(0, '"1.5"')), "column `Cost`, row 1: str '1.5'"),
        (answer(changed(0, "null")), "column `Cost`, row 1: NoneType"),
        (answer(changed(0, "true")), "column `Cost`, row 1: bool"),
        (answer(changed(0, "NaN")), "column `Cost`, row 1: NaN is no number"),
        (answer(changed(1, "-Infinity")), "column `UsageQuantity`, row 1: -Infinity is no number"),
        (answer(changed(2, "20260510.0")), "column `UsageDate`, row 1"),
        (answer(changed(2, '"20260510"')), "column `UsageDate`, row 1: str"),
        (answer(changed(3, "5")), "column `Meter`, row 1: int"),
        (b'{"properties":{"columns":[],"rows":{}}}', "`rows` is no list"),
        (b'{"error":{}}', "no `properties.columns`"),
        (b"[1]", "no `properties.columns`"),
        (answer([ROW], link="5"), "`nextLink` is no text"),
        (answer([]).replace(b'"rows":[]', b'"rows":[5]'), "row 0 is no list"),
    ],
)
def test_drift_is_named_with_column_and_row(body: bytes, named: str) -> None:
    with pytest.raises(SchemaDriftError) as caught:
        read(body, ["Meter"])

    assert named in str(caught.value)


@pytest.mark.parametrize("kept", [1, 20, 60, -1])
def test_body_that_was_cut_off_is_torn_and_no_drift(kept: int) -> None:
    with pytest.raises(TornBodyError):
        read(answer([ROW])[:kept], ["Meter"])


@pytest.mark.parametrize(
    "body",
    [
        b"NaN",
        b"[NaN]",
        b'{"properties":NaN}',
        b'{"properties":{"columns":[NaN],"rows":[]}}',
        b'{"properties":{"columns":[{"name":"Cost"}],"rows":NaN}}',
        b'{"properties":{"columns":[{"name":"Cost"}],"rows":[5,NaN]}}',
        b'{"properties":{"columns":[{"name":"Cost"}],"rows":null,"x":NaN}}',
    ],
)
def test_constant_in_an_answer_of_another_shape_is_drift_and_no_crash(body: bytes) -> None:
    with pytest.raises(SchemaDriftError):
        read(body, ["Meter"])


def test_text_that_is_no_utf_8_is_torn() -> None:
    with pytest.raises(TornBodyError):
        read(answer(changed(3, '"D2"')).replace(b"D2", b"\xff\xfe"), ["Meter"])


def test_read_of_the_simulators_manner_round_trips() -> None:
    said: Any = msgspec.json.decode(answer([ROW]))

    assert said["properties"]["rows"][0][3] == read(answer([ROW]), ["Meter"]).texts["Meter"][0]
