"""A synthetic Azure tenant behind the Query and the usageDetails API, over real HTTP.

    with serve(Tenant(seed=7, subscriptions=3, days=5, rows_per_day=60)) as running:
        os.environ.update(running.settings())

Its truth is its own: it shares no code with the engine that reads it.
"""

from infra.local.simulator.changes import Change, ChangedCharge, Delta, add, restate, transfer, withdraw
from infra.local.simulator.charges import NO_SUBSCRIPTION, Charge, Line, Metric
from infra.local.simulator.faults import ALL_ERRORS, BillingFaults, Faults
from infra.local.simulator.journal import Entry, Journal
from infra.local.simulator.records import Shape
from infra.local.simulator.samples import ea_export
from infra.local.simulator.scopes import UnknownScopeError
from infra.local.simulator.server import Running, StartError, main, run, serve
from infra.local.simulator.simulator import DEFAULT_TOKEN, Simulator
from infra.local.simulator.tenant import Tenant
from infra.local.simulator.truth import Total, TruthKey, details_truth, scope_truth, truth

__all__ = [
    "ALL_ERRORS",
    "DEFAULT_TOKEN",
    "NO_SUBSCRIPTION",
    "BillingFaults",
    "Change",
    "ChangedCharge",
    "Charge",
    "Delta",
    "Entry",
    "Faults",
    "Journal",
    "Line",
    "Metric",
    "Running",
    "Shape",
    "Simulator",
    "StartError",
    "Tenant",
    "Total",
    "TruthKey",
    "UnknownScopeError",
    "add",
    "details_truth",
    "ea_export",
    "main",
    "restate",
    "run",
    "scope_truth",
    "serve",
    "transfer",
    "truth",
    "withdraw",
]
