"""What this release reads of what lies in storage, and the one refusal of anything else.

Whatever the engine keeps carries a version. An entity or blob of another version, or one that somebody edited
or damaged, is refused by name and never guessed at: `reads` makes a reader of entities that says so whatever is
wrong with them, `refusing` does it for anything else that has a name.
"""

import re
import struct
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from datetime import datetime
from functools import wraps
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from shared.events import ENTITY_REFUSED, emit
from shared.storage.errors import StorageError
from shared.storage.rows import Row

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    D = TypeVar("D", bound=DataclassInstance)

T = TypeVar("T")

VERSION: Final = 1

_MALFORMED = (
    KeyError,
    ValueError,
    TypeError,
    ArithmeticError,
    RecursionError,
    struct.error,
    msgspec.MsgspecError,
    StorageError,
)
"""What a malformed entity makes of its reader. `StorageError` is what unpacking raises: a reader calls nothing."""

_AT = re.compile(r" - at `\$\.(\w+)[^`]*`$")
_SHOWN: Final = 60


class MalformedError(ValueError):
    """What a reader found wrong; the message goes on from the name of what is read (`has ...`, `is ...`)."""


class UnreadableError(Exception):
    """Something in storage was edited, damaged or written by another version of this product.

    `what` names the entity (table and keys) or the blob (container and name), `wrong` says what is wrong with
    it, `cure` what a person may do about it.
    """

    def __init__(self, what: str, wrong: str, cure: str) -> None:
        super().__init__(f"{what} {wrong}; {cure}")
        self.what = what
        self.wrong = wrong
        self.cure = cure

    @property
    def cause(self) -> str:
        """The refusal without its cure, as a slice keeps it."""
        return f"Unreadable: {self.what} {self.wrong}"


Refused = Callable[[UnreadableError], None]
"""Is told of what is left out because it cannot be read."""


def tell(error: UnreadableError) -> None:
    """Say that something was left out because it cannot be read."""
    emit(ENTITY_REFUSED, what=error.what, wrong=error.wrong, cure=error.cure)


def entity(table: str, row: Row) -> str:
    """Name an entity by its table and keys."""
    return f"{table} entity ({row.pk}, {row.rk})"


@contextmanager
def refusing(what: str, cure: str) -> Iterator[None]:
    """Refuse `what` by name where reading it fails.

    Raises:
        UnreadableError: the block found it malformed.
    """
    try:
        yield
    except _MALFORMED as error:
        raise UnreadableError(what, _wrong(error), cure) from error


def reads(table: str, cure: str) -> Callable[[Callable[[Row], T]], Callable[[Row], T]]:
    """Make a reader of a table's entities that refuses, by name, all that this release did not write.

    `cure` says what a person may do about an entity of this kind, an imperative clause.
    """

    def refusing_reader(read: Callable[[Row], T]) -> Callable[[Row], T]:
        @wraps(read)
        def reader(row: Row) -> T:
            what = entity(table, row)
            version = row.values.get("version")
            if version is None:
                raise UnreadableError(what, 'has no property "version"', cure)
            if type(version) is not int or version != VERSION:
                wrong = f"is of version {_shown(version)}, this release reads {VERSION}"
                raise UnreadableError(what, wrong, f"run the release that wrote it, or {cure}")
            with refusing(what, cure):
                return read(row)

        return reader

    return refusing_reader


def readable(rows: Iterable[Row], read: Callable[[Row], T], refused: Refused | None) -> list[T]:
    """Read rows; one that cannot be read is left out if `refused` is there to be told.

    Raises:
        UnreadableError: a row cannot be read, and nobody is to be told.
    """
    found = []
    for row in rows:
        try:
            found.append(read(row))
        except UnreadableError as error:
            if refused is None:
                raise
            refused(error)
    return found


def converted(
    kind: "type[D]",
    held: Mapping[str, object],
    told: Mapping[str, object],
    packed: Collection[str] = (),
    constant: Mapping[str, str] | None = None,
) -> "D":
    """Make a dataclass of a row's properties, each checked against the type of its field, none left over.

    Args:
        kind: the dataclass; a property bears its field's name.
        held: the row's properties.
        told: fields that no property tells (keys, ETag, what was packed).
        packed: names of packed values, whose properties (`name_0`, ...) are the caller's to read.
        constant: properties that are no field, and the only value each may have.

    Raises:
        KeyError: a property is missing whose field cannot be None.
        MalformedError: a property is not known, not of its field's type, or a constant is another.
    """
    constant = constant or {}
    for name, value in constant.items():
        demand(held[name] == value, name, held[name])
    values = {
        name: value
        for name, value in held.items()
        if name != "version" and name not in constant and not _is_packed(name, packed)
    }
    if unknown := sorted(values.keys() - ({field.name for field in fields(kind)} - told.keys())):
        raise MalformedError(f'has a property "{unknown[0]}" that this release does not know')
    for field in fields(kind):
        # A default is for who makes one; who reads one finds it written down, unless it is None.
        if field.default is not None and field.name not in values.keys() | told.keys():
            raise KeyError(field.name)
    try:
        # Times and bytes are types of the Table service: a text is neither.
        return msgspec.convert({**values, **told}, kind, builtin_types=(bytes, datetime))
    except msgspec.ValidationError as error:
        name = next(iter(_AT.findall(str(error))), "")
        if name not in values:
            raise
        said = _AT.sub("", str(error))
        raise MalformedError(f'has {_shown(values[name])} as "{name}": {said}') from error


def has_packed(name: str, held: Mapping[str, object]) -> bool:
    """Tell whether properties hold any part of a packed value."""
    return any(_is_packed(one, (name,)) for one in held)


def demand(holds: bool, name: str, value: object) -> None:  # noqa: FBT001 - the first thing said of it
    """Make sure of what a type cannot say.

    Raises:
        MalformedError: it does not hold; the message names the property and shows its value.
    """
    if not holds:
        raise MalformedError(f'has {_shown(value)} as "{name}", which it cannot be')


def _is_packed(name: str, packed: Collection[str]) -> bool:
    stem, _, number = name.rpartition("_")
    return stem in packed and number.isdecimal()


def _wrong(error: Exception) -> str:
    """Say what is wrong, with the property named where the error knows it."""
    if isinstance(error, KeyError):
        return f'has no property "{error.args[0]}"'
    if isinstance(error, StorageError):
        if error.code == "PropertyMissing":
            return f'has no property "{error.what}"'
        return f'has "{error.what}" that cannot be unpacked: {error.code.removeprefix("PropertyDamaged: ")}'
    if isinstance(error, struct.error):
        return f"cannot be unpacked: {error}"
    if isinstance(error, MalformedError):
        return str(error)
    return f"is malformed: {error}"


def _shown(value: object) -> str:
    """Show a value, shortened; of bytes only how many."""
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    text = value.isoformat() if isinstance(value, datetime) else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
