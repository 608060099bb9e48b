"""The storage emulator starts, keeps data, and goes when told or when its parent is gone."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from azure.data.tables import TableServiceClient
from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueServiceClient

from infra.local import azurite as emulator
from infra.local.azurite import Azurite, AzuriteError, start

ROOT = Path(__file__).parents[2]

PARENT = """
import sys, time
from infra.local.azurite import start
with start() as azurite:
    print(azurite.queue_port, flush=True)
    time.sleep(120)
"""


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def gone_within(port: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while is_open(port) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not is_open(port)


def test_all_three_services_answer_todays_clients(azurite: Azurite) -> None:
    """Today's SDKs speak an API version that Azurite refuses unless told not to look."""
    with BlobServiceClient.from_connection_string(azurite.connection_string) as blobs:
        assert list(blobs.list_containers(name_starts_with="absent")) == []
    with QueueServiceClient.from_connection_string(azurite.connection_string) as queues:
        assert list(queues.list_queues(name_starts_with="absent")) == []
    with TableServiceClient.from_connection_string(azurite.connection_string) as tables:
        assert list(tables.query_tables("TableName eq 'absent'")) == []


def test_two_emulators_share_nothing(azurite: Azurite) -> None:
    with start() as other:
        assert not {azurite.blob_port, azurite.queue_port, azurite.table_port} & {
            other.blob_port,
            other.queue_port,
            other.table_port,
        }
        assert is_open(other.queue_port)
    assert not is_open(other.queue_port)


def test_a_location_keeps_its_data_over_a_restart(tmp_path: Path) -> None:
    for _ in range(2):
        with (
            start(tmp_path) as azurite,
            QueueServiceClient.from_connection_string(azurite.connection_string) as queues,
        ):
            names = [queue.name for queue in queues.list_queues()]
            if not names:
                queues.create_queue("kept").close()
    assert names == ["kept"]


def test_an_open_connection_does_not_hold_up_the_stop() -> None:
    """A client that forgot to close costs nobody the time limit."""
    with start() as azurite:
        forgotten = http.client.HTTPConnection("127.0.0.1", azurite.blob_port)
        forgotten.request("GET", "/")
        forgotten.getresponse().read()
        began = time.monotonic()
    assert time.monotonic() - began < emulator.STOP_SECONDS
    forgotten.close()


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs a signal that freezes a process")
def test_an_emulator_that_ignores_the_request_to_stop_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    # GIVEN an emulator that is frozen, so that SIGTERM reaches nobody
    monkeypatch.setattr(emulator, "STOP_SECONDS", 0.2)
    seen: list[subprocess.Popen[bytes]] = []
    ready = emulator._ready

    def freezing(process: subprocess.Popen[bytes], output: Path) -> Azurite:
        seen.append(process)
        return ready(process, output)

    monkeypatch.setattr(emulator, "_ready", freezing)
    # WHEN its block ends
    with start() as azurite:
        os.kill(seen[0].pid, signal.SIGSTOP)
    # THEN it is gone all the same
    assert seen[0].returncode == -signal.SIGKILL
    assert not is_open(azurite.queue_port)


def test_the_emulator_goes_when_its_parent_is_killed() -> None:
    # GIVEN another Python process with an emulator of its own
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, cwd=ROOT)
    try:
        assert parent.stdout is not None
        port = int(parent.stdout.readline())
        assert is_open(port)
    finally:
        # WHEN that process dies without a chance to clean up
        parent.kill()
        parent.communicate()
    # THEN nothing listens any more
    assert gone_within(port, 10)


def test_a_missing_node_names_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(AzuriteError, match=r"`node`.*`make setup`"), start():
        pass


def test_a_missing_package_names_the_cure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(emulator, "SCRIPT", tmp_path / "azurite.js")
    with pytest.raises(AzuriteError, match="`make setup`"), start():
        pass


def test_an_emulator_that_ends_at_once_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "azurite.js"
    script.write_text('console.error("no room on the disk"); process.exit(7)')
    monkeypatch.setattr(emulator, "SCRIPT", script)
    with pytest.raises(AzuriteError, match=r"code 7(.|\n)*no room on the disk"), start():
        pass
