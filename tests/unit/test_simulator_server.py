"""Serving the simulator: where it is, how it ends, and what its program says."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from infra.local.simulator import Tenant, main, serve

ROOT = Path(__file__).parents[2]


def tiny() -> Tenant:
    return Tenant(1, subscriptions=2, days=1, rows_per_day=10)


def test_a_served_tenant_says_what_to_export() -> None:
    with serve(tiny(), token="another") as running:
        settings = running.settings()
        assert httpx.get(f"{settings['ARM_ENDPOINT']}/_simulator").status_code == 200
        assert settings["ARM_TOKEN"] == "another"
        assert json.loads(settings["COST_SCOPES"]) == list(running.simulator.tenant.subscription_scopes)


def test_after_the_block_nobody_listens_and_the_port_is_free() -> None:
    with serve(tiny()) as running:
        port = int(running.url.rsplit(":", 1)[1])
        assert httpx.get(f"{running.url}/_simulator").headers["Date"]
    with pytest.raises(httpx.ConnectError):
        httpx.get(running.url)
    with serve(tiny(), port=port) as again:
        assert again.url == running.url


def test_a_taken_port_is_an_error() -> None:
    with (
        serve(tiny()) as running,
        pytest.raises(OSError, match="in use"),
        serve(tiny(), port=int(running.url[-5:])),
    ):
        pass


def test_the_program_names_a_fault_it_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--faults", '{"gremlins": 1}'])
    assert "no such faults: gremlins" in capsys.readouterr().err


def test_the_program_prints_its_settings_and_ends_cleanly_when_interrupted() -> None:
    code = "import sys; from infra.local.simulator import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "--subscriptions", "1", "--days", "1", "--rows-per-day", "5"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout
        said = [program.stdout.readline() for _ in range(4)]
        url = said[1].partition("=")[2].strip().strip("'")
        assert httpx.get(f"{url}/_simulator").status_code == 200
        program.send_signal(signal.SIGINT)
        _, complaints = program.communicate(timeout=20)

    assert [line.split("=")[0] for line in said[1:]] == [
        "export ARM_ENDPOINT",
        "export ARM_TOKEN",
        "export COST_SCOPES",
    ]
    assert (program.returncode, complaints) == (0, "")
