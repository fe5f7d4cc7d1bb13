"""The same client before every kind of server, each with participants that a test scripts."""

import pytest

from tests.contract.client.servers import InMemory, Server


@pytest.fixture(params=["in_memory"])
def server(request: pytest.FixtureRequest) -> Server:
    """A platform that nothing was submitted to."""
    return InMemory()
