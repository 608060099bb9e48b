"""Fixtures of the tests that work the whole product."""

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from shared import events
from shared.cli import logs


@pytest.fixture
def told() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Give the mismatches that were told so far."""
    logger = logging.getLogger(logs.ENGINE)
    level = logger.level
    logger.setLevel(logging.INFO)
    with logs.Events() as happened:
        yield lambda: happened.named(events.INVOICE_MISMATCHED)
    logger.setLevel(level)
