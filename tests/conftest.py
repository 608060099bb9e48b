"""What every test may use: one storage emulator for the session, and names in it that are the test's own."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, settings

from infra.local.azurite import Azurite, start

# A machine that is busy with something else is no fault of the code: nothing here is judged by the clock.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@dataclass(frozen=True, slots=True)
class StorageNames:
    """Names for one test's own tables, queues and containers in the emulator that all tests share."""

    suffix: str

    def table(self, name: str) -> str:
        """Letters and digits only, as the Table service wants."""
        return f"{name}{self.suffix}"

    def queue(self, name: str) -> str:
        """Lower case with hyphens; short enough for `-poison` to follow."""
        return f"{name}-{self.suffix}"

    def container(self, name: str) -> str:
        """Lower case with hyphens."""
        return f"{name}-{self.suffix}"


@pytest.fixture(scope="session")
def azurite() -> Iterator[Azurite]:
    with start() as emulator:
        yield emulator


@pytest.fixture
def storage_names() -> StorageNames:
    return StorageNames(uuid.uuid4().hex[:12])


@pytest.fixture
def fresh_azurite() -> Iterator[Azurite]:
    """An emulator of this test alone (1 s), for what uses the project's fixed names."""
    with start() as emulator:
        yield emulator
