"""Open Inference Protocol v2: tensors, requests and responses, and their wire forms.

    tensors.py    tensors, requests, responses; datatypes
    rest.py       JSON with the binary-tensor extension      ``rest.decode_request(body, header_length)``
    protobuf.py   gRPC (needs the extra ``grpc``)            ``protobuf.decode_request(message_bytes)``

Both wire modules have the same four functions, for servers and for clients: ``decode_request``, ``encode_response``,
``encode_request`` and ``decode_response``.
"""

from tandem.oip.tensors import (
    DATATYPES,
    InferRequest,
    InferResponse,
    Parameter,
    Parameters,
    RequestedOutput,
    Tensor,
    datatype_of,
)

__all__ = [
    "DATATYPES",
    "InferRequest",
    "InferResponse",
    "Parameter",
    "Parameters",
    "RequestedOutput",
    "Tensor",
    "datatype_of",
]
