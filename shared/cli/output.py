"""How the commands write: JSON on one line, tables aligned, times in UTC, amounts whole, faults on one line."""

import sys
from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

DONE = 0
FAULT = 1
NOT_RECONCILED = 2
SIGNALLED = 128
"""What shells add to a signal's number when it ends a program: 130 for SIGINT, 143 for SIGTERM."""

NOTHING = "-"


def print_json(value: object) -> None:
    """Print one JSON value on one line."""
    print(msgspec.json.encode(value).decode(), flush=True)


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under their headings."""
    for line in aligned([tuple(name.upper() for name in head), *rows]):
        print(line)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Give the rows as lines whose columns stand under each other, two blanks apart."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def moment(time: datetime | None) -> str | None:
    """Write a time as everything published does: UTC, whole seconds."""
    return None if time is None else time.strftime("%Y-%m-%dT%H:%M:%SZ")


def amounts(totals: Mapping[str, str]) -> str:
    """Write totals per currency on one line; two currencies are never added."""
    return ", ".join(f"{amount} {currency}" for currency, amount in sorted(totals.items())) or NOTHING


def fault(message: str) -> int:
    """Say on stderr why the program ends, and give the exit code for it."""
    print(f"error: {message}", file=sys.stderr, flush=True)
    return FAULT
