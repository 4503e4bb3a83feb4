"""Modes of a pair on the loopback interface: KServe's V1 protocol, and the Open Inference Protocol in its three forms.

The answers are those that clients get. The vectors are those of the pair's prediction log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np

from tandem import Bundle, Contract
from tandem.clock import utc_now
from tandem.dtypes import Column, Columns, parse_timestamp
from tandem.oip import InferRequest, InferResponse, Tensor, protobuf, rest
from tandem.oip.rest_header import HEADER_LENGTH
from tandem.parity import Results, Sample, read_answers, read_degraded
from tandem.parity.results import describe
from tandem.prediction_log.gathering import chunks
from tandem.prediction_log.records import Records
from tandem.request_forms import tensors_of
from tandem_cli.local.processes import LOOPBACK
from tandem_cli.parity.library import Requests, Run
from tandem_cli.parity.session import Session
from tandem_transformer.predictors.address import Address
from tandem_transformer.predictors.http2_connection import CallingConnection
from tandem_transformer.predictors.http_connection import HttpPool

_AT_ONCE: Final = 8
"""Requests on their way at the same time."""

_PREDICTION_ID: Final = "prediction_id"


@dataclass(frozen=True, slots=True)
class Answered:
    """What a client got for one request.

    Attributes:
        prediction_id: Under which it is logged; empty for an error.
        answers: A column for each field of the answer.
        degraded: For each row, why stored values were not used.
        error: The code of the error; empty for none.
    """

    prediction_id: str = ""
    answers: Columns = field(default_factory=dict)
    degraded: Sequence[str] = ()
    error: str = ""


Ask = Callable[[Sample, Column], Awaitable[Answered]]
"""Sends rows of a sample as one request."""


def open_v1(session: Session) -> Run:
    """V1 over HTTP."""
    bundle, post = session.bundle, _poster(session)
    path = f"/v1/models/{bundle.name}:predict"

    async def ask(sample: Sample, rows: Column) -> Answered:
        body = msgspec.json.encode({"instances": [sample.rows[row] for row in rows.tolist()]})
        status, headers, content = await post(path, body, None)
        if status != 200:
            return Answered(error=_code_of(status, content))
        objects = msgspec.json.decode(content)["predictions"]
        degraded = read_degraded(objects)
        texts = [describe(degraded[row]) if row in degraded else "" for row in range(len(rows))]
        return Answered(headers[b"x-prediction-id"].decode(), read_answers(bundle.contract, objects), texts)

    return _run(session, ask)


def open_oip_json(session: Session) -> Run:
    """The Open Inference Protocol over HTTP, with all tensors in JSON."""
    return _run(session, _asker_of_rest(session, binary_data=False), _fits_json)


def open_oip_binary(session: Session) -> Run:
    """The same with binary tensors."""
    return _run(session, _asker_of_rest(session, binary_data=True))


def open_grpc(session: Session) -> Run:
    """The Open Inference Protocol over gRPC."""
    bundle, port = session.bundle, session.pair.grpc_port
    address = Address(f"{LOOPBACK}:{port}")
    connection = session.runner.run(CallingConnection.open(address, protobuf.INFER_METHOD))
    session.close_with(connection.close)

    async def ask(sample: Sample, rows: Column) -> Answered:
        response = await connection.call(protobuf.encode_request(_request(bundle, sample, rows)))
        if response.status:
            return Answered(error=response.code or f"grpc_{response.status}")
        decoded = protobuf.decode_response(response.content)
        return _answered(bundle.contract, decoded, str(decoded.parameters[_PREDICTION_ID]))

    return _run(session, ask)


Post = Callable[[str, bytes, int | None], Awaitable[tuple[int, Mapping[bytes, bytes], bytes]]]
"""Path, body and length of its JSON part if tensors follow; to status, headers and body."""


def _poster(session: Session) -> Post:
    host = f"{LOOPBACK}:{session.pair.http_port}"
    pool = HttpPool(Address(host), None, 5.0)
    session.close_with(pool.close)

    async def post(path: str, body: bytes, json_bytes: int | None) -> tuple[int, Mapping[bytes, bytes], bytes]:
        head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n"
        head += "Content-Type: application/json\r\n" if json_bytes is None else f"{HEADER_LENGTH}: {json_bytes}\r\n"
        response = await pool.request(f"{head}\r\n".encode() + body)
        return response.status, response.headers, response.body

    return post


def _asker_of_rest(session: Session, *, binary_data: bool) -> Ask:
    bundle, post = session.bundle, _poster(session)
    path = f"/v2/models/{bundle.name}/infer"

    async def ask(sample: Sample, rows: Column) -> Answered:
        body = rest.encode_request(_request(bundle, sample, rows), binary_data=binary_data)
        status, headers, content = await post(path, *body)
        if status != 200:
            return Answered(error=_code_of(status, content))
        length = headers.get(rest.HEADER_LENGTH_KEY)
        response = rest.decode_response(content, int(length) if length else None)
        return _answered(bundle.contract, response, headers[b"x-prediction-id"].decode())

    return ask


def _request(bundle: Bundle, sample: Sample, rows: Column) -> InferRequest:
    columns = {name: column[rows] for name, column in sample.inputs.request.items()}
    return InferRequest(bundle.name, tensors_of(bundle.contract, columns))


def _answered(contract: Contract, response: InferResponse, prediction_id: str) -> Answered:
    tensors = {tensor.name: tensor for tensor in response.outputs}
    answers = {name: _column(tensors[name], field.type) for name, field in contract.answers.items()}
    rows = len(next(iter(answers.values())))
    # views in alphabetical order, as those of the other modes
    texts = tensors["degraded"].strings().tolist() if "degraded" in tensors else [""] * rows
    return Answered(prediction_id, answers, [",".join(sorted(text.split(","))) for text in texts])


def _column(tensor: Tensor, type_: str) -> Column:
    if type_ == "timestamp":
        return np.array([parse_timestamp(text) for text in tensor.strings().tolist()], "datetime64[us]")
    return tensor.strings() if type_ == "string" else tensor.data


def _code_of(status: int, content: bytes) -> str:
    try:
        return str(msgspec.json.decode(content)["code"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return f"http_{status}"


def _fits_json(contract: Contract, sample: Sample) -> Column:
    """Rows that tensors in JSON can carry: bytes must be UTF-8 there."""
    fits = np.ones(len(sample), bool)
    for name, entry in contract.inputs.items():
        if entry.type == "bytes":
            fits &= [_is_text(content) for content in sample.inputs.request[name].tolist()]
    return fits


def _is_text(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def _run(session: Session, ask: Ask, carries: Callable[[Contract, Sample], Column] | None = None) -> Run:
    """A mode that sends requests, several at a time."""

    def run(sample: Sample, requests: Requests) -> Results:
        results = Results.of(sample.inputs)
        if carries is not None:
            results.carried = carries(session.bundle.contract, sample)
        places = session.runner.run(_ask_all(ask, sample, _carried(requests, results.carried), results))
        _put_logged(session.bundle, results, places, session.pair.logged())
        return results

    return run


def _carried(requests: Requests, carried: Column) -> list[list[int]]:
    """Requests without the rows that cannot be carried, as a stack."""
    requests = [[row for row in rows if carried[row]] for rows in requests]
    return [list(rows) for rows in requests if rows][::-1]


async def _ask_all(ask: Ask, sample: Sample, pending: list[list[int]], results: Results) -> dict[str, Sequence[int]]:
    """Send all requests; one that fails is sent again row by row.

    Returns:
        Rows of each request that was answered, by the id under which it is logged.
    """
    places: dict[str, Sequence[int]] = {}

    async def work() -> None:
        while pending:
            rows = pending.pop()
            index = np.array(rows)
            results.as_of[index[~sample.timed[index]]] = utc_now()
            answered = await ask(sample, index)
            if not answered.error:
                places[answered.prediction_id] = rows
                results.put_answers(index, answered.answers)
                for row, text in zip(rows, answered.degraded, strict=True):
                    results.degraded[row] = text
            elif len(rows) == 1:
                results.errors[rows[0]] = answered.error
            else:
                pending.extend([row] for row in rows)

    await asyncio.gather(*(work() for _ in range(_AT_ONCE)))
    return places


def _put_logged(
    bundle: Bundle, results: Results, places: Mapping[str, Sequence[int]], logged: Sequence[Records]
) -> None:
    """Keep what the model was given, and when rows were asked about, as the prediction log has it."""
    for _, records in chunks(("predictions", part) for part in logged):
        rows, at = _find(records, places)
        results.as_of[rows] = records.columns["as_of"][at]
        own = records.by_model
        rows, at = _find(own, places)
        if len(rows):
            tensors = {tensor.name: own.columns[f"vector/{tensor.name}"] for tensor in bundle.signature.inputs}
            results.put_vectors(rows, {name: tensor[at] for name, tensor in tensors.items()})


def _find(records: Records, places: Mapping[str, Sequence[int]]) -> tuple[Column, Column]:
    """Which rows of the sample are among the records, and where."""
    pairs = [
        (places[prediction_id][row], at)
        for at, (prediction_id, row) in enumerate(
            zip(records.prediction_ids, records.columns["row"].tolist(), strict=True)
        )
        if prediction_id in places
    ]
    rows, at = zip(*pairs, strict=True) if pairs else ((), ())
    return np.array(rows, np.intp), np.array(at, np.intp)
