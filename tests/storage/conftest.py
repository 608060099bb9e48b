"""A storage account of the emulator behind a telling edge, and things in it for one test."""

from collections.abc import AsyncIterator

import pytest

from infra.local.azurite import Azurite
from shared.storage import Storage, storage_connection
from tests.conftest import StorageNames
from tests.faults import FaultyEdge


@pytest.fixture
def edge() -> FaultyEdge:
    return FaultyEdge()


@pytest.fixture
async def storage(azurite: Azurite, edge: FaultyEdge) -> AsyncIterator[Storage]:
    connection = storage_connection({"COST_STORAGE": azurite.connection_string})
    async with Storage(connection, edge) as account:
        yield account


@pytest.fixture
async def table(storage: Storage, edge: FaultyEdge, storage_names: StorageNames) -> str:
    name = storage_names.table("Rows")
    await storage.ensure(tables=[name])
    edge.calls.clear()
    return name


@pytest.fixture
async def queue(storage: Storage, edge: FaultyEdge, storage_names: StorageNames) -> str:
    name = storage_names.queue("work")
    await storage.ensure(queues=[name])
    edge.calls.clear()
    return name


@pytest.fixture
async def container(storage: Storage, edge: FaultyEdge, storage_names: StorageNames) -> str:
    name = storage_names.container("files")
    await storage.ensure(containers=[name])
    edge.calls.clear()
    return name
