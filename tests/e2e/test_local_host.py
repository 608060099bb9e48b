"""The laptop's function host keeps the rules of Azure's, on a real queue service."""

import asyncio
import base64
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import azure.functions as func
import httpx
import pytest
from azure.core.exceptions import ResourceNotFoundError
from azure.functions.timer import TimerRequest
from azure.storage.queue import QueueMessage
from azure.storage.queue.aio import QueueServiceClient

from infra.local.azurite import Azurite
from infra.local.host import FunctionHost, HostError, load_app
from infra.local.host.timers import next_occurrence

if TYPE_CHECKING:
    from tests.conftest import StorageNames

ROOT = Path(__file__).parents[2]
QUICK = timedelta(seconds=2)


def rules(**queues: object) -> dict[str, Any]:
    return {"extensions": {"queues": {"maxPollingInterval": "00:00:00.200", **queues}}}


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


class Work:
    """One queue of a test, seen from outside."""

    def __init__(self, service: QueueServiceClient, name: str) -> None:
        self._service = service
        self.name = name

    async def send(self, *texts: str) -> None:
        async with self._service.get_queue_client(self.name) as client:
            for text in texts:
                await client.send_message(text)

    async def left(self) -> int:
        async with self._service.get_queue_client(self.name) as client:
            return (await client.get_queue_properties()).approximate_message_count or 0

    async def poison(self) -> list[QueueMessage]:
        async with self._service.get_queue_client(f"{self.name}-poison") as client:
            with contextlib.suppress(ResourceNotFoundError):
                return await client.peek_messages(max_messages=32)
        return []


@pytest.fixture
async def work(azurite: Azurite, storage_names: "StorageNames") -> AsyncIterator[Work]:
    async with QueueServiceClient.from_connection_string(azurite.connection_string) as service:
        name = storage_names.queue("work")
        await service.create_queue(name)
        yield Work(service, name)


@pytest.fixture
def environ(azurite: Azurite, work: Work) -> dict[str, str]:
    return {"COST_STORAGE": azurite.connection_string, "QUEUE": work.name, "SCHEDULE": "0 0 0 1 1 *"}


def queue_app(code: Callable[[func.QueueMessage], object]) -> func.FunctionApp:
    """One function on the queue that the setting QUEUE names, as a blueprint, like the project's."""
    blueprint = func.Blueprint()
    blueprint.function_name("page")(
        blueprint.queue_trigger(arg_name="message", queue_name="%QUEUE%", connection="COST_STORAGE")(code)
    )
    app = func.FunctionApp()
    app.register_functions(blueprint)
    return app


def timer_app(
    code: Callable[[func.TimerRequest], object], *, run_on_startup: bool = False
) -> func.FunctionApp:
    app = func.FunctionApp()
    trigger = app.timer_trigger(arg_name="timer", schedule="%SCHEDULE%", run_on_startup=run_on_startup)
    app.function_name("seed")(trigger(code))
    return app


async def test_a_message_reaches_the_function_as_azure_gives_it_and_is_deleted(
    work: Work, environ: dict[str, str]
) -> None:
    seen: list[func.QueueMessage] = []

    async def page(message: func.QueueMessage) -> None:
        seen.append(message)

    # GIVEN a base64 message that is JSON
    await work.send(b64('{"page": 1}'))
    # WHEN the host serves the queue
    async with FunctionHost(queue_app(page), environ, rules()) as host:
        await host.run_until(lambda: bool(seen))
    # THEN the function saw its bytes and its metadata, and the queue is empty
    [message] = seen
    assert message.get_json() == {"page": 1}
    assert message.id
    assert message.pop_receipt
    assert message.dequeue_count == 1
    assert message.insertion_time is not None
    assert message.expiration_time is not None
    assert message.time_next_visible is not None
    assert timedelta(minutes=9) < message.time_next_visible - datetime.now(UTC) <= timedelta(minutes=10)
    assert host.counts["page"].invocations == 1
    assert host.counts["page"].failures == 0
    assert await work.left() == 0


