"""The demo: a tenant, its cost API, the storage and the functions on one laptop, and a proof of every digit.

It reads a synthetic tenant through all the faults of the real service, compares what was published with what
the provider says, lets the tenant change its mind, reads again and shows exactly which days changed.
"""

from infra.local.demo.program import main

__all__ = ["main"]
