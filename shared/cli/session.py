"""One command at work: the settings checked, the engine opened, signals and faults turned into their ends."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

import httpx

from shared.cli import logs
from shared.cli.arguments import Asked, UsageError
from shared.cli.as_of import as_of
from shared.cli.backfill import backfill
from shared.cli.changes import changes
from shared.cli.output import FAULT, SIGNALLED, fault
from shared.cli.published import published
from shared.cli.purge import purge
from shared.cli.reconcile import reconcile
from shared.cli.run import run
from shared.cli.status import status
from shared.cli.verify import verify
from shared.connection import ConnectionProblems
from shared.engine import Engine, open_engine, read_settings
from shared.messages import BadMessage
from shared.scope_list import scopes_named
from shared.scopes import Scope
from shared.settings import Settings, SettingsError
from shared.storage.errors import StorageError
from shared.versions import UnreadableError

Command = Callable[[Engine, Asked, tuple[Scope, ...]], Awaitable[int]]
COMMANDS: Mapping[str, Command] = {
    "run": run,
    "backfill": backfill,
    "status": status,
    "days": published,
    "as-of": as_of,
    "changes": changes,
    "verify": verify,
    "reconcile": reconcile,
    "purge": purge,
}

FAULTS = (
    SettingsError,
    ConnectionProblems,
    StorageError,
    httpx.HTTPError,
    OSError,
    BadMessage,
    UnreadableError,
)
"""What may well happen and is told in one line; anything else is a defect and shows where it is."""

GO_ON = {
    "run": (
        "the run stays open and its messages are back after `COST_LEASE_SECONDS`; "
        "`run` again works them beside a new reading, `status` shows what is open"
    ),
    "reconcile": "what was told and seeded so far stands; `reconcile` again goes on",
    "backfill": "`status` shows whether the run was planned; `backfill` again is safe",
}


class _TerminatedError(Exception):
    """SIGTERM came."""


def work(asked: Asked, environ: Mapping[str, str]) -> int:
    """Run the command and give its exit code; what can be foreseen to go wrong is one line on stderr.

    Raises:
        UsageError: a scope is asked for that the settings don't have; nothing was called.
    """
    logs.to_stderr(wanted=asked.verbose)
    try:
        settings, _ = read_settings(environ)
        code = asyncio.run(_opened(asked, environ, _chosen(settings, asked.scopes)))
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _stopped(asked, signal.SIGINT)
    except _TerminatedError:
        return _stopped(asked, signal.SIGTERM)
    except BrokenPipeError:
        # The reader of our output has left; Python would complain once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAULT
    except FAULTS as error:
        return fault(str(error) or type(error).__name__)
    return code


def _chosen(settings: Settings, paths: tuple[str, ...]) -> tuple[Scope, ...]:
    try:
        return scopes_named(settings.scopes, paths)
    except ValueError as error:
        raise UsageError(f"--scope {error}") from error


async def _opened(asked: Asked, environ: Mapping[str, str], scopes: tuple[Scope, ...]) -> int:
    task = asyncio.current_task()
    terminated = False

    def terminate() -> None:
        nonlocal terminated
        terminated = True
        if task is not None:
            task.cancel()

    # asyncio.run turns SIGINT into a cancellation by itself. Windows has no SIGTERM to handle.
    with suppress(NotImplementedError):
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminate)
    try:
        async with open_engine(environ) as engine:
            return await COMMANDS[asked.command](engine, asked, scopes)
    except asyncio.CancelledError:
        if terminated:
            raise _TerminatedError from None
        raise


def _stopped(asked: Asked, number: signal.Signals) -> int:
    how = GO_ON.get(asked.command)
    print(f"stopped by {number.name}" + (f": {how}" if how else ""), file=sys.stderr, flush=True)
    return SIGNALLED + number