async def test_a_plain_function_runs_beside_the_event_loop(work: Work, environ: dict[str, str]) -> None:
    threads: list[str] = []

    def page(message: func.QueueMessage) -> None:
        threads.append(threading.current_thread().name)

    await work.send(b64("x"))
    async with FunctionHost(queue_app(page), environ, rules()) as host:
        await host.run_until(lambda: bool(threads))
    assert threads != [threading.main_thread().name]
    assert await work.left() == 0


async def test_a_failing_message_is_tried_five_times_then_buried(work: Work, environ: dict[str, str]) -> None:
    attempts: list[int | None] = []

    async def page(message: func.QueueMessage) -> None:
        attempts.append(message.dequeue_count)
        raise RuntimeError("always")

    # GIVEN a message that no attempt can work
    await work.send(b64("bad"))
    # WHEN the host serves it, releasing at once (visibilityTimeout 0)
    async with FunctionHost(queue_app(page), environ, rules()) as host:
        await host.run_until(lambda: host.counts["page"].poisoned == 1)
    # THEN the poison queue holds it as it was sent, after exactly maxDequeueCount attempts
    assert attempts == [1, 2, 3, 4, 5]
    assert host.counts["page"].failures == 5
    assert [message.content for message in await work.poison()] == [b64("bad")]
    assert await work.left() == 0


async def test_the_last_failure_buries_at_once(work: Work, environ: dict[str, str]) -> None:
    """The visibility timeout is for messages that will be tried again."""

    async def page(message: func.QueueMessage) -> None:
        raise RuntimeError("always")

    await work.send(b64("bad"))
    host_json = rules(maxDequeueCount=1, visibilityTimeout="00:01:00")
    async with FunctionHost(queue_app(page), environ, host_json) as host:
        await host.run_until(lambda: host.counts["page"].poisoned == 1, limit_seconds=10)


async def test_a_failed_message_rests_for_the_visibility_timeout(work: Work, environ: dict[str, str]) -> None:
    times: list[float] = []

    async def page(message: func.QueueMessage) -> None:
        times.append(asyncio.get_running_loop().time())
        if len(times) == 1:
            raise RuntimeError("once")

    await work.send(b64("x"))
    async with FunctionHost(queue_app(page), environ, rules(visibilityTimeout="00:00:02")) as host:
        await host.run_until(lambda: len(times) == 2)
    assert times[1] - times[0] >= 1.0  # the service counts whole seconds
    assert await work.left() == 0


async def test_a_body_that_is_not_base64_is_buried_unseen(work: Work, environ: dict[str, str]) -> None:
    seen: list[bytes] = []

    async def page(message: func.QueueMessage) -> None:
        seen.append(message.get_body())

    await work.send('{"page": 1}', b64("good"))
    async with FunctionHost(queue_app(page), environ, rules()) as host:
        await host.run_until(lambda: host.counts["page"].poisoned == 1 and len(seen) == 1)
    assert seen == [b"good"]
    assert [message.content for message in await work.poison()] == ['{"page": 1}']
    assert await work.left() == 0


async def test_without_message_encoding_a_body_is_taken_as_it_is(work: Work, environ: dict[str, str]) -> None:
    seen: list[bytes] = []

    async def page(message: func.QueueMessage) -> None:
        seen.append(message.get_body())

    await work.send('{"é": 1}')
    async with FunctionHost(queue_app(page), environ, rules(messageEncoding="none")) as host:
        await host.run_until(lambda: len(seen) == 1)
    assert seen == ['{"é": 1}'.encode()]


async def test_a_message_that_killed_every_worker_is_buried_unseen(
    work: Work, environ: dict[str, str], azurite: Azurite
) -> None:
    # GIVEN a message taken as often as allowed by workers that died: nobody released or deleted it
    await work.send(b64("killer"))
    async with QueueServiceClient.from_connection_string(azurite.connection_string) as service:
        for _ in range(2):
            client = service.get_queue_client(work.name)
            taken = await client.receive_message(visibility_timeout=60)
            assert taken is not None
            await client.update_message(taken.id, taken.pop_receipt, visibility_timeout=0)

    seen: list[bytes] = []

    async def page(message: func.QueueMessage) -> None:
        seen.append(message.get_body())

    # WHEN the host takes it once more
    async with FunctionHost(queue_app(page), environ, rules(maxDequeueCount=2)) as host:
        await host.run_until(lambda: host.counts["page"].poisoned == 1)
    # THEN it is not tried again
    assert seen == []
    assert len(await work.poison()) == 1


