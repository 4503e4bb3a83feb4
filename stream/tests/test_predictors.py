"""A predictor over the hop: its answers, and what its errors mean for a batch."""

from __future__ import annotations

import http.client
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pytest

from tandem import Bundle
from tandem.errors import Internal, Overloaded, RequestError, Unavailable
from tandem.oip import InferResponse, Tensor, rest
from tandem.oip.rest_header import HEADER_LENGTH
from tandem_stream.predictors import RemotePredictor, load_model


@dataclass
class Answers:
    """A connection that gives one answer to everything."""

    status: int = 200
    content: bytes | Exception = b""
    header_length: int | None = None
    path: str = ""
    closed: int = 0

    def __call__(self, address: str, timeout: float) -> Any:
        return self

    def request(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> None:
        self.path = path
        if isinstance(self.content, Exception):
            raise self.content

    def getresponse(self) -> Any:
        return self

    def read(self) -> bytes:
        assert isinstance(self.content, bytes)
        return self.content

    def getheader(self, name: str) -> str | None:
        assert name == HEADER_LENGTH
        return None if self.header_length is None else str(self.header_length)

    def close(self) -> None:
        self.closed += 1


def tensors(bundle: Bundle) -> Any:
    return bundle.golden().vectors


def answer(bundle: Bundle, outputs: Any) -> rest.Body:
    named = [Tensor(name, "FP32", array.shape, array) for name, array in outputs.items()]
    return rest.encode_response(InferResponse(model_name=bundle.wire_name, outputs=named))


def test_outputs_are_those_of_the_model(bundle: Bundle) -> None:
    outputs = load_model(bundle, 1)(tensors(bundle))
    body = answer(bundle, outputs)
    connection = Answers(200, body.content, body.header_length)
    result = RemotePredictor(bundle, "p:80", 1.0, connection)(tensors(bundle))
    assert connection.path == f"/v2/models/{bundle.wire_name}/infer"
    assert result.keys() == outputs.keys()
    assert all(np.array_equal(result[name], outputs[name]) for name in outputs)


def test_too_few_rows_are_the_models_fault(bundle: Bundle) -> None:
    outputs = {name: array[:1] for name, array in load_model(bundle, 1)(tensors(bundle)).items()}
    body = answer(bundle, outputs)
    with pytest.raises(Internal) as caught:
        RemotePredictor(bundle, "p:80", 1.0, Answers(200, body.content, body.header_length))(tensors(bundle))
    assert caught.value.code == "inference_failed"


PROTOCOL = msgspec.json.encode({"error": "no"})


@pytest.mark.parametrize(
    ("status", "content", "kind", "code"),
    [
        (404, PROTOCOL, Unavailable, "predictor_mismatch"),
        (400, PROTOCOL, Internal, "predictor_refused"),
        (429, PROTOCOL, Overloaded, "predictor_overloaded"),
        (500, PROTOCOL, Internal, "inference_failed"),
        (500, b"<html>", Unavailable, "predictor_unavailable"),
        (502, b"", Unavailable, "predictor_unavailable"),
        (200, b"{}", Unavailable, "predictor_unavailable"),
        (0, ConnectionRefusedError("refused"), Unavailable, "predictor_unavailable"),
        (0, http.client.BadStatusLine(""), Unavailable, "predictor_unavailable"),
    ],
)
def test_errors_tell_bad_rows_from_outages(
    bundle: Bundle, status: int, content: bytes | Exception, kind: type[RequestError], code: str
) -> None:
    connection = Answers(status, content)
    with pytest.raises(kind) as caught:
        RemotePredictor(bundle, "p:80", 1.0, connection)(tensors(bundle))
    assert caught.value.code == code
    assert connection.closed == isinstance(content, Exception)
