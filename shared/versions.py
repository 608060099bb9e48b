"""The version of what this release writes into tables, and the refusal of any other."""

from collections.abc import Mapping
from typing import Any

from shared.storage.rows import Row

VERSION = 1


class UnknownVersionError(Exception):
    """An entity was written by another version of this product, or edited: it is named and never guessed at."""


def checked(table: str, row: Row) -> Mapping[str, Any]:
    """Give an entity's properties.

    Raises:
        UnknownVersionError: it is of another version; the message names table and keys.
    """
    if row.values.get("version") != VERSION:
        raise UnknownVersionError(
            f"{table} entity ({row.pk}, {row.rk}) is of version {row.values.get('version')!r}; "
            f"this release reads version {VERSION}",
        )
    return row.values
