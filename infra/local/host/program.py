"""`python -m infra.local host`: serve the project's function app until Ctrl-C."""

import argparse
import asyncio
import contextlib
import importlib
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import azure.functions as func
import uvicorn
from starlette.applications import Starlette

from infra.local.host.errors import HostError
from infra.local.host.function_host import FunctionHost
from infra.local.host.settings import local_values, read_host_json

_HTTP_PORT = 7071  # that of `func start`


def main(argv: Sequence[str] | None = None) -> int:
    """Serve the app of a folder; 1 and one line on stderr where it cannot be served."""
    parser = argparse.ArgumentParser(prog="python -m infra.local host", description=__doc__)
    parser.add_argument("--app", type=Path, default=Path.cwd(), help="the folder of host.json and the module")
    parser.add_argument("--module", default="function_app", help="the module whose `app` is served")
    parser.add_argument(
        "--port", type=int, default=_HTTP_PORT, help="for http functions, where there are any"
    )
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("azure").setLevel(logging.WARNING)
    try:
        asyncio.run(_serve(options.app.resolve(), options.module, options.port))
    except HostError as error:
        print(f"host: {error}", file=sys.stderr)
        return 1
    return 0


async def _serve(folder: Path, module: str, port: int) -> None:
    for name, value in local_values(folder).items():
        os.environ.setdefault(name, value)  # a variable that is set wins, as in `func start`
    host = FunctionHost(load_app(folder, module), os.environ, read_host_json(folder))
    stop = _stop_signal()
    async with host, _served(host.http_app, port):
        for function in host.functions:
            print(f"{function.name:20} {function.trigger}", flush=True)
        await host.run_until(stop.is_set, limit_seconds=float("inf"))


def load_app(folder: Path, module: str) -> func.FunctionApp:
    """Import a module of the folder and give its `app`.

    Raises:
        HostError: there is no such module, or no FunctionApp of that name in it.
    """
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        loaded = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise HostError(f"there is no module `{module}` in `{folder.name}`") from error
    app = getattr(loaded, "app", None)
    if not isinstance(app, func.FunctionApp):
        raise HostError(f"the module `{module}` has no `app` that is an azure.functions.FunctionApp")
    return app


def _stop_signal() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C raises KeyboardInterrupt there
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


class _Server(uvicorn.Server):
    """A server that leaves the signals to the host, which ends the queues in order as well."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def _served(app: Starlette | None, port: int) -> AsyncIterator[None]:
    """Serve the http functions on a loopback port, where there are any."""
    if app is None:
        yield
        return
    server = _Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning"))
    serving = asyncio.create_task(server.serve())
    try:
        yield
    finally:
        server.should_exit = True
        await serving