async def test_no_more_run_at_once_than_a_batch_and_the_threshold(
    work: Work, environ: dict[str, str]
) -> None:
    running = peak = done = 0
    gate = asyncio.Event()

    async def page(message: func.QueueMessage) -> None:
        nonlocal running, peak, done
        running += 1
        peak = max(peak, running)
        if running == 6:
            # Long enough for a host that overshoots to take another batch.
            asyncio.get_running_loop().call_later(0.5, gate.set)
        if message.get_body() not in {b"0", b"1"}:
            await gate.wait()
        running -= 1
        done += 1

    # GIVEN far more messages than may run
    await work.send(*(b64(str(number)) for number in range(20)))
    # WHEN batches of 4 are taken as soon as no more than 2 are running
    async with FunctionHost(queue_app(page), environ, rules(batchSize=4, newBatchThreshold=2)) as host:
        await host.run_until(lambda: done == 20, limit_seconds=30)
    # THEN the two that were left of the first batch and a whole second one ran at once, never more
    assert peak == 6
    assert host.counts["page"].invocations == 20


async def test_a_batch_of_one_and_no_threshold_runs_one_by_one(work: Work, environ: dict[str, str]) -> None:
    order: list[bytes] = []
    overlaps = 0

    async def page(message: func.QueueMessage) -> None:
        nonlocal overlaps
        if host.counts["page"].running > 1:
            overlaps += 1
        await asyncio.sleep(0.02)
        order.append(message.get_body())

    await work.send(*(b64(str(number)) for number in range(5)))
    host = FunctionHost(queue_app(page), environ, rules(batchSize=1, newBatchThreshold=0))
    async with host:
        await host.run_until(lambda: len(order) == 5)
    assert overlaps == 0


async def test_a_message_stays_hidden_while_its_function_runs(work: Work, environ: dict[str, str]) -> None:
    starts = 0
    ended = asyncio.Event()

    async def page(message: func.QueueMessage) -> None:
        nonlocal starts
        starts += 1
        await asyncio.sleep(5)
        ended.set()

    # GIVEN a function that runs more than twice as long as a message is hidden
    await work.send(b64("slow"))
    # WHEN it is worked, with the host polling all the while
    async with FunctionHost(queue_app(page), environ, rules(), hidden=QUICK) as host:
        await host.run_until(ended.is_set)
    # THEN it was delivered once, and deleted with the receipt of the last renewal
    assert starts == 1
    assert await work.left() == 0


async def test_a_message_cut_off_at_the_end_comes_back(work: Work, environ: dict[str, str]) -> None:
    attempts: list[int | None] = []

    async def page(message: func.QueueMessage) -> None:
        attempts.append(message.dequeue_count)
        if len(attempts) == 1:
            await asyncio.Event().wait()

    app = queue_app(page)
    await work.send(b64("x"))
    # GIVEN a host that ends while the function hangs
    async with FunctionHost(app, environ, rules(), hidden=QUICK, drain_seconds=0.1) as host:
        await host.run_until(lambda: bool(attempts))
    assert host.counts["page"].running == 0
    assert await work.left() == 1
    # WHEN the next one serves the same app
    async with FunctionHost(app, environ, rules(), hidden=QUICK) as host:
        await host.run_until(lambda: len(attempts) == 2)
    # THEN it is delivered again, once its visibility has ended
    assert attempts == [1, 2]
    assert await work.left() == 0


async def test_the_end_waits_for_what_runs(work: Work, environ: dict[str, str]) -> None:
    begun = asyncio.Event()
    ended = False

    async def page(message: func.QueueMessage) -> None:
        nonlocal ended
        begun.set()
        await asyncio.sleep(0.5)
        ended = True

    await work.send(b64("x"))
    async with FunctionHost(queue_app(page), environ, rules()) as host:
        await host.run_until(begun.is_set)
    assert ended
    assert await work.left() == 0


