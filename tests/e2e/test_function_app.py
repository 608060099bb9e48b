"""The function app as a host sees it: what it declares, and that Microsoft's own runtime can run it."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from infra.local.azurite import Azurite
from infra.local.simulator import Running, Tenant, serve
from shared.engine import open_engine
from shared.messages import DayItem, PageItem, RunItem
from shared.plan.seed import Order, seed
from shared.read.ending import first_page
from shared.runs import RunStatus

ROOT = Path(__file__).parents[2]
DRIVER = ROOT.parent / "shared" / "tools" / "drive_runtime.py"
VENV = ROOT / ".venv313"
QUEUES = {"fetch_page": "cost-pages", "orchestrate": "cost-runs", "publish_day": "cost-days"}
ROUTES = {"backfill": "backfill"}
TIMERS = {"seed": "0 0 */4 * * *", "sweep": "0 */10 * * * *", "reconcile": "0 0 6 6 * *"}

DECLARED = """
import json, sys

def outside(event, arguments):
    if event in ("socket.connect", "subprocess.Popen"):
        raise RuntimeError(f"an import may not call outside: {event}")

sys.addaudithook(outside)
import function_app
functions = function_app.app.get_functions()
print(json.dumps({f.get_function_name(): f.get_dict_repr()["bindings"] for f in functions}, default=str))
"""


def clean_environ(**settings: str) -> dict[str, str]:
    """The environment without what a developer may have exported."""
    ours = ("COST_", "ARM_", "AzureWebJobs")
    return {**{name: value for name, value in os.environ.items() if not name.startswith(ours)}, **settings}


def declared(**settings: str) -> dict[str, list[dict[str, Any]]]:
    done = subprocess.run(
        [sys.executable, "-c", DECLARED],
        cwd=ROOT,
        env=clean_environ(**settings),
        capture_output=True,
        text=True,
        check=True,
    )
    functions: dict[str, list[dict[str, Any]]] = json.loads(done.stdout)
    return functions


def test_importing_the_app_declares_its_functions_and_calls_nothing() -> None:
    """GIVEN no settings at all WHEN the app is imported THEN it declares its triggers with their defaults."""
    functions = declared()

    assert functions.keys() == QUEUES.keys() | TIMERS.keys() | ROUTES.keys()
    for name, queue in QUEUES.items():
        (trigger,) = functions[name]
        assert (trigger["type"], trigger["queueName"]) == ("queueTrigger", queue)
        assert trigger["connection"] == "AzureWebJobsStorage"
    for name, schedule in TIMERS.items():
        (trigger,) = functions[name]
        assert (trigger["type"], trigger["schedule"]) == ("timerTrigger", schedule)
        assert trigger["runOnStartup"] is False
    for name, route in ROUTES.items():
        trigger, answer = functions[name]
        assert (trigger["type"], trigger["route"], answer["type"]) == ("httpTrigger", route, "http")
        assert trigger["authLevel"] == "FUNCTION", "nobody seeds a run without the function's key"


def test_the_declared_bindings_follow_the_settings() -> None:
    """GIVEN schedules and a storage of one's own THEN the triggers name these."""
    functions = declared(
        COST_SEED_SCHEDULE="0 30 5 * * *",
        COST_SWEEP_SCHEDULE="0 */5 * * * *",
        COST_STORAGE__queueServiceUri="https://example.invalid/",
        COST_STORAGE__blobServiceUri="https://example.invalid/",
        COST_STORAGE__tableServiceUri="https://example.invalid/",
    )

    assert functions["seed"][0]["schedule"] == "0 30 5 * * *"
    assert functions["sweep"][0]["schedule"] == "0 */5 * * * *"
    assert {functions[name][0]["connection"] for name in QUEUES} == {"COST_STORAGE"}


def test_core_tools_get_the_emulator_and_the_project_s_python(tmp_path: Path) -> None:
    """GIVEN `func` on the PATH WHEN `make start` runs THEN it starts that, beside the emulator."""
    func = tmp_path / "func"
    func.write_text(
        '#!/bin/sh\necho "$1 $AzureWebJobsStorage"\ncommand -v python\nexit 3\n', encoding="utf-8"
    )
    func.chmod(0o755)

    done = start(tmp_path, COST_SCOPES="/subscriptions/00000000-0000-0000-0000-000000000000")

    assert done.returncode == 3
    said, python = done.stdout.splitlines()
    assert said.startswith("start DefaultEndpointsProtocol=http;AccountName=devstoreaccount1")
    assert Path(python).parent == Path(sys.executable).parent


def test_starting_without_settings_names_what_is_missing(tmp_path: Path) -> None:
    done = start(tmp_path)

    assert done.returncode == 1
    assert "`COST_SCOPES` is not set" in done.stderr
    assert "Traceback" not in done.stderr


def start(folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(folder), os.environ["PATH"]])
    return subprocess.run(
        [sys.executable, "-m", "infra.local", "start", "--location", str(folder / "data")],
        cwd=ROOT,
        env=clean_environ(PATH=path, **settings),
        capture_output=True,
        text=True,
        check=False,
    )


