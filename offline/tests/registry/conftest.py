"""Two bundles of one model package, and one whose contract breaks clients; a registry in an SQLite file."""

from __future__ import annotations

from pathlib import Path

import pytest
from core.tests.small import MODEL, write_small

from tandem import Bundle
from tandem_offline.registry import Registry


def train(path: Path, version: str, limit: int) -> Bundle:
    """A bundle of the model with another upper bound of one of its fields."""
    return write_small(path, MODEL.replace("le=100", f"le={limit}"), version=version)


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    limits = {"v1": 100, "v2": 100, "v3": 50}
    return {version: train(tmp_path_factory.mktemp(version), version, limit) for version, limit in limits.items()}


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An SQLite file with MLflow's tables, which take seconds to make."""
    file = tmp_path_factory.mktemp("empty") / "registry.db"
    Registry(f"sqlite:///{file}", create=True)
    return file.read_bytes()


@pytest.fixture
def registry(tmp_path: Path, empty_database: bytes) -> Registry:
    (tmp_path / "registry.db").write_bytes(empty_database)
    return Registry(f"sqlite:///{tmp_path / 'registry.db'}")
