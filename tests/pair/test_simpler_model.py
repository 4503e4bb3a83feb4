"""A pair whose bundle has a simpler model, over real processes: it answers without its store."""

from __future__ import annotations

import pytest
from transformer.tests import world
from transformer.tests.conftest import nested_bundle
from transformer.tests.servers import Server, free_port, predictor, transformer, wait_until
from transformer.tests.world import good_row

from tandem import Bundle

from .online import WIRES, Online
from .test_store import store

__all__ = ["nested_bundle"]

ROWS = [good_row(customer_id=f"c{at}", depot_id=at % 5, parts=1 + at % 20) for at in range(30)]
LEFT = "customer:unavailable:simpler_model,depot:unavailable:simpler_model"


def expected(bundle: Bundle | None) -> list[float]:
    assert bundle is not None
    return [float(value) for value in world.offline(bundle, ROWS).answers["minutes"]]


def is_of(bundle: Bundle | None, online: Online, wire: str) -> bool:
    """Whether the model of a bundle answers."""
    answers = online.ask(ROWS, wire).answers
    return bool(answers["minutes"] == pytest.approx(expected(bundle), rel=1e-5))


@pytest.mark.parametrize("hop", ["v2", "grpc-v2"])
def test_without_its_store_it_answers_with_the_simpler_model(hop: str, nested_bundle: Bundle) -> None:
    port = free_port()
    with predictor(nested_bundle.path) as own:
        host = own.grpc_address if hop == "grpc-v2" else own.address
        flags = ["--predictor_host", host, "--predictor_protocol", hop, "--store", f"redis://127.0.0.1:{port}/0"]
        timeouts = ["--store_timeout_ms", 5000, "--request_timeout_ms", 20_000, "--predictor_timeout_ms", 10_000]
        with (
            transformer(nested_bundle.path, *flags, *timeouts, "--last_known_bytes", 0, "--explain") as server,
            Online(server) as online,
        ):
            verify(server, nested_bundle)
            for wire in WIRES:
                without = online.ask(ROWS, wire).answers
                assert without["minutes"] == pytest.approx(expected(nested_bundle.simpler), rel=1e-5)
                assert without["degraded"] == [LEFT] * len(ROWS)
            with store(port):
                # a probe finds out that it is there
                wait_until(lambda: is_of(nested_bundle, online, "v1"))
                assert all(is_of(nested_bundle, online, wire) for wire in WIRES)
            assert is_of(nested_bundle.simpler, online, "grpc")


def verify(server: Server, bundle: Bundle) -> None:
    """The pair is verified, both models of it."""
    verified = server.request("GET", "/tandem/verification").json
    assert (verified["digest"], verified["rows"]) == (bundle.digest, 80)


def test_a_predictor_of_another_simpler_model_is_noticed(nested_bundle: Bundle, bundle: Bundle) -> None:
    flags = ["--store", "memory://", "--request_timeout_ms", 20_000, "--predictor_timeout_ms", 10_000]
    with (
        predictor(bundle.path) as predictor_without,
        transformer(nested_bundle.path, "--predictor_host", predictor_without.address, *flags) as server,
    ):
        reply = server.predict(good_row(depot_id=7777))
        assert (reply.status, reply.json["code"]) == (503, "predictor_mismatch")
