"""Where `func` is on the PATH the demo runs the functions under it: here a stand-in with its admin routes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from infra.local.demo import core_tools as module
from infra.local.demo.core_tools import CoreToolsError, core_tools
from infra.local.host.settings import read_host_json

ROOT = Path(__file__).parents[2]
SMALL = ("--subscriptions", "2", "--days", "3", "--rows-per-day", "40", "--page-size", "50")

STAND_IN = f"""#!{sys.executable}
import asyncio, json, os, subprocess, sys
from pathlib import Path

sys.path.append({str(ROOT)!r})
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from infra.local.host import FunctionHost, load_app
from infra.local.host.settings import read_host_json

here, asked, firing = Path.cwd(), [], []
worker = subprocess.Popen([sys.executable, "-c", (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
)])


def record():
    Path(os.environ["RECORD"]).write_text(json.dumps({{
        "argv": sys.argv[1:], "environ": dict(os.environ), "files": sorted(os.listdir(here)), "asked": asked,
        "pid": os.getpid(), "worker": worker.pid,
    }}))


async def status(request):
    asked.append("status")
    return JSONResponse({{"state": "Running" if len(asked) > 2 else "Initializing"}})


async def main():
    host = FunctionHost(load_app(here, "function_app"), os.environ, read_host_json(here))

    async def fire(request):
        name = request.path_params["name"]
        if name not in host.counts:
            return Response(status_code=404)
        asked.append([name, await request.json()])
        record()
        firing.append(asyncio.create_task(host.fire(name)))
        return Response(status_code=202)

    routes = [Route("/admin/host/status", status), Route("/admin/functions/{{name}}", fire, methods=["POST"])]
    port = int(sys.argv[sys.argv.index("--port") + 1])
    record()
    async with host:
        await uvicorn.Server(uvicorn.Config(Starlette(routes=routes), port=port, log_level="warning")).serve()


asyncio.run(main())
"""


def installed(folder: Path, script: str) -> str:
    """Install a `func` and give a PATH on which it is found first."""
    folder.mkdir()
    func = folder / "func"
    func.write_text(script)
    func.chmod(0o755)
    return os.pathsep.join([str(folder), os.environ["PATH"]])


def start_demo(path: str, *options: str, **environ: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "infra.local", "demo", *SMALL, *options],
        cwd=ROOT,
        env={**os.environ, **environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that ended and that nobody has waited for does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    # Where there is no /proc, whoever ended is taken off the list by its parent soon enough.
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


def test_the_demo_is_proven_through_func_start(tmp_path: Path) -> None:
    """GIVEN a `func` WHEN the demo runs THEN it serves the functions, on the demo's settings alone, and is gone."""
    path, record = installed(tmp_path / "bin", STAND_IN), tmp_path / "record.json"

    with start_demo(
        path, "--folder", str(tmp_path), RECORD=str(record), COST_METRICS="real", AzureWebJobsX="real"
    ) as demo:
        out, err = demo.communicate()

    assert demo.returncode == 0, out + err
    assert "Every total is equal to the last digit." in out
    assert err == ""
    said = json.loads(record.read_text())
    assert said["argv"][:2] == ["start", "--port"]
    assert [one for one in said["asked"] if one != "status"] == [["seed", {"input": ""}]]
    assert said["asked"].count("status") == 3  # it was not fired before it was running
    environ = said["environ"]
    assert "COST_METRICS" not in environ
    assert "AzureWebJobsX" not in environ
    assert environ["FUNCTIONS_WORKER_RUNTIME"] == "python"
    assert environ["AzureWebJobsStorage"] == environ["COST_STORAGE"]
    assert environ["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)
    assert {"function_app.py", "functions", "host.json", "shared"} == set(said["files"]) - {"__pycache__"}
    assert not is_alive(said["pid"])
    assert not is_alive(said["worker"])


def test_a_demo_that_is_ended_leaves_no_func_behind(tmp_path: Path) -> None:
    path, record = installed(tmp_path / "bin", STAND_IN), tmp_path / "record.json"

    with start_demo(path, "--folder", str(tmp_path), RECORD=str(record)) as demo:
        deadline = time.monotonic() + 60
        while not (record.is_file() and "seed" in record.read_text()) and time.monotonic() < deadline:
            time.sleep(0.1)
        demo.send_signal(signal.SIGTERM)
        _, err = demo.communicate()

    assert demo.returncode == 130
    assert err == "demo: stopped\n"
    said = json.loads(record.read_text())
    assert not is_alive(said["pid"])
    assert not is_alive(said["worker"])


def test_a_func_that_ends_at_once_is_quoted(tmp_path: Path) -> None:
    path = installed(tmp_path / "bin", "#!/bin/sh\nseq 50\necho no bundle >&2\nexit 3\n")

    with start_demo(path, "--folder", str(tmp_path)) as demo:
        _, err = demo.communicate()

    assert demo.returncode == 1
    first, *lines = err.splitlines()
    assert first == "demo: `func start` ended with code 3; it said last:"
    assert lines == [*(str(number) for number in range(32, 51)), "no bundle"]


async def test_a_func_that_never_serves_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "START_SECONDS", 0.5)
    installed(tmp_path / "bin", "#!/bin/sh\necho loading\nsleep 600\n")

    with pytest.raises(CoreToolsError, match=r"not there after 0\.5 s; it said last:\nloading$"):
        async with core_tools(str(tmp_path / "bin" / "func"), ROOT, os.environ, read_host_json(ROOT)):
            pass
