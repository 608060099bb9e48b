"""The function host of the laptop: runs an app's functions by their declared bindings on real queues.

What it shares with Azure's host is written where it is done. What it does not have: output and input
bindings, retry policies, identity-based connections, function keys, `functionTimeout`, and the memory of
timer ticks missed over a restart.
"""

from infra.local.host.errors import HostError
from infra.local.host.function_host import Counts, FunctionHost
from infra.local.host.program import load_app, main

__all__ = ["Counts", "FunctionHost", "HostError", "load_app", "main"]
