"""The host: runs the functions of an app by their declared bindings."""

import asyncio
import inspect
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import azure.functions as func

from infra.local.host.declared import Declared, OnHttp, OnQueue, OnTimer, declared_functions
from infra.local.host.errors import HostError
from infra.local.host.queues import QueueListener
from infra.local.host.settings import HIDDEN, queue_rules
from infra.local.host.timers import Timer
from infra.local.host.web import http_app

if TYPE_CHECKING:
    from starlette.applications import Starlette

_log = logging.getLogger("infra.local.host")


@dataclass(slots=True)
class Counts:
    """What one function has done since the host began; `running` is now."""

    invocations: int = 0
    failures: int = 0
    poisoned: int = 0
    running: int = 0


class FunctionHost:
    """Serves an app's functions for the length of an `async with` block.

    Args:
        app: the `azure.functions.FunctionApp` with every blueprint registered.
        environ: the settings that bindings name: connections and `%NAME%` expressions.
        host_json: the content of host.json.
        hidden: how long a message being worked stays hidden, whole seconds; renewed at half of it.
        drain_seconds: how long the end of the block waits for what is running; what is not done by then is
            cut off as by a crash, so its message comes back when its visibility ends.

    Raises:
        HostError: at construction, where the app or host.json cannot be served as declared.
    """

    def __init__(
        self,
        app: func.FunctionApp,
        environ: Mapping[str, str],
        host_json: Mapping[str, Any],
        *,
        hidden: timedelta = HIDDEN,
        drain_seconds: float = 30.0,
    ) -> None:
        self.functions = declared_functions(app, environ)
        self.counts = {function.name: Counts() for function in self.functions}
        self._by_name = {function.name: function for function in self.functions}
        self._rules = replace(queue_rules(host_json), hidden=hidden)
        self._drain_seconds = drain_seconds
        self._timers = {
            function.name: Timer(function.trigger.schedule, self._runner(function))
            for function in self.functions
            if isinstance(function.trigger, OnTimer)
        }
        has_http = any(isinstance(function.trigger, OnHttp) for function in self.functions)
        self.http_app: Starlette | None = http_app(self.functions, self.call, host_json) if has_http else None
        self._changed = asyncio.Event()
        self._serving: list[asyncio.Task[None]] = []
        self._listeners: list[QueueListener] = []

    async def __aenter__(self) -> Self:
        for function in self.functions:
            if isinstance(function.trigger, OnQueue):
                self._listen(function, function.trigger)
            elif isinstance(function.trigger, OnTimer):
                self._schedule(function.name, function.trigger)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        triggers: list[Timer | QueueListener] = [*self._timers.values(), *self._listeners]
        await asyncio.gather(*(trigger.drain(self._drain_seconds) for trigger in triggers))
        await asyncio.gather(*(listener.close() for listener in self._listeners))

    async def run_until(
        self,
        predicate: Callable[[], bool | Awaitable[bool]],
        *,
        limit_seconds: float = 300.0,
        every: float = 0.2,
    ) -> None:
        """Serve until the predicate holds; it is asked after each invocation and every `every` seconds.

        Raises:
            TimeoutError: it did not hold within `limit_seconds`.
        """
        deadline = time.monotonic() + limit_seconds
        while True:
            self._changed.clear()
            held = predicate()
            if await held if inspect.isawaitable(held) else held:
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"not there after {limit_seconds:g} s; {self._summary()}")
            await self._pause(every)

    async def fire(self, name: str, *, past_due: bool = False) -> bool:
        """Run a timer's function at once and tell whether it succeeded.

        Raises:
            HostError: the app has no timer of that name.
        """
        if name not in self._timers:
            raise HostError(
                f"there is no timer `{name}`; there are {', '.join(sorted(self._timers)) or 'none'}"
            )
        return await self._timers[name].fire(past_due=past_due)

    async def call(self, name: str, request: func.HttpRequest) -> func.HttpResponse:
        """Run an http function on a request; a function that fails answers 500, as the host does.

        Raises:
            HostError: the app has no http function of that name.
        """
        function = self._by_name.get(name)
        if function is None or not isinstance(function.trigger, OnHttp):
            raise HostError(f"there is no http function `{name}`")
        answer = await self._invoke(function, request)
        if isinstance(answer, BaseException):
            return func.HttpResponse(status_code=500)
        return answer if isinstance(answer, func.HttpResponse) else func.HttpResponse(str(answer))

    def _listen(self, function: Declared, trigger: OnQueue) -> None:
        counts = self.counts[function.name]

        def poisoned() -> None:
            counts.poisoned += 1
            self._changed.set()

        listener = QueueListener(
            trigger.queue, trigger.connection, self._rules, self._runner(function), poisoned
        )
        self._listeners.append(listener)
        self._serve(listener.serve(), function.name)

    def _schedule(self, name: str, trigger: OnTimer) -> None:
        timer = self._timers[name]
        if trigger.run_on_startup:
            self._serve(_fired_first(timer), name)
        else:
            self._serve(timer.serve(), name)

    def _serve(self, service: Coroutine[Any, Any, None], name: str) -> None:
        self._serving.append(asyncio.create_task(service, name=f"host:{name}"))

    def _runner(self, function: Declared) -> Callable[[object], Awaitable[bool]]:
        async def run(trigger: object) -> bool:
            return not isinstance(await self._invoke(function, trigger), BaseException)

        return run

    async def _invoke(self, function: Declared, trigger: object) -> object:
        """Run the function once and give its answer, or the exception it ended with, logged and counted."""
        counts = self.counts[function.name]
        counts.invocations += 1
        counts.running += 1
        try:
            answers = await asyncio.gather(_execute(function, trigger), return_exceptions=True)
        finally:
            counts.running -= 1
        answer = answers[0]
        if isinstance(answer, BaseException):
            counts.failures += 1
            _log.error("function %s failed", function.name, exc_info=answer)
        self._changed.set()
        return answer

    async def _pause(self, seconds: float) -> None:
        """Wait for the end of an invocation, `seconds`, or that of a listener, which only a defect brings."""
        changed = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait(
                {changed, *self._serving}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            changed.cancel()
        for task in self._serving:
            if task.done():
                task.result()

    def _summary(self) -> str:
        return ", ".join(
            f"{name}: {count.invocations} run, {count.failures} failed, {count.running} running"
            for name, count in self.counts.items()
        )


async def _fired_first(timer: Timer) -> None:
    await timer.fire()
    await timer.serve()


async def _execute(function: Declared, trigger: object) -> object:
    """Run a coroutine function here and a plain one in a thread, as the Python worker does."""
    arguments = {function.argument: trigger}
    if inspect.iscoroutinefunction(function.code):
        return await function.code(**arguments)
    return await asyncio.to_thread(function.code, **arguments)
