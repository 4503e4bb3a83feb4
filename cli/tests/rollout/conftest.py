from __future__ import annotations

from collections.abc import Callable

import pytest
from typer.testing import CliRunner, Result

from tandem_cli.__main__ import app

from .world import Clock, FakeTarget

Tandem = Callable[..., Result]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def target() -> FakeTarget:
    return FakeTarget()


@pytest.fixture
def tandem(clock: Clock, target: FakeTarget) -> Tandem:
    """Runs `tandem rollout` against the fake target."""
    return lambda *words: CliRunner().invoke(app, ["rollout", *words], obj=clock.setting(target))