def python_3_13() -> str | None:
    """Find a Python 3.13: on the PATH, or among pyenv's."""
    found = [shutil.which("python3.13")]
    if pyenv := shutil.which("pyenv"):
        root = subprocess.run([pyenv, "root"], capture_output=True, text=True, check=True).stdout.strip()
        found += sorted(str(path) for path in Path(root).glob("versions/3.13*/bin/python"))
    # A shim of pyenv is there for a Python that is not switched on, and fails.
    return next((python for python in found if python is not None and _runs(python)), None)


def _runs(python: str) -> bool:
    asked = [python, "-c", "import sys; sys.exit(sys.version_info[:2] != (3, 13))"]
    return subprocess.run(asked, capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def runtime() -> Path:
    """Give the Python 3.13 of `.venv313`, with what is deployed and Microsoft's runtime; made on first use."""
    if not DRIVER.is_file():
        pytest.skip("the runtime's driver (../shared/tools/drive_runtime.py) is not beside this checkout")
    python, stamp = VENV / "bin" / "python", VENV / ".ready"
    requirements = ROOT / "requirements.txt"
    if not stamp.exists() or stamp.stat().st_mtime < requirements.stat().st_mtime:
        base = python_3_13()
        if base is None:
            pytest.skip("there is no Python 3.13, on which the app is deployed, on this machine")
        subprocess.run([base, "-m", "venv", str(VENV)], check=True)
        quiet = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*quiet, "-r", str(requirements), "azure-functions-runtime", "protobuf"], check=True)
        stamp.touch()
    return python


@pytest.fixture(scope="module")
def provider() -> Iterator[Running]:
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    with serve(Tenant(5, subscriptions=2, days=1, rows_per_day=40, first_day=yesterday)) as running:
        yield running


def drive(runtime: Path, settings: dict[str, str], *invocations: dict[str, Any]) -> dict[str, Any]:
    """Index the app with Microsoft's runtime, then invoke functions in one process, as its host would."""
    lines = "\n".join(json.dumps(invocation) for invocation in invocations)
    environ = [part for name, value in settings.items() for part in ("--env", f"{name}={value}")]
    packages = next((VENV / "lib").glob("python3.13/site-packages"))
    done = subprocess.run(
        [runtime, DRIVER, ROOT, "--json", "--site-packages", packages, *environ, "script", "-"],
        env=clean_environ(),
        input=lines,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


async def test_microsofts_runtime_lists_the_functions_and_runs_each(
    runtime: Path, fresh_azurite: Azurite, provider: Running
) -> None:
    """GIVEN a seeded run WHEN its messages are given to the functions, by Microsoft's runtime on Python 3.13
    THEN the day is published, the run is complete, and the timers run as well.
    """
    day = provider.simulator.tenant.days[0]
    settings = {
        **provider.settings(),
        "AzureWebJobsStorage": fresh_azurite.connection_string,
        "COST_LOOKBACK_DAYS": "2",
        "COST_QUOTA_TENANT": "1000/1s",
        "COST_QUOTA_SCOPE": "1000/1s",
    }
    async with open_engine(settings) as engine:
        run = await seed(engine, Order(run="a-run", kind="run", first=day, last=day))
        pages = [first_page(piece) for piece in await engine.runs.slices(run)]

        asked = {"from": day.isoformat(), "to": day.isoformat()}

        answer = drive(
            runtime,
            settings,
            *(
                message("fetch_page", structs.replace(page, page=number))
                for page in pages
                for number in (1, 2)
            ),
            message("orchestrate", RunItem(run=run.id)),
            message("publish_day", DayItem(run=run.id, metric="ActualCost", day=day)),
            message("orchestrate", RunItem(run=run.id)),
            {"fn": "seed"},
            {"fn": "sweep", "past_due": True},
            {"fn": "reconcile"},
            {"fn": "backfill", "http": {"method": "POST", "body": json.dumps(asked)}},
            {"fn": "backfill", "http": {"method": "POST", "body": "no json"}},
        )

        assert "index_error" not in answer
        assert {one["name"]: one["bindings"][0]["type"] for one in answer["functions"]} == {
            **dict.fromkeys(QUEUES, "queueTrigger"),
            **dict.fromkeys(TIMERS, "timerTrigger"),
            **dict.fromkeys(ROUTES, "httpTrigger"),
        }
        assert {one["name"]: one["bindings"][0].get("queueName") for one in answer["functions"]} == {
            **QUEUES,
            **dict.fromkeys([*TIMERS, *ROUTES]),
        }
        assert all(one["loaded"] for one in answer["functions"])
        assert [one for one in answer["invocations"] if not one["ok"]] == []
        closed = await engine.runs.run(run.id)
        assert closed is not None
        assert closed.status is RunStatus.COMPLETE
        assert await engine.storage.blobs.get("costs", f"manifests/metric=ActualCost/{day}.json") is not None
        answers = [one["outputs"]["$return"]["value"]["http"] for one in answer["invocations"][-2:]]
        assert [said["status"] for said in answers] == ["202", "400"]
        kinds = sorted(one.kind for one in await engine.runs.runs() if one.id != run.id)
        assert kinds == ["backfill", "timer"]


def message(name: str, item: PageItem | RunItem | DayItem) -> dict[str, Any]:
    """Give the invocation of a queue function, with the message as it lies on the queue."""
    return {"fn": name, "data": item.encode().decode()}
