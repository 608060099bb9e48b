"""The engine's events on the command line: silent, on stderr, or counted."""

import logging
import sys
from typing import Any, Self

import msgspec

ENGINE = "cost_ledger"


def to_stderr(*, wanted: bool) -> None:
    """Write the engine's events to stderr, one JSON line each, or nowhere.

    Without a handler of its own a logger's warnings would go to stderr all the same, the libraries' included.
    """
    logging.getLogger().addHandler(logging.NullHandler())
    engine = logging.getLogger(ENGINE)
    engine.propagate = False
    engine.setLevel(logging.INFO)
    handler = logging.StreamHandler(sys.stderr) if wanted else logging.NullHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    engine.handlers[:] = [handler]


class Events(logging.Handler):
    """Keeps the events of a block: `with Events() as events: ...`."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.kept: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one event as its fields."""
        self.kept.append(msgspec.json.decode(record.getMessage()))

    def named(self, event: str) -> list[dict[str, Any]]:
        """Give the events of one name, in their order."""
        return [fields for fields in self.kept if fields["event"] == event]

    def __enter__(self) -> Self:
        logging.getLogger(ENGINE).addHandler(self)
        return self

    def __exit__(self, *raised: object) -> None:
        logging.getLogger(ENGINE).removeHandler(self)
