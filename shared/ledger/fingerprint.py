"""What a partition's rows come to: by this it is known again, whoever wrote it and in which bytes."""

import hashlib

import polars as pl

_BY = ("x_SourceScope", "BillingCurrency", "ended")


def fingerprint(partition: pl.DataFrame) -> str:
    """Give a SHA-256 in hex of what a partition's rows come to: how many, whose, their amounts, records and times.

    Not of the rows themselves, which costs as much as all the rest of publishing; nor of the file's bytes: equal
    rows may be written in other bytes, by another release or out of other buffers.
    """
    numbers = pl.col(
        "BilledCost", "EffectiveCost", "ConsumedQuantity", "x_ValidFrom", "x_ValidTo", "x_IsAdjustment"
    )
    record = pl.col("x_RecordId").bin.slice(0, 8).bin.reinterpret(dtype=pl.UInt64, endianness="little")
    rows = partition.select(
        "x_SourceScope",
        "BillingCurrency",
        numbers.to_physical().cast(pl.Int128),
        ended=pl.col("x_ValidTo").is_not_null(),
        record=record.cast(pl.Int128),
    )
    # What has no room wraps around, always in the same way.
    told = rows.group_by(_BY).agg(pl.len(), pl.exclude(_BY).sum()).sort(_BY)
    lines = [",".join(map(str, row)) for row in told.iter_rows()]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
