"""One structured line per event: the only way the engine logs.

An event is one JSON object on the logger `cost_ledger`, its name under `event`. Values are text, numbers and
booleans; no header, token, connection string or body of an answer is ever passed in.
"""

import logging

import msgspec

_logger = logging.getLogger("cost_ledger")

RUN_SEEDED = "run_seeded"
RUN_CLOSED = "run_closed"
SLICE_ENDED = "slice_ended"
VANISHED_CONFIRMED = "vanished_confirmed"
GENERATION_DISCARDED = "generation_discarded"
PAGE_COMMITTED = "page_committed"
PAGE_LOST_RACE = "page_lost_race"
THROTTLED = "throttled"
RETRIED = "retried"
SCHEMA_DRIFT = "schema_drift"
SCHEMA_NEW_COLUMN = "schema_new_column"
DAY_PUBLISHED = "day_published"
DAY_UNCHANGED = "day_unchanged"
PUBLISH_RACE_LOST = "publish_race_lost"
SLICE_RESTARTED = "slice_restarted"
SEEDING_FINISHED = "seeding_finished"
DAY_RESTARTED = "day_restarted"
STEP_FAILED = "step_failed"
MESSAGE_POISONED = "message_poisoned"
POISON_DRAINED = "poison_drained"
STAGED_PAGE_REMOVED = "staged_page_removed"
REGISTRY_PURGED = "registry_purged"
ENTITY_REFUSED = "entity_refused"
STORAGE_UNAVAILABLE = "storage_unavailable"
INVOICE_COMPARED = "invoice_compared"
INVOICE_GAP = "invoice_gap"
INVOICE_MISMATCHED = "invoice_mismatched"

_WARNINGS = frozenset(
    {
        SCHEMA_DRIFT,
        SCHEMA_NEW_COLUMN,
        STEP_FAILED,
        MESSAGE_POISONED,
        POISON_DRAINED,
        SLICE_RESTARTED,
        ENTITY_REFUSED,
        STORAGE_UNAVAILABLE,
        INVOICE_GAP,
        INVOICE_MISMATCHED,
    }
)


def emit(event: str, /, **fields: str | int | bool | None) -> None:
    """Write one event with its fields."""
    level = logging.WARNING if event in _WARNINGS else logging.INFO
    if _logger.isEnabledFor(level):
        _logger.log(level, msgspec.json.encode({"event": event, **fields}).decode())