async def test_a_queue_that_is_made_later_is_served_then(
    azurite: Azurite, storage_names: "StorageNames"
) -> None:
    """The engine makes its queues on first use, which may come after the host's start."""
    seen: list[bytes] = []

    async def page(message: func.QueueMessage) -> None:
        seen.append(message.get_body())

    name = storage_names.queue("late")
    environ = {"COST_STORAGE": azurite.connection_string, "QUEUE": name}
    async with (
        QueueServiceClient.from_connection_string(azurite.connection_string) as service,
        FunctionHost(queue_app(page), environ, rules()) as host,
    ):
        with pytest.raises(TimeoutError, match="page: 0 run"):
            await host.run_until(lambda: bool(seen), limit_seconds=0.3)
        await (await service.create_queue(name)).send_message(b64("x"))
        await host.run_until(lambda: bool(seen))


async def test_an_async_condition_is_awaited(work: Work, environ: dict[str, str]) -> None:
    async def page(message: func.QueueMessage) -> None: ...

    async def drained() -> bool:
        return await work.left() == 0

    await work.send(b64("x"))
    async with FunctionHost(queue_app(page), environ, rules()) as host:
        await host.run_until(drained)
    assert host.counts["page"].invocations == 1


async def test_a_timer_fires_by_its_schedule(environ: dict[str, str]) -> None:
    fired: list[func.TimerRequest] = []

    async def seed(timer: func.TimerRequest) -> None:
        fired.append(timer)

    async with FunctionHost(timer_app(seed), {**environ, "SCHEDULE": "* * * * * *"}, rules()) as host:
        await host.run_until(lambda: len(fired) == 2, limit_seconds=10)
    assert [request.past_due for request in fired] == [False, False]


async def test_a_timer_that_fails_fires_again_at_its_next_time_only(environ: dict[str, str]) -> None:
    times: list[float] = []

    async def seed(timer: func.TimerRequest) -> None:
        times.append(datetime.now(UTC).timestamp())
        raise RuntimeError("always")

    async with FunctionHost(timer_app(seed), {**environ, "SCHEDULE": "* * * * * *"}, rules()) as host:
        await host.run_until(lambda: len(times) == 2, limit_seconds=10)
    assert int(times[1]) - int(times[0]) == 1
    assert host.counts["seed"].failures == 2


async def test_times_that_pass_during_a_run_are_made_up_for_once(environ: dict[str, str]) -> None:
    times: list[float] = []

    async def seed(timer: func.TimerRequest) -> None:
        times.append(datetime.now(UTC).timestamp())
        await asyncio.sleep(2.5 if len(times) == 1 else 0)

    # GIVEN a timer of every second whose first run takes two and a half
    async with FunctionHost(timer_app(seed), {**environ, "SCHEDULE": "* * * * * *"}, rules()) as host:
        await host.run_until(lambda: len(times) == 3, limit_seconds=10)
    # THEN the two seconds it missed come as one run, at once, and the next one at its own time
    assert times[1] - times[0] == pytest.approx(2.5, abs=0.3)
    assert times[2] - times[1] > 0.2


async def test_a_timer_can_be_fired_at_once(environ: dict[str, str]) -> None:
    fired: list[func.TimerRequest] = []

    def seed(timer: func.TimerRequest) -> None:
        fired.append(timer)

    async with FunctionHost(timer_app(seed), environ, rules()) as host:
        assert await host.fire("seed", past_due=True)
        with pytest.raises(HostError, match="no timer `sweep`; there are seed"):
            await host.fire("sweep")
    [request] = fired
    assert isinstance(request, TimerRequest)
    assert request.past_due
    assert request.schedule_status["Next"].endswith("-01-01T00:00:00+00:00")


async def test_two_firings_of_a_timer_never_overlap(environ: dict[str, str]) -> None:
    running = peak = 0

    async def seed(timer: func.TimerRequest) -> None:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        await asyncio.sleep(0.05)
        running -= 1

    async with FunctionHost(timer_app(seed), environ, rules()) as host:
        assert all(await asyncio.gather(host.fire("seed"), host.fire("seed")))
    assert peak == 1


@pytest.mark.parametrize("times_at_start", [0, 1])
async def test_run_on_startup_is_kept(environ: dict[str, str], times_at_start: int) -> None:
    async def seed(timer: func.TimerRequest) -> None: ...

    app = timer_app(seed, run_on_startup=times_at_start == 1)
    async with FunctionHost(app, environ, rules()) as host:
        with contextlib.suppress(TimeoutError):
            await host.run_until(lambda: host.counts["seed"].invocations > 0, limit_seconds=0.3)
    assert host.counts["seed"].invocations == times_at_start


