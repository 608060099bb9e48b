"""`python -m shared` as a user starts it: processes on one storage, each behind a tap, that can be killed.

A tap lies between one process and the storage emulator. It passes on the bytes as they come and notes the line
of each request, so a test knows what a process was at when it died, and can kill it in the midst of something.
"""

import asyncio
import json
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import unquote

ROOT = Path(__file__).parents[1]
READS = ("GET", "HEAD")
_CHUNK = 1 << 16
_ENDPOINT = re.compile(r"(Blob|Queue|Table)Endpoint=http://127\.0\.0\.1:(\d+)")
_REQUEST = re.compile(rb"([A-Z]+) /\w+/?([^ ?]*)[^ ]* HTTP/1\.1\r\n")


@dataclass(frozen=True, slots=True)
class Request:
    """A request that reached the storage: when (monotonic seconds), and its `service method path`."""

    at: float
    name: str

    @property
    def target(self) -> str:
        """What it was about: the table, the queue, or the container with its first folder."""
        service, _, path = self.name.split(" ", 2)
        return f"{service} {'/'.join(path.split('(')[0].split('/')[: 2 if service == 'blob' else 1])}"


@dataclass
class Tap:
    """The requests of one process to its storage, in the order in which they came."""

    connection: str = ""
    requests: list[Request] = field(default_factory=list)
    _watched: dict[str, asyncio.Event] = field(default_factory=dict)

    async def seen(self, named: str = "") -> None:
        """Wait for a request whose name begins so."""
        if not any(request.name.startswith(named) for request in self.requests):
            await self._watched.setdefault(named, asyncio.Event()).wait()

    @property
    def last_write(self) -> str:
        """The target of the last request that was no reading, empty before the first."""
        writes = [one.target for one in self.requests if one.name.split(" ")[1] not in READS]
        return writes[-1] if writes else ""

    def span(self, named: str) -> float:
        """Give the seconds between the first and the last request whose names begin so."""
        times = [request.at for request in self.requests if request.name.startswith(named)]
        return times[-1] - times[0]

    def note(self, service: str, data: bytes) -> None:
        """Note the request that these bytes begin, if they begin one."""
        found = _REQUEST.match(data)
        if found is None:
            return
        name = f"{service} {found[1].decode()} {unquote(found[2].decode())}"
        self.requests.append(Request(time.monotonic(), name))
        for named, event in self._watched.items():
            if name.startswith(named):
                event.set()


@asynccontextmanager
async def tapped(connection: str) -> AsyncIterator[Tap]:
    """Lay a tap before an emulator; its `connection` is the emulator's, with the tap's own ports."""
    tap = Tap()
    async with AsyncExitStack() as stack:
        ports = {}
        for service, port in _ENDPOINT.findall(connection):
            server = await asyncio.start_server(_passing(tap, service.lower(), int(port)), "127.0.0.1", 0)
            ports[service] = (await stack.enter_async_context(server)).sockets[0].getsockname()[1]
        tap.connection = _ENDPOINT.sub(
            lambda found: f"{found[1]}Endpoint=http://127.0.0.1:{ports[found[1]]}", connection
        )
        yield tap


def _passing(tap: Tap, service: str, port: int) -> Any:  # noqa: ANN401 - what asyncio calls for a connection
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, emulator = await asyncio.open_connection("127.0.0.1", port)
        ways = [
            asyncio.create_task(_pass_on(reader, emulator, tap, service)),
            asyncio.create_task(_pass_on(answers, writer)),
        ]
        # The end of either side is the end of both, as on the wire.
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for end in (emulator, writer):
            end.close()
        await asyncio.wait(ways)

    return connected


async def _pass_on(
    source: asyncio.StreamReader, sink: asyncio.StreamWriter, tap: Tap | None = None, service: str = ""
) -> None:
    with suppress(ConnectionError):
        while data := await source.read(_CHUNK):
            if tap is not None:
                tap.note(service, data)
            sink.write(data)
            await sink.drain()


@dataclass(frozen=True)
class Program:
    """One process of `python -m shared`, running or ended. Its output is in files, which bear a SIGKILL."""

    process: asyncio.subprocess.Process
    tap: Tap
    out: Path
    err: Path

    async def killed(self, after: float, *, since: str = "") -> bool:
        """Kill it `after` seconds from its first request of that name, and tell whether it was there to be killed."""
        dead = asyncio.create_task(self.process.wait())
        seen = asyncio.create_task(self.tap.seen(since))
        await asyncio.wait({dead, seen}, return_when=asyncio.FIRST_COMPLETED)
        seen.cancel()
        await asyncio.wait({dead}, timeout=after)
        if not dead.done():
            self.process.send_signal(signal.SIGKILL)
        return await dead == -signal.SIGKILL

    def told(self) -> Any:  # noqa: ANN401 - JSON is anything
        """Read the one JSON value that it printed."""
        return json.loads(self.out.read_text())

    def __str__(self) -> str:
        said = self.err.read_text()[-2000:]
        return f"exit {self.process.returncode}, last write {self.tap.last_write!r}, stderr ends:\n{said}"


@dataclass(frozen=True)
class Programs:
    """Starts processes on one storage. `environ` is all of their environment, `folder` keeps their output."""

    environ: Mapping[str, str]
    folder: Path
    _numbers: "count[int]" = field(default_factory=count)

    @asynccontextmanager
    async def started(self, *argv: str) -> AsyncIterator[Program]:
        """Start a process behind a tap of its own; it does not outlive the block."""
        number = next(self._numbers)
        out, err = self.folder / f"{number}.out", self.folder / f"{number}.err"
        async with tapped(self.environ["COST_STORAGE"]) as tap:
            with out.open("wb") as stdout, err.open("wb") as stderr:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    *("-m", "shared", *argv),
                    cwd=ROOT,
                    env={**self.environ, "COST_STORAGE": tap.connection},
                    stdout=stdout,
                    stderr=stderr,
                )
            try:
                yield Program(process, tap, out, err)
            finally:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()

    async def finished(self, *argv: str) -> Program:
        """Start a process and wait for its end."""
        async with self.started(*argv) as program:
            await program.process.wait()
        return program
