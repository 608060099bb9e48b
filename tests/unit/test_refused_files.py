"""A Parquet file that another program or version wrote, or that is damaged, is refused by name."""

import io
from datetime import date
from random import Random

import polars as pl
import pytest

from shared.ledger.columns import DAILY, LEDGER, STAGED
from shared.ledger.files import daily_path, ledger_path, schema_of
from shared.staging import VERSION_KEY, decode, encode
from shared.versions import UnreadableError

WHAT, CURE = "costs/ledger/data.parquet", "restore it"
BLANK = {"x_IsAdjustment": False, "is_adjustment": False, "record_count": 1}


def frame_of(schema: dict[str, pl.DataType], rows: int = 40) -> pl.DataFrame:
    texts = {
        name: [f"{name} {row % 7}" for row in range(rows)]
        for name, kind in schema.items()
        if kind == pl.String
    }
    nothing = {name: [BLANK.get(name)] * rows for name in schema}
    return pl.DataFrame({**nothing, **texts}, schema=schema)


def refusal(data: bytes, schema: dict[str, pl.DataType] = LEDGER) -> str:
    with pytest.raises(UnreadableError) as caught:
        decode(data, schema, WHAT, CURE)
    assert (caught.value.what, caught.value.cure) == (WHAT, CURE)
    return caught.value.wrong


def parquet(frame: pl.DataFrame, **metadata: str) -> bytes:
    """Write a file as another program would."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer, metadata=metadata)
    return buffer.getvalue()


@pytest.mark.parametrize("schema", [STAGED, LEDGER, DAILY], ids=["staged", "ledger", "daily"])
@pytest.mark.parametrize("rows", [0, 40])
def test_file_is_read_as_it_was_written_and_equal_frames_give_equal_bytes(
    schema: dict[str, pl.DataType], rows: int
) -> None:
    frame = frame_of(schema, rows)
    again = pl.concat([frame.head(3), frame.tail(-3)])

    assert decode(encode(frame), schema, WHAT, CURE).equals(frame)
    assert encode(frame) == encode(again.rechunk())


def test_path_of_a_published_file_says_which_columns_it_has() -> None:
    day = date(2026, 5, 1)
    assert schema_of(daily_path("ActualCost", day)) == DAILY
    assert schema_of(ledger_path("ActualCost", day, "daily")) == LEDGER


def test_same_rows_without_a_version_are_refused() -> None:
    said = refusal(parquet(frame_of(LEDGER)))
    assert said == "has no version, so another program wrote it; this release reads 1"


def test_file_of_another_version_is_refused() -> None:
    assert refusal(parquet(frame_of(LEDGER), **{VERSION_KEY: "2"})) == "is of version 2, this release reads 1"


@pytest.mark.parametrize(
    ("changed", "wrong"),
    [
        pytest.param(frame_of(LEDGER).drop("Tags"), "Tags is missing", id="missing"),
        pytest.param(
            frame_of(LEDGER).with_columns(note=pl.lit("x")), "note should not be there", id="too many"
        ),
        pytest.param(
            frame_of(LEDGER).with_columns(pl.col("BilledCost").cast(pl.Float64)),
            "BilledCost is Float64, not Decimal(precision=38, scale=18)",
            id="money as a float",
        ),
        pytest.param(frame_of(LEDGER).select(*reversed(LEDGER)), "they stand in another order", id="order"),
        pytest.param(
            frame_of(DAILY), "ChargePeriodStart is missing, ChargePeriodEnd is missing, ", id="another file"
        ),
    ],
)
def test_file_with_other_columns_is_refused_and_they_are_named(changed: pl.DataFrame, wrong: str) -> None:
    said = refusal(encode(changed))
    assert said.startswith(f"has other columns than this release writes: {wrong}")
    assert len(said) < 200


@pytest.mark.parametrize("data", [b"", b"PAR1", b"<html>not found</html>", b"PAR1" * 100])
def test_bytes_that_are_no_parquet_are_refused(data: bytes) -> None:
    assert refusal(data).startswith("cannot be read as Parquet: ")


def test_damaged_file_gives_a_frame_of_the_columns_or_the_refusal_and_nothing_else() -> None:
    """A flipped bit in a page of values cannot be seen: Parquet pages carry no checksum, blob storage does."""
    whole, dice, refused = encode(frame_of(LEDGER)), Random(7), 0
    for _ in range(400):
        data = bytearray(whole)
        if dice.random() < 0.3:
            at = dice.randrange(len(data))
            del data[at : at + dice.randrange(1, 60)]
        for _ in range(dice.randrange(1, 4)):
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        try:
            frame = decode(bytes(data), LEDGER, WHAT, CURE)
        except UnreadableError:
            refused += 1
        else:
            assert dict(frame.schema) == LEDGER
    assert refused > 200
