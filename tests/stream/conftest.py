from __future__ import annotations

from collections.abc import Iterator

import pytest
from transformer.tests.conftest import bundle, real_predictor, valkey

from .broker import Broker, missing_programs

__all__ = ["broker", "bundle", "real_predictor", "valkey"]


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A real broker; without Java and Maven the tests that need one are left out."""
    if missing := missing_programs():
        pytest.skip(f"a Kafka broker needs {' and '.join(missing)}")
    broker = Broker(tmp_path_factory.mktemp("kafka"))
    broker.start()
    yield broker
    broker.stop()
