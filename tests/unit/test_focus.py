"""Azure's words for charges and prices in FOCUS' own."""

import polars as pl
import pytest

from shared.normalise.focus import charge_category, charge_class, pricing_category


@pytest.mark.parametrize(
    ("charge_type", "category", "of_class"),
    [
        ("Usage", "Usage", None),
        ("UnusedReservation", "Usage", None),
        ("UnusedSavingsPlan", "Usage", None),
        ("Purchase", "Purchase", None),
        ("REFUND", "Purchase", "Correction"),
        ("Tax", "Tax", None),
        ("Credit", "Credit", None),
        ("RoundingAdjustment", "Adjustment", None),
        ("Something", None, None),
        (None, None, None),
    ],
)
def test_charge_type_has_its_category_whatever_its_casing_and_an_unknown_one_none(
    charge_type: str | None, category: str | None, of_class: str | None
) -> None:
    frame = pl.DataFrame({"type": [charge_type]}, schema={"type": pl.String})
    assert frame.select(charge_category(pl.col("type")), charge_class(pl.col("type")).alias("class")).row(
        0
    ) == (category, of_class)


@pytest.mark.parametrize(
    ("model", "category"),
    [
        ("OnDemand", "Standard"),
        ("Reservation", "Committed"),
        ("SavingsPlan", "Committed"),
        ("spot", "Dynamic"),
        ("Something", "Other"),
        (None, None),
    ],
)
def test_commitments_are_committed_spot_is_dynamic_and_an_unknown_model_is_other(
    model: str | None, category: str | None
) -> None:
    frame = pl.DataFrame({"model": [model]}, schema={"model": pl.String})
    assert frame.select(pricing_category(pl.col("model"))).item() == category
