"""gRPC's server reflection, by which grpcurl and others learn what can be called. Needs the extra ``grpc``.

Source: gRPC's ``server-reflection.md``. The versions ``v1`` and ``v1alpha`` have the same messages.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FileDescriptor

from tandem.oip import grpc_predict_v2_pb2, health_pb2, protobuf, reflection_v1alpha_pb2
from tandem.oip import reflection_v1_pb2 as pb

#: Full names of the gRPC services.
SERVICES: Final = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")

#: Files of all services that Tandem's servers have. None imports another.
FILES: Final = tuple(module.DESCRIPTOR for module in (grpc_predict_v2_pb2, health_pb2, pb, reflection_v1alpha_pb2))
_NOT_FOUND: Final = 5
_INVALID_ARGUMENT: Final = 3


async def reflect(messages: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """A serialised ``ServerReflectionResponse`` to each serialised ``ServerReflectionRequest``.

    Raises:
        MalformedRequest: A message is not valid.
    """
    async for message in messages:
        request = protobuf.parse(pb.ServerReflectionRequest, message)
        response = pb.ServerReflectionResponse(valid_host=request.host, original_request=request, **_answer(request))
        yield bytes(response.SerializeToString())


def _answer(request: pb.ServerReflectionRequest) -> dict[str, Any]:
    kind = request.WhichOneof("message_request")
    if kind == "list_services":
        return {"list_services_response": {"service": [{"name": name} for name in _SERVICE_NAMES]}}
    if kind == "file_by_filename":
        return _file(_BY_NAME.get(request.file_by_filename), request.file_by_filename)
    if kind == "file_containing_symbol":
        return _file(_BY_SYMBOL.get(request.file_containing_symbol), request.file_containing_symbol)
    if kind == "file_containing_extension":
        return _error(_NOT_FOUND, "nothing is extended here")
    if kind == "all_extension_numbers_of_type":
        name = request.all_extension_numbers_of_type
        is_message = name in _BY_SYMBOL
        return {"all_extension_numbers_response": {"base_type_name": name}} if is_message else _error(_NOT_FOUND, name)
    return _error(_INVALID_ARGUMENT, "the request asks nothing that is known here")


def _file(file: FileDescriptor | None, name: str) -> dict[str, Any]:
    if file is None:
        return _error(_NOT_FOUND, f"there is no {name!r}")
    return {"file_descriptor_response": {"file_descriptor_proto": [file.serialized_pb]}}


def _error(code: int, message: str) -> dict[str, Any]:
    return {"error_response": {"error_code": code, "error_message": message}}


def _symbols(file: FileDescriptor) -> Iterator[str]:
    """Full names of what a file defines: services and their methods, messages, enumerations."""
    for service in file.services_by_name.values():
        yield service.full_name
        yield from (method.full_name for method in service.methods)
    yield from (enum.full_name for enum in file.enum_types_by_name.values())
    for message in file.message_types_by_name.values():
        yield from _nested(message)


def _nested(message: Descriptor) -> Iterator[str]:
    yield message.full_name
    yield from (enum.full_name for enum in message.enum_types)
    for inner in message.nested_types:
        yield from _nested(inner)


_BY_NAME: Final = {file.name: file for file in FILES}
_BY_SYMBOL: Final = {symbol: file for file in FILES for symbol in _symbols(file)}
_SERVICE_NAMES: Final = tuple(sorted(service.full_name for file in FILES for service in file.services_by_name.values()))
