"""What the command line asks for: its commands, their options, and what is refused before anything is opened."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import NoReturn

from shared.cli.instants import instant_text, parse_instant
from shared.plan.windows import check_kept, check_range, parse_day
from shared.reconcile.periods import Period, parse_month

COMMANDS = {
    "run": "read, prove and publish in this process until it is done (default: the look-back)",
    "backfill": "only plan a run, for a deployed app to work",
    "status": "what is running and what ran; with RUN, the slices of that run",
    "days": "what is published, reconciled, and how fresh (default: the look-back)",
    "as-of": "totals as they were believed at TIME (default: the look-back of that time)",
    "changes": "what changed between two times, by subscription and service, largest first",
    "verify": "compare the published files with their manifests (default: the look-back)",
    "reconcile": "compare what was billed for a month with the ledger (default: the last closed month)",
    "purge": "do once what the sweep timer does: restart what stalled, remove what is past its time",
}
"""Each command and what it does."""

READING = ("run", "backfill")
"""Those that ask the service, which keeps its days for so long."""

_EXITS = (
    "exit codes: 0 all done and reconciled; 2 done, but some days are not reconciled, some slices failed, or "
    "some files or bills differ (named); 1 bad settings or a fault. Settings come from the environment "
    "(see README.md)."
)

_TIME_HELP = "2026-05-20 (midnight), 2026-05-20T04:00 (UTC) or 2026-05-20T06:00+02:00"


class UsageError(Exception):
    """The command line asks for something that cannot be done; the message says what can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One command with its options. `days` are the first and the last day, both included, if they were given.

    `at` is the time that `as-of` asks for, `times` the two that `changes` compares, the earlier first; in UTC.
    """

    command: str
    json: bool = False
    verbose: bool = False
    days: tuple[date, date] | None = None
    at: datetime | None = None
    times: tuple[datetime, datetime] | None = None
    scopes: tuple[str, ...] = ()
    accept_vanished: bool = False
    run: str | None = None
    month: Period | None = None


class _Parser(argparse.ArgumentParser):
    """Raises where argparse would print and exit with 2, which here means that days are not reconciled."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (`{self.prog} --help` tells more)")


def parse(argv: Sequence[str], today: date) -> Asked:
    """Read the arguments that follow `python -m shared`; `today` (UTC) is the last day that can be asked for.

    Raises:
        UsageError: an unknown command or option, half a range, a range that is reversed or in the future.
        SystemExit: help was asked for and printed.
    """
    parser = _parser()
    said = parser.parse_args(argv)
    if said.command is None:
        parser.error(f"name a command: {', '.join(COMMANDS)}")
    options = vars(said)
    days = _days(options.get("first"), options.get("last"), today)
    if days is not None and said.command in READING:
        _demand_kept(days[0], today)
    return Asked(
        command=said.command,
        json=said.json,
        verbose=said.verbose,
        days=days,
        at=options.get("at"),
        times=_times(options.get("earlier"), options.get("later")),
        scopes=tuple(options.get("scopes") or ()),
        accept_vanished=options.get("accept_vanished", False),
        run=options.get("run"),
        month=_month(options.get("month"), today),
    )


def _parser() -> _Parser:
    parser = _Parser(
        prog="python -m shared",
        description="Cost Ledger: Azure cost, once, exact and proven.",
        epilog=_EXITS,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    made = {name: _command(commands, name) for name in COMMANDS}
    for name in ("run", "days", "as-of", "verify", "backfill"):
        _add_range(made[name], required=name == "backfill")
    for name in READING:
        made[name].add_argument(
            "--scope",
            dest="scopes",
            nargs="+",
            action="extend",
            metavar="S",
            help="read only these of the settings' scopes",
        )
    made["run"].add_argument(
        "--accept-vanished", action="store_true", help="publish days whose cost is gone or more than halved"
    )
    made["as-of"].add_argument("at", type=_instant, metavar="TIME", help=_TIME_HELP)
    for name, dest in (("--from", "earlier"), ("--to", "later")):
        help_ = f"the {dest} time: {_TIME_HELP}"
        made["changes"].add_argument(
            name, dest=dest, type=_instant, required=True, metavar="TIME", help=help_
        )
    made["reconcile"].add_argument(
        "--month", metavar="YYYY-MM", help="the month in which billing periods end"
    )
    made["status"].add_argument("run", nargs="?", metavar="RUN", help="a run's id")
    return parser


def _command(commands: "argparse._SubParsersAction[_Parser]", name: str) -> _Parser:
    parser = commands.add_parser(
        name, help=COMMANDS[name], description=COMMANDS[name], epilog=_EXITS, allow_abbrev=False
    )
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")
    parser.add_argument(
        "--verbose", action="store_true", help="write the events to stderr, one JSON line each"
    )
    return parser


def _add_range(parser: _Parser, *, required: bool) -> None:
    for name, dest in (("--from", "first"), ("--to", "last")):
        parser.add_argument(
            name,
            dest=dest,
            type=_day,
            required=required,
            metavar="YYYY-MM-DD",
            help=f"the {dest} day, included",
        )


def _day(text: str) -> date:
    try:
        return parse_day(text)
    except ValueError as error:
        # argparse shows the message of this error alone.
        raise argparse.ArgumentTypeError(str(error)) from error


def _instant(text: str) -> datetime:
    try:
        return parse_instant(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _times(earlier: datetime | None, later: datetime | None) -> tuple[datetime, datetime] | None:
    if earlier is None or later is None:
        return None
    if later <= earlier:
        said = f"--to {instant_text(later)} is not after --from {instant_text(earlier)}"
        raise UsageError(f"{said}: give the earlier time first")
    return earlier, later


def _month(text: str | None, today: date) -> Period | None:
    try:
        return None if text is None else parse_month(text, today)
    except ValueError as error:
        raise UsageError(f"--month {error}") from error


def _days(first: date | None, last: date | None, today: date) -> tuple[date, date] | None:
    if first is None and last is None:
        return None
    if first is None or last is None:
        given, absent = ("--from", "--to") if last is None else ("--to", "--from")
        raise UsageError(f"{given} needs {absent} beside it: give both, or neither for the look-back")
    try:
        check_range(first, last, today)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return first, last


def _demand_kept(first: date, today: date) -> None:
    try:
        check_kept(first, today)
    except ValueError as error:
        raise UsageError(str(error)) from error
