"""The list of scopes in `COST_SCOPES`, each with what is read of it."""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations
from typing import TypeVar

from shared.environment import names
from shared.plan.grouping import check_grouping, default_grouping, overlap_problem, scope_problems
from shared.scopes import Scope, ScopeError, ScopeKind

T = TypeVar("T")

METRICS = ("ActualCost", "AmortizedCost")
"""The metrics that can be read."""

_FIELDS = frozenset({"scope", "source", "grouping", "metrics", "period"})


class Source(StrEnum):
    """Which API the cost of a scope is read from."""

    QUERY = "query"
    USAGE_DETAILS = "usage_details"


class Period(StrEnum):
    """In which words usageDetails is told the days: each kind of agreement understands its own."""

    DATES = "dates"
    FILTER = "filter"
    BILLING_PERIOD = "billing_period"


_DATED = frozenset({ScopeKind.BILLING_PROFILE, ScopeKind.INVOICE_SECTION, ScopeKind.CUSTOMER})
"""Scopes that only a Microsoft Customer Agreement has; it takes `startDate` and `endDate`."""


@dataclass(frozen=True, slots=True)
class ScopeSettings:
    """One scope and what is read of it. Query has a grouping and no period, usage_details the reverse."""

    scope: Scope
    source: Source
    grouping: tuple[str, ...]
    metrics: tuple[str, ...]
    period: Period | None = None


@dataclass(frozen=True, slots=True)
class ScopeDefaults:
    """What holds for a scope that does not say otherwise; no grouping means the one of the scope's kind."""

    source: Source
    grouping: tuple[str, ...] | None
    metrics: tuple[str, ...]


def scopes_named(known: Iterable[ScopeSettings], paths: Iterable[str]) -> tuple[Scope, ...]:
    """Find the scopes of these paths, in any casing, among those of the settings.

    Raises:
        ValueError: one is not there; the message lists those that are.
    """
    by_key = {item.scope.key: item.scope for item in known}
    found: list[Scope] = []
    for path in paths:
        try:
            found.append(by_key[Scope.parse(path).key])
        except (ScopeError, KeyError) as error:
            there = ", ".join(scope.path for scope in by_key.values())
            raise ValueError(f"{path} is none of `COST_SCOPES`, which are: {there}") from error
    return tuple(dict.fromkeys(found))


def check_source(text: str) -> Source:
    """Give the source of this name.

    Raises:
        ValueError: no source has this name.
    """
    if text not in list(Source):
        raise ValueError(f"is {text!r}: give {' or '.join(Source)}")
    return Source(text)


def check_metrics(metrics: Sequence[str]) -> tuple[str, ...]:
    """Give the metrics back if all are known, none comes twice and there is one.

    Raises:
        ValueError: they are not so.
    """
    if not metrics or len(set(metrics)) < len(metrics) or not set(metrics) <= set(METRICS):
        raise ValueError(f"is {', '.join(metrics)!r}: give {' and '.join(METRICS)}, or one of them")
    return tuple(metrics)


def read_scopes(text: str, defaults: ScopeDefaults) -> tuple[tuple[ScopeSettings, ...], list[str]]:
    """Read the scopes and list every problem, each going on from the name of the setting.

    A JSON array holds paths or objects {"scope", "source", "grouping", "metrics", "period"}; any other text is a
    list of paths separated by commas or line ends.
    """
    try:
        entries = _entries(text)
    except ValueError as error:
        return (), [str(error)]
    scopes: list[ScopeSettings] = []
    problems = [] if entries else ["holds no scope: give at least one"]
    for entry in entries:
        try:
            scopes.append(_read_entry(entry, defaults))
        except ValueError as error:
            problems.append(str(error))
    return tuple(scopes), [*problems, *_list_problems(scopes)]