@pytest.mark.parametrize(
    ("schedule", "after", "expected"),
    [
        ("0 0 */4 * * *", "2026-05-10T04:00:00", "2026-05-10T08:00:00"),
        ("0 */10 * * * *", "2026-05-31T23:55:00", "2026-06-01T00:00:00"),
        ("0 30 9 * * MON-FRI", "2026-05-08T09:30:00", "2026-05-11T09:30:00"),
    ],
)
def test_the_next_occurrence_is_utc_and_strictly_later(schedule: str, after: str, expected: str) -> None:
    found = next_occurrence(schedule, datetime.fromisoformat(after).replace(tzinfo=UTC))
    assert found == datetime.fromisoformat(expected).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "schedule", ["*/5 * * * *", "0 0 0 L * *", "0 0 0 * * MON#1", "0 0 0 31 2 *", "00:05:00", "0 0 0 1 * MON"]
)
def test_a_schedule_that_azure_reads_otherwise_is_refused(environ: dict[str, str], schedule: str) -> None:
    async def seed(timer: func.TimerRequest) -> None: ...

    with pytest.raises(HostError, match="function `seed`: "):
        FunctionHost(timer_app(seed), {**environ, "SCHEDULE": schedule}, {})


def test_two_functions_of_one_name_are_refused(environ: dict[str, str]) -> None:
    async def page(message: func.QueueMessage) -> None: ...

    app = queue_app(page)
    app.function_name("page")(app.timer_trigger(arg_name="timer", schedule="0 0 0 1 1 *")(lambda timer: None))
    with pytest.raises(HostError, match="page does not have a unique function name"):
        FunctionHost(app, environ, {})


def test_an_output_binding_is_refused(environ: dict[str, str]) -> None:
    app = func.FunctionApp()

    @app.queue_output(arg_name="out", queue_name="next", connection="COST_STORAGE")
    @app.timer_trigger(arg_name="timer", schedule="0 0 0 1 1 *")
    def seed(timer: func.TimerRequest, out: func.Out[str]) -> None: ...

    with pytest.raises(HostError, match="function `seed`: the binding `queue` is not supported"):
        FunctionHost(app, environ, {})


def test_an_unknown_trigger_is_refused(environ: dict[str, str]) -> None:
    app = func.FunctionApp()

    @app.blob_trigger(arg_name="blob", path="costs/{name}", connection="COST_STORAGE")
    def arrived(blob: func.InputStream) -> None: ...

    with pytest.raises(HostError, match="function `arrived`: the trigger `blobTrigger` is not supported"):
        FunctionHost(app, environ, {})


def test_an_argument_that_the_trigger_does_not_name_is_refused(environ: dict[str, str]) -> None:
    async def seed(tick: func.TimerRequest) -> None: ...

    with pytest.raises(HostError, match="function `seed`: takes one argument, `timer`"):
        FunctionHost(timer_app(seed), environ, {})


@pytest.mark.parametrize(
    ("missing", "added", "message"),
    [
        ("QUEUE", {}, "`%QUEUE%` names the setting `QUEUE`, which is not set"),
        ("COST_STORAGE", {"AzureWebJobsStorage": "x"}, "connection setting `COST_STORAGE` is not set"),
        (
            "COST_STORAGE",
            {"COST_STORAGE__queueServiceUri": "https://a.queue.core.windows.net"},
            "`COST_STORAGE__...` is an identity-based connection",
        ),
    ],
    ids=["name", "connection", "identity"],
)
def test_a_setting_that_is_not_there_is_named(
    environ: dict[str, str], missing: str, added: dict[str, str], message: str
) -> None:
    async def page(message: func.QueueMessage) -> None: ...

    settings = {name: value for name, value in environ.items() if name != missing} | added
    with pytest.raises(HostError, match=message.replace("...", r"\.\.\.")):
        FunctionHost(queue_app(page), settings, {})


