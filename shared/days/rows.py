"""How pointers and publications are written as rows of CostDays, and read from them."""

from datetime import date
from decimal import Decimal
from typing import Any

import msgspec

from shared.days.model import Attempt, Pointer, Publication, PublishedFile, Reading
from shared.storage.packing import pack_json, unpack_json
from shared.storage.rows import Row
from shared.versions import VERSION, checked

TABLE = "CostDays"
PUBLICATION = "publication"


def partition(metric: str, day: date) -> str:
    """Name the partition of a day."""
    return f"{metric}|{day.isoformat()}"


def place(row: Row) -> tuple[str, date]:
    """Give the metric and the day of a row."""
    metric, day = row.pk.split("|")
    return metric, date.fromisoformat(day)


def pointer_row(pointer: Pointer) -> Row:
    """Write a pointer as its row."""
    values: dict[str, Any] = {"version": VERSION, "scope": pointer.scope}
    if pointer.reading is not None:
        values.update(pack_json("reading", msgspec.to_builtins(pointer.reading)))
    if pointer.attempt is not None:
        values.update(pack_json("attempt", msgspec.to_builtins(pointer.attempt)))
    if pointer.changed_at is not None:
        values["changed_at"] = pointer.changed_at
    return Row(partition(pointer.metric, pointer.day), f"scope|{pointer.key}", values)


def read_pointer(row: Row) -> Pointer:
    """Read a pointer from its row."""
    value = checked(TABLE, row)
    metric, day = place(row)
    return Pointer(
        metric=metric,
        day=day,
        scope=value["scope"],
        key=row.rk.removeprefix("scope|"),
        reading=unpack_json("reading", value, Reading) if "reading_0" in value else None,
        changed_at=value.get("changed_at"),
        attempt=unpack_json("attempt", value, Attempt) if "attempt_0" in value else None,
        etag=row.etag,
    )


def publication_row(publication: Publication) -> Row:
    """Write a publication as its row."""
    values: dict[str, Any] = {
        "version": VERSION,
        "scopes_at": publication.scopes_at,
        "as_of": publication.as_of,
        "status": publication.status,
        "published_at": publication.published_at,
        "manifest_etag": publication.manifest_etag,
        "unfinished": publication.unfinished,
    }
    values.update(pack_json("view", msgspec.to_builtins(publication.view)))
    values.update(pack_json("totals", msgspec.to_builtins(publication.totals)))
    values.update(pack_json("listed", publication.listed))
    values.update(pack_json("disagrees", dict(publication.disagrees)))
    values.update(pack_json("files", msgspec.to_builtins(publication.files)))
    return Row(partition(publication.metric, publication.day), PUBLICATION, values)


def read_publication(row: Row) -> Publication:
    """Read a publication from its row."""
    value = checked(TABLE, row)
    metric, day = place(row)
    return Publication(
        metric=metric,
        day=day,
        view=unpack_json("view", value, dict[str, tuple[str, str, str, str]]),
        listed=unpack_json("listed", value, tuple[str, ...]),
        disagrees=unpack_json("disagrees", value, dict[str, str]),
        scopes_at=value["scopes_at"],
        as_of=value["as_of"],
        status=value["status"],
        totals=unpack_json("totals", value, dict[str, Decimal]),
        published_at=value["published_at"],
        files=unpack_json("files", value, tuple[PublishedFile, ...]),
        manifest_etag=value["manifest_etag"],
        unfinished=value["unfinished"],
        etag=row.etag,
    )
