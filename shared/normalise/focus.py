"""How Azure's charge types and pricing models map to FOCUS 1.2 values.

Source: FOCUS 1.2 column definitions, and Microsoft's FOCUS mapping of Cost Management data: a refund is a
purchase that corrects, unused commitments are usage, a rounding adjustment is an adjustment.
"""

import polars as pl

_CATEGORY = {
    "usage": "Usage",
    "unusedreservation": "Usage",
    "unusedsavingsplan": "Usage",
    "purchase": "Purchase",
    "refund": "Purchase",
    "tax": "Tax",
    "credit": "Credit",
    "adjustment": "Adjustment",
    "roundingadjustment": "Adjustment",
}

_PRICING = {
    "ondemand": "Standard",
    "reservation": "Committed",
    "savingsplan": "Committed",
    "spot": "Dynamic",
}


def charge_category(charge_type: pl.Expr) -> pl.Expr:
    """Give FOCUS' ChargeCategory; null where the charge type is none of the known ones: it is not guessed at."""
    return charge_type.str.to_lowercase().replace_strict(_CATEGORY, default=None, return_dtype=pl.String)


def charge_class(charge_type: pl.Expr) -> pl.Expr:
    """Give FOCUS' ChargeClass: Correction for a refund, else null."""
    return pl.when(charge_type.str.to_lowercase() == "refund").then(pl.lit("Correction")).otherwise(None)


def pricing_category(model: pl.Expr) -> pl.Expr:
    """Give FOCUS' PricingCategory; Other for a model that is not known, null stays null."""
    known = model.str.to_lowercase().replace_strict(_PRICING, default="Other", return_dtype=pl.String)
    return pl.when(model.is_null()).then(None).otherwise(known)
