from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from google.protobuf.descriptor_pool import DescriptorPool

from tandem.errors import MalformedRequest
from tandem.oip import reflection_v1_pb2 as pb
from tandem.oip.reflection import reflect


async def ask(**question: object) -> pb.ServerReflectionResponse:
    request = pb.ServerReflectionRequest(host="h", **question)

    async def messages() -> AsyncIterator[bytes]:
        yield request.SerializeToString()

    (answer,) = [pb.ServerReflectionResponse.FromString(message) async for message in reflect(messages())]
    assert (answer.valid_host, answer.original_request) == ("h", request)
    return answer


async def test_every_service_that_is_listed_can_be_built_from_the_files() -> None:
    services = [service.name for service in (await ask(list_services="")).list_services_response.service]
    assert services == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "inference.GRPCInferenceService",
    ]
    pool = DescriptorPool()
    for service in services:
        (file,) = (await ask(file_containing_symbol=service)).file_descriptor_response.file_descriptor_proto
        pool.AddSerializedFile(file)
        name = pool.FindServiceByName(service).file.name
        assert (await ask(file_by_filename=name)).file_descriptor_response.file_descriptor_proto == [file]
    assert pool.FindMessageTypeByName("inference.ModelInferRequest").fields_by_name["model_name"].number == 1


@pytest.mark.parametrize(
    "symbol",
    ["inference.GRPCInferenceService.ModelInfer", "inference.ModelInferRequest.InferInputTensor", "inference.DataType"],
)
async def test_symbols(symbol: str) -> None:
    assert (await ask(file_containing_symbol=symbol)).HasField("file_descriptor_response")


@pytest.mark.parametrize(
    "question",
    [
        {"file_containing_symbol": "inference.Nothing"},
        {"file_by_filename": "nothing.proto"},
        {"file_containing_extension": {"containing_type": "inference.DataType", "extension_number": 3}},
        {"all_extension_numbers_of_type": "inference.Nothing"},
    ],
)
async def test_what_there_is_not(question: dict[str, object]) -> None:
    assert (await ask(**question)).error_response.error_code == 5


async def test_extensions_there_are_none() -> None:
    answer = (await ask(all_extension_numbers_of_type="inference.ModelConfig")).all_extension_numbers_response
    assert (answer.base_type_name, list(answer.extension_number)) == ("inference.ModelConfig", [])


async def test_no_question() -> None:
    assert (await ask()).error_response.error_code == 3


async def test_no_message() -> None:
    async def messages() -> AsyncIterator[bytes]:
        yield b"\xff"

    with pytest.raises(MalformedRequest):
        await anext(reflect(messages()))
