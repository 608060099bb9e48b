# ruff: noqa: N818 - each is a state, named as one speaks of it
"""What Azure Storage can answer besides yes, named by the state the caller is in.

    StorageError            the service said no in a way that none of the others names
    +-- Conflict            someone else was first: the row or blob is there, or its ETag moved on
    +-- Missing             the table, queue, container, row or message is not there
    +-- TooLarge            the value does not fit, and never will
    +-- Refused             the identity may not do this: a role is missing or the key is wrong
    +-- Unavailable         no answer in spite of the client's own retries; later it may well work
        +-- Busy            the service asked for less (429, 503)

Every error carries `what`, the thing it happened to, as in `CostRuns/2026-05/abc` or `costs/daily/x.parquet`,
and `code`, the service's own name for the error where it gave one. Neither ever holds a key or a token.
"""


class StorageError(Exception):
    """The service said no in a way that needs a person."""

    def __init__(self, what: str, code: str = "") -> None:
        self.what = what
        self.code = code
        reason = " ".join((type(self).__doc__ or "").split())
        super().__init__(f"{what}: {reason}" + (f" ({code})" if code else ""))


class Conflict(StorageError):
    """Someone else was first.

    After a retry that the client made by itself, the first try of this very call may be that someone:
    whoever inserts must be content to find its own row.
    """


class Missing(StorageError):
    """It is not there."""


class TooLarge(StorageError):
    """It does not fit into what the service stores."""


class Refused(StorageError):
    """The identity may not do this.

    The roles that the engine needs are Storage Blob, Queue and Table Data Contributor on the account.
    """


class Unavailable(StorageError):
    """The service did not answer in spite of retries."""


class Busy(Unavailable):
    """The service asked for fewer calls."""