def _entries(text: str) -> Sequence[object]:
    if not text.lstrip().startswith(("[", "{")):
        return [path.strip() for path in re.split(r"[,\n]", text) if path.strip()]
    try:
        entries: object = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"looks like JSON and is none: {error}") from error
    if not isinstance(entries, list):
        raise ValueError("is a JSON object: give an array of scopes")  # noqa: TRY004 - all are problems of a value
    return entries


def _read_entry(entry: object, defaults: ScopeDefaults) -> ScopeSettings:
    if isinstance(entry, str):
        entry = {"scope": entry}
    path = entry.get("scope") if isinstance(entry, Mapping) else None
    if not isinstance(entry, Mapping) or not isinstance(path, str):
        message = f'has the entry {json.dumps(entry)}: give a path or an object with "scope"'
        raise ValueError(message)  # noqa: TRY004 - all are problems of a value
    scope = Scope.parse(path)
    unknown = sorted(set(entry) - _FIELDS)
    if unknown:
        raise ValueError(f"has the field {unknown[0]!r} at {scope}: allowed are {', '.join(sorted(_FIELDS))}")
    source = _field(scope, entry, "source", _one(check_source), defaults.source)
    metrics = _field(scope, entry, "metrics", check_metrics, defaults.metrics)
    _refuse_field(scope, entry, "period" if source is Source.QUERY else "grouping", source)
    if source is Source.USAGE_DETAILS:
        usual = Period.DATES if scope.kind in _DATED else Period.FILTER
        period = _field(scope, entry, "period", _one(lambda text: _check_period(text, scope)), usual)
        return ScopeSettings(scope, source, (), metrics, period)
    settings = ScopeSettings(
        scope=scope,
        source=source,
        grouping=_field(
            scope, entry, "grouping", check_grouping, defaults.grouping or default_grouping(scope)
        ),
        metrics=metrics,
    )
    if problems := scope_problems(scope, settings.grouping):
        raise ValueError(f"at {scope}: {'; '.join(problems)}")
    return settings


def _refuse_field(scope: Scope, entry: Mapping[str, object], name: str, source: Source) -> None:
    if name in entry:
        raise ValueError(f"has the field '{name}' at {scope}, which is read by {source}: that has no {name}")


def _check_period(text: str, scope: Scope) -> Period:
    if text not in list(Period):
        raise ValueError(f"is {text!r}: give {', '.join(Period)}")
    if text == Period.BILLING_PERIOD and scope.kind is not ScopeKind.SUBSCRIPTION:
        raise ValueError(f"is {text}: only a subscription is read by billing period")
    return Period(text)


def _field(
    scope: Scope, entry: Mapping[str, object], name: str, check: Callable[[Sequence[str]], T], default: T
) -> T:
    if name not in entry:
        return default
    value = entry[name]
    try:
        if isinstance(value, str):
            return check(names(value))
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return check(value)
    except ValueError as error:
        raise ValueError(f"at {scope}: {name} {error}") from error
    raise ValueError(f"at {scope}: {name} is {json.dumps(value)}: give a text or an array of texts")


def _one(check: Callable[[str], T]) -> Callable[[Sequence[str]], T]:
    return lambda values: check(", ".join(values))


def _list_problems(listed: Sequence[ScopeSettings]) -> list[str]:
    scopes = [entry.scope for entry in listed]
    problems = [f"names {scope} twice" for place, scope in enumerate(scopes) if scope in scopes[:place]]
    # Records of usageDetails show their resource group, whatever is asked.
    grouped = [entry for entry in listed if entry.source is Source.QUERY]
    overlaps = (overlap_problem(narrow, wide.scope, wide.grouping) for narrow in scopes for wide in grouped)
    shared = [
        f"names {one} and {other}, which may be billed the same costs: "
        f"keep one kind of the two, or list {one.account}"
        for one, other in combinations((scope for scope in scopes if scope.is_billing), 2)
        if one.may_share(other)
    ]
    return [*problems, *filter(None, overlaps), *shared]
