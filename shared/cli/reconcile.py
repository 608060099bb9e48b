"""`reconcile`: what was billed for a month against what the ledger holds of the bills' own days."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

from shared.cli.arguments import Asked
from shared.cli.output import DONE, NOT_RECONCILED, NOTHING, print_json, print_table
from shared.engine import Engine
from shared.normalise.exact import text
from shared.reconcile.alerts import Patience, described
from shared.reconcile.compare import GAPS, BillState, Finding
from shared.reconcile.periods import last_closed
from shared.reconcile.reconcile import reconcile as reconciled
from shared.scopes import Scope

PATIENCE = timedelta(hours=1)
"""How long the command waits for its places at the quota gate, and explains."""

_HEAD = ("state", "period", "currency", "billed", "ledger", "difference", "scope")
_NONE = "no scope of the settings is one that is billed: a billing profile or account, or a subscription"


async def reconcile(engine: Engine, asked: Asked, scopes: tuple[Scope, ...]) -> int:  # noqa: ARG001 - as every command
    """Print one line for each scope, period and currency, and what can be said of those that are not closed.

    Exits with 2 where a bill and the ledger differ, or could not be compared though they should.
    """
    now = engine.clock()
    month = asked.month or last_closed(now.date())
    findings = await reconciled(engine, [month], Patience(now + PATIENCE))
    if asked.json:
        print_json({"month": f"{month.first:%Y-%m}", "bills": [describe(finding) for finding in findings]})
    elif findings:
        print_table(_HEAD, [_cells(finding) for finding in findings])
        for finding in findings:
            for line in remarks(finding):
                print(line)
    else:
        print(_NONE)
    return NOT_RECONCILED if any(finding.state in GAPS for finding in findings) else DONE


def describe(finding: Finding) -> dict[str, Any]:
    """Give a finding as it stands in JSON, amounts as text."""
    return {
        "scope": finding.scope,
        "from": finding.period.first.isoformat(),
        "to": finding.period.last.isoformat(),
        "state": finding.state.value,
        "currency": finding.currency,
        "billed": _amount(finding.billed),
        "ledger": _amount(finding.ledger),
        "difference": _amount(finding.difference),
        "documents": list(finding.documents),
        "issued": None if finding.issued is None else finding.issued.isoformat(),
        "days": [{"day": day.isoformat(), "state": state} for day, state in finding.days],
        "cause": finding.cause,
        "cure": finding.cure,
        "explained_by": [
            {
                "day": suspect.day.isoformat(),
                "reason": suspect.reason,
                "amount": _amount(suspect.amount),
                "subscriptions": {name: text(share) for name, share in suspect.subscriptions},
                "kept_by": list(suspect.kept_by),
            }
            for suspect in finding.suspects
        ],
        "explained_in_part": finding.partial,
        "read_again_by": finding.reread,
    }


def remarks(finding: Finding) -> list[str]:
    """Say what else is known of a bill that is not closed, one line each."""
    of = " ".join(part for part in (finding.scope, str(finding.period), finding.currency) if part)
    lines = [f"{of}: {finding.state}" + (f": {finding.cause}" if finding.cause else "")]
    if finding.cure:
        lines.append(f"    cure: {finding.cure}")
    lines += [f"    may be explained by {described(suspect)}" for suspect in finding.suspects]
    if finding.partial:
        lines.append(f"    this is not all of it: {finding.partial}")
    if finding.reread:
        lines.append(
            f"    run {finding.reread} reads these days again: the deployed app works it, or the next `run`"
        )
    silent = finding.state in {BillState.CLOSED, BillState.OPEN}
    return [] if silent and len(lines) == 1 else lines


def _cells(finding: Finding) -> tuple[str, ...]:
    return (
        finding.state.value,
        str(finding.period),
        finding.currency or NOTHING,
        *(_amount(amount) or NOTHING for amount in (finding.billed, finding.ledger, finding.difference)),
        finding.scope,
    )


def _amount(amount: Decimal | None) -> str | None:
    return None if amount is None else text(amount)
