"""What the tests of the controller begin with."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from .world import World, world


@pytest.fixture
async def here() -> AsyncIterator[World]:
    """A cluster without any rollout."""
    async with world() as cluster:
        yield cluster
