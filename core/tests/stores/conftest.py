"""Servers for all tests of stores, one of each form."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from . import servers
from .servers import Secured, Server, Watched


@pytest.fixture(scope="session")
def cluster() -> Iterator[list[Server]]:
    with servers.cluster() as nodes:
        yield nodes


@pytest.fixture(scope="session")
def cluster_url(cluster: list[Server]) -> str:
    # one node says where the others are
    return f"redis+cluster://127.0.0.1:{cluster[1].port}"


@pytest.fixture(scope="session")
def watched() -> Iterator[Watched]:
    with servers.watched() as servers_:
        yield servers_


@pytest.fixture
def sentinel_url(watched: Watched) -> str:
    credentials = f"{servers.USER}:{servers.ESCAPED}"
    return f"redis+sentinel://{credentials}@127.0.0.1:{watched.sentinel.port}/features/0"


@pytest.fixture(scope="session")
def secured() -> Iterator[Secured]:
    with servers.secured() as server:
        yield server


@pytest.fixture
def tls_url(secured: Secured) -> str:
    return secured.url()
