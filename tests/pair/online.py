"""Rows sent to a running transformer, over each of its protocols."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import grpc
from transformer.tests import ask
from transformer.tests.servers import Server

from tandem.oip import protobuf, rest, rest_header

WIRES = ("v1", "v2", "grpc")


@dataclass
class Told:
    """What was answered to some rows: outputs by name, and vectors where they were asked for."""

    answers: dict[str, list[Any]]
    vectors: list[dict[str, float]]


class Online:
    """A client that keeps its connections, one for each thread."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._local = threading.local()
        self._connections: list[http.client.HTTPConnection] = []
        self._channel = grpc.insecure_channel(server.grpc_address)
        self._infer = self._channel.unary_unary(protobuf.INFER_METHOD)

    def __enter__(self) -> Online:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._channel.close()
        for connection in self._connections:
            connection.close()

    def ask(self, rows: Sequence[dict[str, Any]], wire: str) -> Told:
        """The answer to one request."""
        return {"v1": self._ask_v1, "v2": self._ask_v2, "grpc": self._ask_grpc}[wire](rows)

    def ask_all(self, requests: Sequence[tuple[Sequence[dict[str, Any]], str]], threads: int = 8) -> list[Told]:
        """Answers to requests that are sent concurrently."""
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(lambda request: self.ask(*request), requests))

    def _ask_v1(self, rows: Sequence[dict[str, Any]]) -> Told:
        body = json.dumps({"instances": rows}).encode()
        _, content = self._post("/v1/models/parcels:predict", body, {"x-explain": "vector"})
        predictions = json.loads(content)["predictions"]
        names = [name for name in predictions[0] if name not in ("vector", "degraded")]
        answers = {name: [prediction[name] for prediction in predictions] for name in names}
        answers["degraded"] = [
            ",".join(
                f"{view}:{':'.join(str(part) for part in why.values())}"
                for view, why in prediction.get("degraded", {}).items()
            )
            for prediction in predictions
        ]
        return Told(answers, [prediction["vector"] for prediction in predictions])

    def _ask_v2(self, rows: Sequence[dict[str, Any]]) -> Told:
        body, length = rest.encode_request(ask.infer_request(rows))
        headers, content = self._post("/v2/models/parcels/infer", body, {rest_header.HEADER_LENGTH: str(length)})
        header = headers.get(rest_header.HEADER_LENGTH)
        return self._told(rest.decode_response(content, int(header) if header else None), len(rows))

    def _ask_grpc(self, rows: Sequence[dict[str, Any]]) -> Told:
        content = self._infer(protobuf.encode_request(ask.infer_request(rows)), timeout=60)
        return self._told(protobuf.decode_response(content), len(rows))

    def _told(self, response: Any, rows: int) -> Told:
        return Told({"degraded": [""] * rows, **ask.columns(response)}, [])

    def _post(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[Any, bytes]:
        if not hasattr(self._local, "connection"):
            self._local.connection = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=60)
            self._connections.append(self._local.connection)
        self._local.connection.request("POST", path, body, headers)
        answer = self._local.connection.getresponse()
        content = answer.read()
        assert answer.status == 200, content
        return answer.headers, content
