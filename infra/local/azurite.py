"""The storage emulator, Azurite, as a child process that never outlives its parent.

The ports are the operating system's choice: Azurite is told to listen on port 0 and prints what it got. So no
other process can take a port between our choosing it and Azurite binding it, and an emulator that already
sits on 10000 to 10002 is never mistaken for ours.
"""

import argparse
import contextlib
import http.client
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ACCOUNT = "devstoreaccount1"
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The emulator's public, well-known account and key."""

SCRIPT = Path(__file__).parent / "node_modules" / "azurite" / "dist" / "src" / "azurite.js"
START_SECONDS = 30.0
STOP_SECONDS = 5.0
POLL_SECONDS = 0.02

# The emulator holds the reading end of a pipe whose other end only this process has. When this process is
# gone, however it went, the pipe ends and the emulator stops; unlike PDEATHSIG this also works outside Linux
# and does not depend on the thread that started it. unref: the pipe must not keep a stopped emulator alive.
_STOP_WITH_PARENT = (
    'data:text/javascript,process.stdin.on("end",()=>process.kill(process.pid,"SIGTERM")).resume().unref()'
)
_LISTENING = re.compile(
    r"^Azurite (Blob|Queue|Table) service is successfully listening at .*:(\d+)$", re.MULTILINE
)


class AzuriteError(Exception):
    """The emulator could not be started; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Azurite:
    """A running emulator: one account, three services on loopback ports."""

    blob_port: int
    queue_port: int
    table_port: int

    @property
    def connection_string(self) -> str:
        """What `AzureWebJobsStorage` or `COST_STORAGE` is set to."""
        endpoints = {"Blob": self.blob_port, "Queue": self.queue_port, "Table": self.table_port}
        return f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={ACCOUNT_KEY};" + "".join(
            f"{service}Endpoint=http://127.0.0.1:{port}/{ACCOUNT};" for service, port in endpoints.items()
        )


@contextmanager
def start(location: Path | None = None) -> Iterator[Azurite]:
    """Run an emulator for the length of the block, in memory or with its data in `location`.

    It is ready when the block begins: all three services have answered a request.

    Raises:
        AzuriteError: node or the emulator's package is absent, or it did not come up within 30 seconds.
    """
    command = _command(location)
    with tempfile.TemporaryDirectory(prefix="azurite-") as scratch:
        output = Path(scratch) / "output.log"
        with _running(command, Path(scratch), output) as process:
            yield _ready(process, output)


def main(argv: Sequence[str] | None = None) -> int:
    """Run an emulator until Ctrl-C or SIGTERM, printing the line that exports its connection string."""
    parser = argparse.ArgumentParser(
        prog="python -m infra.local azurite", description="The storage emulator."
    )
    parser.add_argument("--location", type=Path, help="keep the data in this folder (default: in memory)")
    options = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with start(options.location) as azurite:
            print(f"export AzureWebJobsStorage='{azurite.connection_string}'", flush=True)
            print("running until Ctrl-C", file=sys.stderr, flush=True)
            signal.pause()
    except AzuriteError as error:
        print(f"azurite: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    return 0


def _command(location: Path | None) -> list[str]:
    node = shutil.which("node")
    if node is None:
        raise AzuriteError(
            "the storage emulator needs `node` 18.18 or later on the PATH; then run `make setup`"
        )
    if not SCRIPT.is_file():
        raise AzuriteError("the storage emulator is not installed; run `make setup`")
    persistence = ["--inMemoryPersistence"] if location is None else ["--location", str(location.resolve())]
    ports = ["--blobPort", "0", "--queuePort", "0", "--tablePort", "0"]
    options = ["--silent", "--skipApiVersionCheck", "--disableTelemetry"]
    return [node, "--import", _STOP_WITH_PARENT, str(SCRIPT), *ports, *options, *persistence]


@contextmanager
def _running(command: list[str], scratch: Path, output: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Hold the process; it has a group of its own so that Ctrl-C reaches only us, who stop it in order."""
    with output.open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=scratch,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.stdin is not None:
        process.stdin.close()


def _ready(process: subprocess.Popen[bytes], output: Path) -> Azurite:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        ports = {
            service: int(port) for service, port in _LISTENING.findall(output.read_text("utf-8", "replace"))
        }
        if len(ports) == 3 and all(_answers(port) for port in ports.values()):  # noqa: PLR2004 - blob, queue, table
            return Azurite(ports["Blob"], ports["Queue"], ports["Table"])
        time.sleep(POLL_SECONDS)
    ended = (
        f"ended with code {process.returncode}"
        if process.returncode is not None
        else "did not answer in time"
    )
    raise AzuriteError(
        f"the storage emulator {ended}; it said:\n{output.read_text('utf-8', 'replace').strip() or 'nothing'}"
    )


def _answers(port: int) -> bool:
    """Tell whether a service speaks HTTP; an unsigned request is refused, and a refusal is an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/")
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True
