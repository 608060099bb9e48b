"""The settings: one frozen value made from the environment at start, with every error listed at once.

Where the storage is stands in the same environment and is read by `shared.storage`, not here; the variables
that start with `COST_STORAGE` are its own.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal

from shared import endpoint
from shared.environment import Variables, flag, names, number, seconds, whole
from shared.plan import schedule
from shared.plan.grouping import check_grouping
from shared.quota.limits import Limit, parse_limits
from shared.scope_list import (
    ScopeDefaults,
    ScopeSettings,
    Source,
    check_metrics,
    check_source,
    read_scopes,
)

__all__ = ["ScopeSettings", "Settings", "SettingsError", "Source", "load"]

_CONTAINER = re.compile(r"(?=.{3,63}\Z)[a-z0-9]+(-[a-z0-9]+)*", re.ASCII)
_TOKEN = re.compile(r"[!-~]+", re.ASCII)


class SettingsError(ValueError):
    """The environment makes no usable settings; `problems` has one sentence for each thing to mend."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__(
            "\n".join(["the settings cannot be used:", *(f"- {problem}" for problem in problems)])
        )
        self.problems = problems


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the engine is told by its environment; each field is the variable of its name.

    `COST_SOURCE` and `COST_GROUPING` have gone into `scopes`. Times that the environment gives in seconds or
    hours are time spans here.
    """

    scopes: tuple[ScopeSettings, ...]
    metrics: tuple[str, ...]
    lookback_days: int
    window_days: int
    page_size: int
    max_pages: int
    max_readings: int
    max_attempts: int
    throttle_floor: timedelta
    retry_delay: timedelta
    lease: timedelta
    registry_days: int
    settle: timedelta
    control_tolerance: Decimal
    publish_unreconciled: bool
    reconcile_tolerance: Decimal
    reconcile_floor: Decimal
    quota_tenant: tuple[Limit, ...]
    quota_scope: tuple[Limit, ...]
    quota_details: tuple[Limit, ...] | None
    """Of each scope that usageDetails is asked for; None leaves it to the kind of scope."""
    seed_schedule: str
    sweep_schedule: str
    stall: timedelta
    arm_endpoint: str
    """Scheme, host and port; a path is appended as it is."""
    arm_token: str | None = field(repr=False)
    """A static bearer, only ever beside a loopback endpoint."""
    container: str
    staging_container: str

    @property
    def token_scope(self) -> str:
        """The scope a token is asked for, in the endpoint's own cloud."""
        return endpoint.token_scope(self.arm_endpoint)


def load(environ: Mapping[str, str]) -> Settings:
    """Read the settings.

    Raises:
        SettingsError: anything is missing, wrong or unknown; it names all of it, and never a token.
    """
    variables = Variables(environ)
    read = variables.read
    metrics = read("COST_METRICS", "ActualCost", lambda text: check_metrics(names(text)))
    arm_endpoint = read("ARM_ENDPOINT", "https://management.azure.com", endpoint.parse_endpoint)
    settings = Settings(
        scopes=_scopes(variables, metrics),
        metrics=metrics,
        lookback_days=read("COST_LOOKBACK_DAYS", "37", whole(1, 1000)),
        window_days=read("COST_WINDOW_DAYS", "31", whole(1, 31)),
        page_size=read("COST_PAGE_SIZE", "5000", whole(1, 5000)),
        max_pages=read("COST_MAX_PAGES", "2000", whole(1, 1_000_000)),
        max_readings=read("COST_MAX_READINGS", "4", whole(1, 1000)),
        max_attempts=read("COST_MAX_ATTEMPTS", "8", whole(1, 1000)),
        throttle_floor=read("COST_THROTTLE_FLOOR", "30", seconds("0", "3600")),
        retry_delay=read("COST_RETRY_DELAY", "2", seconds("0", "3600")),
        lease=timedelta(seconds=read("COST_LEASE_SECONDS", "60", whole(1, 86_400))),
        registry_days=read("COST_REGISTRY_DAYS", "45", whole(30, 45)),
        settle=timedelta(hours=read("COST_SETTLE_HOURS", "48", whole(0, 8760))),
        control_tolerance=read("COST_CONTROL_TOLERANCE", "0.000000001", number("0", "1")),
        publish_unreconciled=read("COST_PUBLISH_UNRECONCILED", "false", flag),
        reconcile_tolerance=read("COST_RECONCILE_TOLERANCE", "0.005", number("0", "1")),
        reconcile_floor=read("COST_RECONCILE_FLOOR", "0.01", number("0", "1000000000")),
        quota_tenant=read("COST_QUOTA_TENANT", "12/10s,60/m,600/h", parse_limits),
        quota_scope=read("COST_QUOTA_SCOPE", "4/m", parse_limits),
        quota_details=read("COST_QUOTA_DETAILS", "", lambda text: parse_limits(text) if text else None),
        seed_schedule=read("COST_SEED_SCHEDULE", schedule.SEED_SCHEDULE, schedule.check),
        sweep_schedule=read("COST_SWEEP_SCHEDULE", schedule.SWEEP_SCHEDULE, schedule.check),
        stall=timedelta(seconds=read("COST_STALL_SECONDS", "1800", whole(1, 604_800))),
        arm_endpoint=arm_endpoint,
        arm_token=_token(variables, arm_endpoint),
        container=read("COST_CONTAINER", "costs", _container),
        staging_container=read("COST_STAGING_CONTAINER", "cost-staging", _container),
    )
    if settings.container == settings.staging_container:
        variables.problems.append(
            f"`COST_STAGING_CONTAINER` is `COST_CONTAINER` ({settings.container}): give two"
        )
    variables.refuse_unknown("COST_", except_for="COST_STORAGE")
    if variables.problems:
        raise SettingsError(tuple(variables.problems))
    return settings


def _scopes(variables: Variables, metrics: tuple[str, ...]) -> tuple[ScopeSettings, ...]:
    defaults = ScopeDefaults(
        source=variables.read("COST_SOURCE", Source.QUERY, check_source),
        grouping=variables.read("COST_GROUPING", "", _grouping),
        metrics=metrics,
    )
    text = variables.text("COST_SCOPES")
    if text is None:
        variables.problems.append(
            "`COST_SCOPES` is not set: name the scopes to read, such as /subscriptions/{id}"
        )
        return ()
    scopes, problems = read_scopes(text, defaults)
    variables.problems.extend(f"`COST_SCOPES` {problem}" for problem in problems)
    if defaults.grouping and scopes and all(item.source is Source.USAGE_DETAILS for item in scopes):
        variables.problems.append(
            f"`COST_GROUPING` is set, but every scope is read by {Source.USAGE_DETAILS}, which has no grouping: "
            "remove it"
        )
    return scopes


def _grouping(text: str) -> tuple[str, ...] | None:
    return check_grouping(names(text)) if text else None


def _token(variables: Variables, arm_endpoint: str) -> str | None:
    token = variables.text("ARM_TOKEN")
    if token is None:
        return None
    if not endpoint.is_loopback(arm_endpoint):
        variables.problems.append("`ARM_TOKEN` is allowed beside a loopback `ARM_ENDPOINT` only: remove it")
    elif not _TOKEN.fullmatch(token):
        variables.problems.append("`ARM_TOKEN` holds a blank or a character that no header carries")
    return token


def _container(text: str) -> str:
    if not _CONTAINER.fullmatch(text):
        raise ValueError(
            f"is {text!r}: give 3 to 63 lower-case letters, digits and single hyphens, starting and ending "
            "with a letter or digit"
        )
    return text
