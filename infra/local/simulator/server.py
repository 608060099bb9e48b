"""Serve a simulator over real HTTP on a loopback port, in a thread or as a program."""

import argparse
import json
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import uvicorn

from infra.local.simulator.app import make_app
from infra.local.simulator.control import parse_faults
from infra.local.simulator.faults import Faults
from infra.local.simulator.simulator import DEFAULT_TOKEN, Simulator
from infra.local.simulator.tenant import FIRST_DAY, Tenant

_HOST = "127.0.0.1"
_START_SECONDS = 20.0
_STOP_SECONDS = 10.0


class StartError(RuntimeError):
    """The server did not start in time."""


@dataclass(frozen=True, slots=True)
class Running:
    """A simulator that is being served, and where."""

    url: str
    simulator: Simulator

    def settings(self, scopes: Sequence[str] | None = None) -> dict[str, str]:
        """Give the environment in which Cost Ledger reads this simulator (default: all subscriptions)."""
        listed = self.simulator.tenant.subscription_scopes if scopes is None else scopes
        return {
            "ARM_ENDPOINT": self.url,
            "ARM_TOKEN": self.simulator.token,
            "COST_SCOPES": json.dumps(list(listed)),
        }


@contextmanager
def serve(
    tenant: Tenant, faults: Faults | None = None, *, token: str = DEFAULT_TOKEN, port: int = 0
) -> Iterator[Running]:
    """Serve a tenant from a thread of this process until the block ends; port 0 takes a free one.

    Raises:
        StartError: The server did not start.
        OSError: The port is taken.
    """
    simulator = Simulator(tenant, faults, token)
    with _listening(port) as listener:
        server = _server(simulator)
        thread = threading.Thread(
            target=server.run, kwargs={"sockets": [listener]}, name="simulator", daemon=True
        )
        thread.start()
        _wait_until_started(server, thread)
        try:
            yield Running(_url(listener), simulator)
        finally:
            server.should_exit = True
            thread.join(_STOP_SECONDS)


def run(port: int, tenant: Tenant, faults: Faults | None = None, *, token: str = DEFAULT_TOKEN) -> None:
    """Serve a tenant from this thread until interrupted; prints the address and the settings to export.

    Raises:
        OSError: The port is taken.
    """
    with _listening(port) as listener:
        running = Running(_url(listener), Simulator(tenant, faults, token))
        print(
            f"Cost Management simulator: {running.url} (truth, faults and log under {running.url}/_simulator)"
        )
        for name, value in running.settings().items():
            print(f"export {name}='{value}'", flush=True)
        with suppress(KeyboardInterrupt):  # raised once more after a clean stop
            _server(running.simulator).run(sockets=[listener])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program `simulator`; gives its exit code."""
    parser = argparse.ArgumentParser(
        prog="simulator", description="a synthetic tenant behind the Cost Management API"
    )
    parser.add_argument("--port", type=int, default=0, help="default: a free one")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--subscriptions", type=int, default=12)
    parser.add_argument("--days", type=int, default=31)
    parser.add_argument("--rows-per-day", type=int, default=3000, help="of all subscriptions together")
    parser.add_argument("--first-day", type=date.fromisoformat, default=FIRST_DAY, help="YYYY-MM-DD")
    parser.add_argument("--data-dir", type=Path, help="a folder of real billing samples to mix in")
    parser.add_argument("--faults", type=_faults, help="JSON, fields as in POST /_simulator/faults")
    parser.add_argument("--token", default=DEFAULT_TOKEN)
    said = parser.parse_args(argv)
    tenant = Tenant(
        said.seed,
        subscriptions=said.subscriptions,
        days=said.days,
        rows_per_day=said.rows_per_day,
        first_day=said.first_day,
        data_dir=said.data_dir,
    )
    run(said.port, tenant, said.faults, token=said.token)
    return 0


def _faults(text: str) -> Faults:
    try:
        return parse_faults(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _listening(port: int) -> socket.socket:
    # asyncio turns Nagle's delay (40 ms an answer) off only where the protocol is named.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((_HOST, port))
        listener.listen(512)
    except OSError:
        listener.close()
        raise
    return listener


def _url(listener: socket.socket) -> str:
    return f"http://{_HOST}:{listener.getsockname()[1]}"


def _server(simulator: Simulator) -> uvicorn.Server:
    # Silent: a connection cut on purpose would be logged as an error of the application.
    return uvicorn.Server(
        uvicorn.Config(
            make_app(simulator),
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            timeout_keep_alive=60,
            timeout_graceful_shutdown=1,
        )
    )


def _wait_until_started(server: uvicorn.Server, thread: threading.Thread) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            server.should_exit = True
            raise StartError(f"the simulator did not start within {_START_SECONDS:g} s")
        time.sleep(0.005)
