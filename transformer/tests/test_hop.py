"""Every way to the predictor: the right answer from a real one, and a clear error from a broken one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import msgspec
import numpy as np
import pytest

from tandem import Bundle, BundleError
from tandem.errors import DeadlineExceeded, Internal, Overloaded, RequestError, Unavailable
from tandem.inputs import Tensors
from tandem.onnx_files import Graph
from tandem.onnx_model import OnnxModel
from tandem_transformer.config import TransformerConfig
from tandem_transformer.predictors import PredictorClient, connect
from tandem_transformer.predictors.address import Address
from tandem_transformer.predictors.grpc import GrpcPredictor
from tandem_transformer.predictors.inprocess import InProcessPredictor
from tandem_transformer.predictors.rest import RestPredictor

from . import broken
from .parts import make_service
from .servers import Server, free_port
from .world import good_row

PROTOCOLS = ["v2", "grpc-v2", "inprocess"]


def connected(bundle: Bundle, protocol: str, *hosts: str) -> PredictorClient:
    return connect(
        bundle,
        TransformerConfig(
            model_dir=Path(bundle.path), predictor_protocol=protocol, predictor_host=hosts or ("unused:1",)
        ),
    )


def address(server: Server, protocol: str) -> str:
    return server.grpc_address if protocol == "grpc-v2" else server.address


def vectors(bundle: Bundle, rows: int, seed: int = 0) -> Tensors:
    rng = np.random.default_rng(seed)
    width = len(bundle.signature.inputs[0].columns)
    return {"x": rng.normal(size=(rows, width)).astype(np.float32)}


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_predictions(bundle: Bundle, real_predictor: Server, protocol: str) -> None:
    predictor = connected(bundle, protocol, address(real_predictor, protocol))
    local = OnnxModel(bundle.model_path)
    for rows in (1, 2, 300):
        tensors = vectors(bundle, rows, seed=rows)
        answer = await predictor.infer(tensors)
        np.testing.assert_allclose(answer["y"], local.run(tensors)["y"], rtol=1e-5)
    await predictor.close()


@pytest.mark.parametrize("protocol", ["v2", "grpc-v2"])
async def test_a_name_that_the_system_knows(bundle: Bundle, real_predictor: Server, protocol: str) -> None:
    counts: list[int] = []
    host = f"localhost:{address(real_predictor, protocol).rpartition(':')[2]}"
    config = TransformerConfig(model_dir=Path(bundle.path), predictor_protocol=protocol, predictor_host=(host,))
    predictor = connect(bundle, config, counted=counts.append)
    for rows in (1, 2):
        assert len((await predictor.infer(vectors(bundle, rows)))["y"]) == rows
    assert counts == [1]
    await predictor.close()


@pytest.mark.parametrize("protocol", ["v2", "grpc-v2"])
async def test_many_calls_at_once_get_their_own_answers(bundle: Bundle, real_predictor: Server, protocol: str) -> None:
    predictor = connected(bundle, protocol, address(real_predictor, protocol))
    local = OnnxModel(bundle.model_path)
    batches = [vectors(bundle, 1 + seed % 3, seed) for seed in range(60)]
    answers = await asyncio.gather(*map(predictor.infer, batches))
    for tensors, answer in zip(batches, answers, strict=True):
        np.testing.assert_allclose(answer["y"], local.run(tensors)["y"], rtol=1e-5)
    await predictor.close()


@pytest.mark.parametrize("protocol", ["v2", "grpc-v2"])
async def test_an_answer_that_nobody_waited_for_is_not_given_to_another(
    bundle: Bundle, real_predictor: Server, protocol: str
) -> None:
    predictor = connected(bundle, protocol, address(real_predictor, protocol))
    local = OnnxModel(bundle.model_path)
    await predictor.infer(vectors(bundle, 1))
    for seed in range(20):
        call = asyncio.create_task(predictor.infer(vectors(bundle, 1, seed)))
        for _ in range(seed % 4):
            await asyncio.sleep(0)
        call.cancel()
        tensors = vectors(bundle, 2, seed=1000 + seed)
        np.testing.assert_allclose((await predictor.infer(tensors))["y"], local.run(tensors)["y"], rtol=1e-5)
    await predictor.close()


@pytest.mark.parametrize("protocol", ["v2", "grpc-v2"])
async def test_another_bundle_is_a_mismatch(other_bundle: Bundle, real_predictor: Server, protocol: str) -> None:
    predictor = connected(other_bundle, protocol, address(real_predictor, protocol))
    with pytest.raises(Unavailable, match="has another bundle") as error:
        await predictor.infer(vectors(other_bundle, 1))
    assert error.value.code == "predictor_mismatch"
    assert error.value.retry_after
    await predictor.close()


@pytest.mark.parametrize("protocol", ["v2", "grpc-v2"])
async def test_nobody_listens(bundle: Bundle, protocol: str) -> None:
    predictor = connected(bundle, protocol, f"127.0.0.1:{free_port()}")
    with pytest.raises(Unavailable) as error:
        await predictor.infer(vectors(bundle, 1))
    assert error.value.code == "predictor_unavailable"
    assert error.value.retry_after
    await predictor.close()


@pytest.mark.parametrize("protocol", ["v2", "grpc-v2"])
async def test_tensors_that_the_predictor_refuses(bundle: Bundle, real_predictor: Server, protocol: str) -> None:
    predictor = connected(bundle, protocol, address(real_predictor, protocol))
    with pytest.raises(Internal) as error:
        await predictor.infer({"x": np.ones((1, 3), np.float32)})
    assert error.value.code == "predictor_refused"
    await predictor.close()


ONE_OUTPUT = b'{"model_name":"m","outputs":[{"name":"y","datatype":"FP32","shape":[1,1],"data":[1.0]}]}'


@pytest.mark.parametrize(
    ("response", "kind", "code"),
    [
        (broken.http(429, b'{"error":"full"}'), Overloaded, "predictor_overloaded"),
        (broken.http(400, b'{"error":"no"}'), Internal, "predictor_refused"),
        (broken.http(500, b'{"error":"no such category","code":"inference_failed"}'), Internal, "inference_failed"),
        (broken.http(500, b"\xff\xfe"), Unavailable, "predictor_unavailable"),
        (broken.http(503, b""), Unavailable, "predictor_unavailable"),
        (broken.http(302, b"", "location: http://127.0.0.1:1/"), Unavailable, "predictor_unavailable"),
        (broken.http(200, b""), Unavailable, "predictor_unavailable"),
        (broken.http(200, b"{}"), Unavailable, "predictor_unavailable"),
        (broken.http(200, b"garbage"), Unavailable, "predictor_unavailable"),
        (broken.http(200, ONE_OUTPUT, "inference-header-content-length: 10000"), Unavailable, "predictor_unavailable"),
        (broken.http(200, ONE_OUTPUT, "inference-header-content-length: x"), Unavailable, "predictor_unavailable"),
        (broken.http(200, ONE_OUTPUT, "inference-header-content-length: -1"), Unavailable, "predictor_unavailable"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", Unavailable, "predictor_unavailable"),
        (b"\x00" * 100, Unavailable, "predictor_unavailable"),
    ],
)
async def test_answers_that_cannot_be_used(bundle: Bundle, response: bytes, kind: type, code: str) -> None:
    async with broken.listening(broken.answering(response)) as host:
        predictor = RestPredictor(Address(host), bundle)
        for _ in range(2):
            with pytest.raises(kind) as error:
                await predictor.infer(vectors(bundle, 1))
            assert error.value.code == code
        await predictor.close()


@pytest.mark.parametrize("sent", [0, 10, 60, 100])
async def test_a_connection_that_breaks_in_mid_answer(bundle: Bundle, sent: int) -> None:
    async def cut(reader: Any, writer: Any) -> None:
        await broken.read_request(reader)
        writer.write(broken.http(200, ONE_OUTPUT)[:sent])
        await writer.drain()

    async with broken.listening(cut) as host:
        predictor = RestPredictor(Address(host), bundle)
        with pytest.raises(Unavailable) as error:
            await predictor.infer(vectors(bundle, 1))
        assert error.value.code == "predictor_unavailable"
        await predictor.close()


async def test_a_connection_that_the_predictor_closed_while_idle_is_replaced(bundle: Bundle) -> None:
    connections = 0

    async def once(reader: Any, writer: Any) -> None:
        nonlocal connections
        connections += 1
        await broken.read_request(reader)
        writer.write(broken.http(200, ONE_OUTPUT))
        await writer.drain()

    async with broken.listening(once) as host:
        predictor = RestPredictor(Address(host), bundle)
        for calls in range(1, 4):
            assert (await predictor.infer(vectors(bundle, 1)))["y"].tolist() == [[1.0]]
            assert connections == calls
        await predictor.close()


async def test_connections_are_kept(bundle: Bundle) -> None:
    connections = 0

    async def count(reader: Any, writer: Any) -> None:
        nonlocal connections
        connections += 1
        await broken.answering(broken.http(200, ONE_OUTPUT))(reader, writer)

    async with broken.listening(count) as host:
        predictor = RestPredictor(Address(host), bundle)
        for _ in range(5):
            await predictor.infer(vectors(bundle, 1))
        await predictor.close()
    assert connections == 1


async def test_the_hop_speaks_the_pairs_own_name(bundle: Bundle) -> None:
    heads = []

    async def look(reader: Any, writer: Any) -> None:
        head, _ = await broken.read_request(reader)
        heads.append(head.decode().lower())
        writer.write(broken.http(200, ONE_OUTPUT))

    async with broken.listening(look) as host:
        predictor = RestPredictor(Address(host), bundle)
        await predictor.infer(vectors(bundle, 1))
        await predictor.close()
    assert heads[0].startswith(f"post /v2/models/{bundle.wire_name}/infer http/1.1\r\n")
    assert "authorization" not in heads[0]


@asynccontextmanager
async def grpc_server(answer: Callable[[bytes, Any], Any]) -> AsyncIterator[str]:
    """A gRPC server that knows ModelInfer only."""
    server = grpc.aio.server()
    method = grpc.unary_unary_rpc_method_handler(answer)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("inference.GRPCInferenceService", {"ModelInfer": method}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


@pytest.mark.parametrize("content", [b"garbage", b"\x22\x05\x0a\x03\x41\x42\x43", b"\xff" * 50])
async def test_answers_over_grpc_that_cannot_be_used(bundle: Bundle, content: bytes) -> None:
    async def answer(message: bytes, context: Any) -> bytes:
        return content

    async with grpc_server(answer) as host:
        predictor = GrpcPredictor(Address(host), bundle)
        with pytest.raises(Unavailable) as error:
            await predictor.infer(vectors(bundle, 1))
        assert (error.value.code, error.value.retry_after) == ("predictor_unavailable", 1)
        await predictor.close()


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        ("NOT_FOUND", Unavailable, "predictor_mismatch"),
        ("INVALID_ARGUMENT", Internal, "predictor_refused"),
        ("RESOURCE_EXHAUSTED", Overloaded, "predictor_overloaded"),
        ("UNAVAILABLE", Unavailable, "predictor_unavailable"),
        ("INTERNAL", Internal, "inference_failed"),
        ("UNIMPLEMENTED", Unavailable, "predictor_unavailable"),
        ("CANCELLED", Unavailable, "predictor_unavailable"),
    ],
)
async def test_statuses_over_grpc(bundle: Bundle, status: str, kind: type, code: str) -> None:
    async def answer(message: bytes, context: Any) -> bytes:
        await context.abort(getattr(grpc.StatusCode, status), "no")
        raise AssertionError

    async with grpc_server(answer) as host:
        predictor = GrpcPredictor(Address(host), bundle)
        with pytest.raises(kind) as error:
            await predictor.infer(vectors(bundle, 1))
        assert error.value.code == code
        await predictor.close()


async def answered(bundle: Bundle, predictor: PredictorClient, **settings: Any) -> Any:
    """What a service with this predictor makes of one good row."""
    service = make_service(bundle, predictor=predictor, **settings)
    call = service.call(1, None)
    call.rows = msgspec.convert([good_row()], list[service.reader.row_type])  # type: ignore[name-defined]
    try:
        service.submit(call)
        return await call.answer
    finally:
        await service.close()


@pytest.mark.parametrize("kind", [RestPredictor, GrpcPredictor])
async def test_a_predictor_that_hangs(bundle: Bundle, kind: Any) -> None:
    async with broken.listening(broken.hanging) as host:
        with pytest.raises(DeadlineExceeded) as error:
            await answered(bundle, kind(Address(host), bundle), predictor_timeout_ms=30)
    assert (error.value.status, error.value.code) == (504, "predictor_timeout")


@pytest.mark.parametrize(
    "content",
    [
        b'{"model_name":"m","outputs":[]}',
        b'{"model_name":"m","outputs":[{"name":"z","datatype":"FP32","shape":[1,1],"data":[1.0]}]}',
        b'{"model_name":"m","outputs":[{"name":"y","datatype":"FP32","shape":[1,2],"data":[1.0,2.0]}]}',
        b'{"model_name":"m","outputs":[{"name":"y","datatype":"BYTES","shape":[1,1],"data":["a"]}]}',
        b'{"model_name":"m","outputs":[{"name":"y","datatype":"FP32","shape":[],"data":[1.0]}]}',
    ],
)
async def test_outputs_that_are_not_those_of_the_signature(bundle: Bundle, content: bytes) -> None:
    """A predictor that answers with something else must never become a prediction, and never a fault of ours."""
    async with broken.listening(broken.answering(broken.http(200, content))) as host:
        with pytest.raises(RequestError) as error:
            await answered(bundle, RestPredictor(Address(host), bundle))
    assert (error.value.status, error.value.code) == (503, "predictor_unavailable")


async def test_outputs_for_another_number_of_rows(bundle: Bundle) -> None:
    """Graphs come to that because of what they are asked, so it is the request that is refused, not the predictor."""
    content = b'{"model_name":"m","outputs":[{"name":"y","datatype":"FP32","shape":[2,1],"data":[1.0,2.0]}]}'
    async with broken.listening(broken.answering(broken.http(200, content))) as host:
        with pytest.raises(Internal, match=r"'y' has shape \[2, 1\] for 1 rows") as error:
            await answered(bundle, RestPredictor(Address(host), bundle))
    assert error.value.code == "inference_failed"


def test_a_model_in_process_that_predicts_otherwise_than_training(bundle: Bundle, other_bundle: Bundle) -> None:
    class Swapped(Bundle):
        def graph(self) -> Graph:
            return other_bundle.graph()

    with pytest.raises(BundleError, match="golden replay"):
        InProcessPredictor(Swapped(bundle.path, bundle.manifest, bundle.digest))
