"""Typed reading of environment variables that collects every problem instead of stopping at the first."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from typing import TypeVar

T = TypeVar("T")


class Variables:
    """The variables of one environment; `problems` grows by one sentence for each that cannot be used."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._asked: set[str] = set()
        self.problems: list[str] = []

    def text(self, name: str) -> str | None:
        """Give the value without blanks around it, or None where it is unset or empty.

        The portal and deployment templates write an empty text where a setting is left out.
        """
        self._asked.add(name)
        return self._environ.get(name, "").strip() or None

    def read(self, name: str, default: str, parse: Callable[[str], T]) -> T:
        """Give the parsed value or, where it is unset or wrong, the parsed default.

        What is wrong is added to `problems`: `parse` raises a ValueError whose message goes on from the name
        ("is 'x', ..."), so that each parser decides whether a value may be shown.
        """
        text = self.text(name)
        if text is not None:
            try:
                return parse(text)
            except ValueError as error:
                self.problems.append(f"`{name}` {error}")
        return parse(default)

    def refuse_unknown(self, prefix: str, *, except_for: str) -> None:
        """Add a problem for every set variable of this prefix that was never asked for: a slip of the pen."""
        for name in sorted(self._environ):
            if name.startswith(prefix) and not name.startswith(except_for) and name not in self._asked:
                closest = get_close_matches(name, sorted(self._asked), n=1)
                hint = f"did you mean `{closest[0]}`?" if closest else "remove it"
                self.problems.append(f"`{name}` is no setting: {hint}")


def whole(least: int, most: int) -> Callable[[str], int]:
    """Make a parser of whole numbers within bounds, both included."""

    def parse(text: str) -> int:
        if not (
            text.isascii() and text.isdigit() and len(text) <= len(str(most)) and least <= int(text) <= most
        ):
            raise ValueError(f"is {text!r}: give a whole number from {least} to {most}")
        return int(text)

    return parse


def number(least: str, most: str) -> Callable[[str], Decimal]:
    """Make a parser of decimal numbers within bounds, both included; never by way of a float."""

    def parse(text: str) -> Decimal:
        try:
            value = Decimal(text)
        except InvalidOperation:
            value = Decimal("NaN")
        if not (value.is_finite() and Decimal(least) <= value <= Decimal(most)):
            raise ValueError(f"is {text!r}: give a number from {least} to {most}")
        return value

    return parse


def seconds(least: str, most: str) -> Callable[[str], timedelta]:
    """Make a parser of seconds, fractions allowed and rounded to the microsecond."""
    parse_number = number(least, most)

    def parse(text: str) -> timedelta:
        return timedelta(microseconds=int((parse_number(text) * 1_000_000).to_integral_value()))

    return parse


def flag(text: str) -> bool:
    """Parse true, false, 1 or 0, in any case."""
    values = {"true": True, "1": True, "false": False, "0": False}
    if text.lower() not in values:
        raise ValueError(f"is {text!r}: give true or false")
    return values[text.lower()]


def names(text: str) -> tuple[str, ...]:
    """Parse a comma separated list; blanks around a name and empty places are dropped."""
    return tuple(name.strip() for name in text.split(",") if name.strip())
