from __future__ import annotations

import re
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import msgspec
import pytest
from transformer.tests import world
from transformer.tests.servers import Server
from transformer.tests.world import good_row

from tandem import Bundle

from .bad_input import CASES, GOOD, MAX_BODY, V1, Case, head

ERRORS = Path(__file__).parents[2] / "docs" / "errors.md"


def documented() -> set[tuple[str, str, str]]:
    """Code, status and gRPC status of every row of the transformer's table."""
    chapter = ERRORS.read_text().split("## Codes of the transformer")[1].split("\n## ")[0]
    return set(re.findall(r"^\| `(\w+)` \| (\d+) \| (\w+) \|", chapter, re.MULTILINE))


@pytest.mark.parametrize("case", CASES, ids=[case.kind for case in CASES])
def test_bad_input(case: Case, pair: Server) -> None:
    pid = pair.process.pid
    reply = case.send(pair)
    body = reply.json
    assert (body.get("status", reply.status), body["code"]) == (case.status, case.code), body
    assert isinstance(body["error"], str)
    assert body["error"]
    if isinstance(case.status, int):
        assert reply.headers["content-type"] == "application/json"
        assert body["request_id"] == reply.headers["x-request-id"]
        assert reply.headers.get("retry-after") is None
        details = body.get("details", [])
        assert bool(details) == (case.detail is not None)
    if case.detail is not None:
        row, field, rule = case.detail
        named = [detail for detail in details if (detail["row"], detail["field"]) == (row, field)]
        assert any(detail["rule"].startswith(rule) for detail in named), details
        if case.status == 422:
            assert field in body["error"]
    assert pair.process.poll() is None
    assert pair.process.pid == pid
    assert pair.is_ready()


def test_every_answer_is_documented() -> None:
    rows = documented()
    assert len(rows) > 20
    for case in CASES:
        if isinstance(case.status, int):
            assert (case.code, str(case.status)) in {(code, status) for code, status, _ in rows}, case.kind
        else:
            assert (case.code, case.status) in {(code, status) for code, _, status in rows}, case.kind


def test_a_body_shorter_than_announced_is_not_answered(pair: Server) -> None:
    """Only the client knows what is missing; nothing is predicted from half a request."""
    with closing(socket.create_connection(("127.0.0.1", pair.port), timeout=30)) as client:
        client.sendall(head(f"Content-Length: {len(GOOD) + 10}") + GOOD)
        client.shutdown(socket.SHUT_WR)
        assert client.recv(4096) == b""
    assert pair.predict(good_row()).status == 200


@pytest.mark.parametrize(
    "content",
    [
        b"\x00" * 100,
        b"GET\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        head("Content-Length: x"),
        head("Content-Length: -1"),
        head("Content-Length: 9", "Content-Length: 10"),
        head("Content-Length: 9") + GOOD,  # longer than announced
        head("Transfer-Encoding: chunked") + b"x\r\n",
        head("Transfer-Encoding: chunked", "Content-Length: 5") + b"0\r\n\r\n",
    ],
)
def test_what_is_no_http(pair: Server, content: bytes) -> None:
    with closing(socket.create_connection(("127.0.0.1", pair.port), timeout=30)) as client:
        client.sendall(content)
        client.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: client.recv(4096), b""))
        assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
    assert pair.predict(good_row()).status == 200


def test_a_refused_body_does_not_run_into_the_next_request(pair: Server) -> None:
    """What is left of a body that is too long must not be taken for a request on the same connection."""
    smuggled = f"POST {V1} HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n".encode()
    size = 2 * MAX_BODY
    after = head(f"Content-Length: {len(GOOD)}", "Connection: close") + GOOD
    answer = b""
    with closing(socket.create_connection(("127.0.0.1", pair.port), timeout=30)) as client:
        client.sendall(head(f"Content-Length: {size}") + smuggled)
        with suppress(ConnectionError):  # the server may hang up, too
            answer = client.recv(65536)
            client.sendall(b" " * (size - len(smuggled)) + after)
            while part := client.recv(65536):
                answer += part
    assert re.findall(rb"HTTP/1.1 (\d+)", answer) in ([b"413"], [b"413", b"200"])


def test_good_requests_among_bad_ones_get_their_own_answers(pair: Server, bundle: Bundle) -> None:
    """They arrive together and so share batches with bad ones."""
    good = world.rows(60, seed=11)
    expected = world.offline(bundle, good)
    bad = [case for case in CASES if case.kind.startswith(("V1", "world", "gRPC"))]

    def ask(index: int) -> object:
        if index % 2:
            case = bad[index % len(bad)]
            return case.send(pair).json["code"] == case.code
        return pair.predict(good[index // 2])

    with ThreadPoolExecutor(16) as threads:
        replies = list(threads.map(ask, range(2 * len(good))))
    assert all(replies[1::2])
    for row, reply in enumerate(replies[::2]):
        (prediction,) = reply.json["predictions"]  # type: ignore[attr-defined]
        assert prediction["minutes"] == pytest.approx(expected.answers["minutes"][row], rel=1e-5)
        assert prediction["eta"] == expected.answers["eta"][row]
        assert prediction.get("degraded", {}) == msgspec.to_builtins(expected.degraded.get(row, {}))
