"""The functions of an app as they are declared, checked and with their settings filled in.

One bad function fails the indexing of a whole app in Azure, so one bad function refuses the start here.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import azure.functions as func
from azure.functions.decorators.http import HttpOutput, HttpTrigger
from azure.functions.decorators.queue import QueueTrigger
from azure.functions.decorators.timer import TimerTrigger

from infra.local.host.errors import HostError
from infra.local.host.settings import connection_string, resolved
from infra.local.host.timers import check_schedule


@dataclass(frozen=True, slots=True)
class OnQueue:
    """Runs for each message of a queue."""

    queue: str
    connection: str

    def __str__(self) -> str:
        return f"queue {self.queue}"


@dataclass(frozen=True, slots=True)
class OnTimer:
    """Runs at each time of an NCRONTAB schedule, UTC."""

    schedule: str
    run_on_startup: bool

    def __str__(self) -> str:
        return f"timer {self.schedule}" + (", at start" if self.run_on_startup else "")


@dataclass(frozen=True, slots=True)
class OnHttp:
    """Runs for each request to a route."""

    route: str
    methods: tuple[str, ...]

    def __str__(self) -> str:
        return f"http {','.join(self.methods)} {self.route}"


@dataclass(frozen=True, slots=True)
class Declared:
    """One function: its name, what triggers it, the code and the name of the code's one argument."""

    name: str
    trigger: OnQueue | OnTimer | OnHttp
    code: Callable[..., Any]
    argument: str


def declared_functions(app: func.FunctionApp, environ: Mapping[str, str]) -> list[Declared]:
    """Read the functions of an app in the order they were registered.

    Raises:
        HostError: two functions of one name, a binding or a signature that this host cannot serve, or a
            setting that a binding names and that is not there.
    """
    # get_functions remembers the names it has seen and refuses them the second time, which would forbid a
    # second host over the same app (a restart in one process).
    app.functions_bindings = {}
    try:
        functions = app.get_functions()
    except ValueError as error:
        raise HostError(str(error)) from error
    return [_declared(function, environ) for function in functions]


def _declared(function: func.Function, environ: Mapping[str, str]) -> Declared:
    name = str(function.get_function_name())
    trigger = function.get_trigger()
    if trigger is None:
        raise HostError(f"function `{name}`: it has no trigger")
    if function.get_setting("retry_policy") is not None:
        raise HostError(f"function `{name}`: a retry policy is not supported by this host")
    _refuse_other_bindings(name, trigger, function.get_bindings())
    code = function.get_user_function()
    argument = str(trigger.name)
    if list(inspect.signature(code).parameters) != [argument]:
        raise HostError(f"function `{name}`: takes one argument, `{argument}`, as its trigger names it")
    return Declared(name, _trigger(name, trigger, environ), code, argument)


def _refuse_other_bindings(name: str, trigger: object, bindings: Iterable[object]) -> None:
    for binding in bindings:
        if binding is trigger or (isinstance(trigger, HttpTrigger) and isinstance(binding, HttpOutput)):
            continue
        raise HostError(f"function `{name}`: the binding {_kind(binding)} is not supported by this host")


def _trigger(name: str, trigger: object, environ: Mapping[str, str]) -> OnQueue | OnTimer | OnHttp:
    if isinstance(trigger, QueueTrigger):
        queue = resolved(trigger.queue_name, environ, name)
        return OnQueue(queue, connection_string(trigger.connection, environ, name))
    if isinstance(trigger, TimerTrigger):
        schedule = resolved(trigger.schedule, environ, name)
        check_schedule(schedule, name)
        return OnTimer(schedule, bool(trigger.run_on_startup))
    if isinstance(trigger, HttpTrigger):
        # The host answers every method where none is named.
        methods = tuple(str(method) for method in trigger.methods or func.HttpMethod)
        return OnHttp(str(trigger.route), methods)
    raise HostError(f"function `{name}`: the trigger {_kind(trigger)} is not supported by this host")


def _kind(binding: object) -> str:
    get_binding_name = getattr(binding, "get_binding_name", None)
    return f"`{get_binding_name()}`" if callable(get_binding_name) else f"`{type(binding).__name__}`"