async def test_a_connection_is_looked_for_under_azures_prefix_first(environ: dict[str, str]) -> None:
    async def page(message: func.QueueMessage) -> None: ...

    settings = {**environ, "AzureWebJobsCOST_STORAGE": environ["COST_STORAGE"], "COST_STORAGE": "nonsense"}
    async with FunctionHost(queue_app(page), settings, rules()):
        pass


@pytest.mark.parametrize(
    ("queues", "message"),
    [
        ({"batchSize": 33}, "`batchSize` is a whole number, 1 to 32"),
        ({"batchSize": "16"}, "`batchSize` is a whole number"),
        ({"newBatchThreshold": -1}, "`newBatchThreshold` is a whole number, at least 0"),
        ({"maxDequeueCount": 0}, "`maxDequeueCount` is a whole number, at least 1"),
        ({"visibilityTimeout": "30"}, "`visibilityTimeout` is a time like 00:00:30"),
        ({"maxPollingInterval": "00:00:00.050"}, "`maxPollingInterval` is at least"),
        ({"messageEncoding": "utf8"}, "`messageEncoding` is `base64` or `none`"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_host_json_that_azure_refuses_is_refused(queues: dict[str, object], message: str) -> None:
    with pytest.raises(HostError, match=message):
        FunctionHost(func.FunctionApp(), {}, {"extensions": {"queues": queues}})


async def test_an_http_function_answers_under_its_route(environ: dict[str, str]) -> None:
    app = func.FunctionApp()

    @app.route(route="runs/{run}", methods=["GET"])
    async def status(req: func.HttpRequest) -> func.HttpResponse:
        if req.params.get("fail"):
            raise RuntimeError("asked for")
        return func.HttpResponse(f"run {req.route_params['run']}", status_code=202, headers={"x-run": "yes"})

    async with FunctionHost(app, environ, rules()) as host:
        assert host.http_app is not None
        transport = httpx.ASGITransport(host.http_app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            answer = await client.get("/api/runs/7")
            assert (answer.status_code, answer.text, answer.headers["x-run"]) == (202, "run 7", "yes")
            assert (await client.get("/api/runs/7?fail=1")).status_code == 500
            assert (await client.post("/api/runs/7")).status_code == 405
            assert (await client.get("/runs/7")).status_code == 404
    assert host.counts["status"].failures == 1


APP = """
import azure.functions as func

app = func.FunctionApp()

@app.function_name("page")
@app.queue_trigger(arg_name="message", queue_name="{queue}", connection="COST_STORAGE")
async def page(message: func.QueueMessage) -> None:
    print("worked", message.get_body().decode(), flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_program_serves_an_app_until_it_is_told_to_stop(
    tmp_path: Path, work: Work, azurite: Azurite, number: signal.Signals
) -> None:
    # GIVEN a folder with an app, and its connection in local.settings.json
    (tmp_path / "function_app.py").write_text(APP.format(queue=work.name))
    (tmp_path / "local.settings.json").write_text(
        f'{{"Values": {{"COST_STORAGE": "{azurite.connection_string}"}}}}'
    )
    await work.send(b64("hello"))
    # WHEN it is served by the command
    command = [sys.executable, "-m", "infra.local", "host", "--app", str(tmp_path)]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COST_")}
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    listed = await asyncio.wait_for(process.stdout.readline(), 20)
    worked = await asyncio.wait_for(process.stdout.readline(), 20)
    process.send_signal(number)
    _, errors = await asyncio.wait_for(process.communicate(), 20)
    # THEN it named its functions, did the work and ended without a complaint
    assert listed.split() == [b"page", b"queue", work.name.encode()]
    assert worked == b"worked hello\n"
    assert process.returncode == 0
    assert b"Traceback" not in errors


def test_the_program_names_what_is_missing(tmp_path: Path) -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "infra.local", "host", "--app", str(tmp_path), "--module", "absent_app"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 1
    assert answer.stderr.startswith("host: there is no module `absent_app`")


def test_a_module_without_an_app_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "module_without_app.py").write_text("app = 1\n")
    with pytest.raises(HostError, match="`module_without_app` has no `app`"):
        load_app(tmp_path, "module_without_app")


async def test_an_app_without_functions_is_served_quietly() -> None:
    async with FunctionHost(func.FunctionApp(), {}, {}) as host:
        await host.run_until(lambda: True)
    assert host.http_app is None
