"""The functions under Azure Functions Core Tools: `func start` as a child process, asked by its admin routes.

Written from the documentation and proven against a stand-in of the same name and routes. No real Core Tools
were at hand: they have not been run from here.
https://learn.microsoft.com/azure/azure-functions/functions-manually-run-non-http
"""

import asyncio
import contextlib
import inspect
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx

from infra.local.start import core_tools_environment

START_SECONDS = 180.0
"""A first start loads the extension bundle that host.json names."""

STOP_SECONDS = 10.0
_DEPLOYED = ("functions", "shared")
_LAST_LINES = 20


class CoreToolsError(Exception):
    """`func start` did not come up, ended, or refused; the message has the last lines of its output."""


class CoreTools:
    """A running `func start`, with the operations of the laptop's own host that the demo needs."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path, client: httpx.AsyncClient) -> None:
        self._process = process
        self._output = output
        self._client = client

    async def ready(self) -> None:
        """Wait until the host runs the functions.

        Raises:
            CoreToolsError: it ended, or did not run them within three minutes.
        """
        try:
            await self.run_until(self._is_running, limit_seconds=START_SECONDS)
        except TimeoutError as error:
            raise CoreToolsError(f"`func start` does not run the functions: {error}") from error

    async def fire(self, name: str) -> bool:
        """Have a timer's function run once; True says that it was begun, its end is not waited for.

        Raises:
            CoreToolsError: the host does not know it, or does not answer.
        """
        try:
            answer = await self._client.post(f"/admin/functions/{name}", json={"input": ""})
        except httpx.HTTPError as error:
            raise CoreToolsError(self._with_output(f"`func start` does not answer: {error!r}")) from error
        if answer.status_code != httpx.codes.ACCEPTED:
            raise CoreToolsError(
                self._with_output(f"`func start` answers {answer.status_code} when `{name}` is fired")
            )
        return True

    async def run_until(
        self,
        predicate: Callable[[], bool | Awaitable[bool]],
        *,
        limit_seconds: float = 300.0,
        every: float = 0.2,
    ) -> None:
        """Wait until the predicate holds; it is asked every `every` seconds.

        Raises:
            TimeoutError: it did not hold within `limit_seconds`.
            CoreToolsError: `func start` ended.
        """
        deadline = time.monotonic() + limit_seconds
        while True:
            held = predicate()
            if await held if inspect.isawaitable(held) else held:
                return
            if (code := self._process.poll()) is not None:
                raise CoreToolsError(self._with_output(f"`func start` ended with code {code}"))
            if time.monotonic() > deadline:
                raise TimeoutError(self._with_output(f"not there after {limit_seconds:g} s"))
            await asyncio.sleep(every)

    async def _is_running(self) -> bool:
        try:
            answer = await self._client.get("/admin/host/status")
            return answer.status_code == httpx.codes.OK and answer.json()["state"] == "Running"
        except (httpx.HTTPError, ValueError, KeyError):
            return False  # not listening yet, or listening and not yet the host

    def _with_output(self, what: str) -> str:
        lines = self._output.read_text("utf-8", "replace").splitlines()[-_LAST_LINES:]
        return "\n".join([f"{what}; it said last:", *(lines or ["nothing"])])


@asynccontextmanager
async def core_tools(
    func: str, app: Path, environ: Mapping[str, str], host_json: Mapping[str, Any]
) -> AsyncIterator[CoreTools]:
    """Run `func start` for the length of the block; the functions are served when it begins.

    Args:
        func: the program.
        app: the folder of the function app.
        environ: every setting of the app; none is read from a local.settings.json.
        host_json: what host.json says for this run.

    Raises:
        CoreToolsError: it ended, or did not run the functions within three minutes.
    """
    with tempfile.TemporaryDirectory(prefix="core-tools-") as scratch:
        folder, output = Path(scratch) / "app", Path(scratch) / "output.log"
        _copy(app, folder, host_json)
        port = _free_port()
        command = [func, "start", "--port", str(port)]
        with _running(command, folder, core_tools_environment(environ), output) as process:
            # No proxy of the environment stands between two processes of one machine.
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
                host = CoreTools(process, output, client)
                await host.ready()
                yield host


def _copy(app: Path, folder: Path, host_json: Mapping[str, Any]) -> None:
    """Copy what is deployed, and no local.settings.json.

    Core Tools set what such a file says beside, and in place of, what is empty in the environment: a real
    account's settings would come back in.
    """
    folder.mkdir()
    for name in _DEPLOYED:
        shutil.copytree(app / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(app / "function_app.py", folder)
    (folder / "host.json").write_text(json.dumps(host_json), "utf-8")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def _running(
    command: list[str], folder: Path, environ: Mapping[str, str], output: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Hold the process and those it starts (the host, the Python workers), as a group of their own."""
    with output.open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask the whole group to end, then see to it that nothing of it is left."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
