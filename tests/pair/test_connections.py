"""What happens on a connection between its first byte and its last."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from transformer.tests.servers import Server, wait_until
from transformer.tests.world import good_row, offline

from tandem import Bundle

from .bad_input import GOOD, MAX_BODY, head, text

FULL = head(f"Content-Length: {len(GOOD)}") + GOOD
HEALTH = b"GET /v2/health/ready HTTP/1.1\r\nHost: t\r\n\r\n"


@contextmanager
def connected(server: Server) -> Iterator[socket.socket]:
    with closing(socket.create_connection(("127.0.0.1", server.port), timeout=10)) as client:
        yield client


def inflight(server: Server) -> float:
    for line in server.request("GET", "/metrics").content.decode().splitlines():
        if line.startswith("tandem_inflight_requests{"):
            return float(line.rpartition(" ")[2])
    raise AssertionError("there is no such metric")


@pytest.mark.parametrize("size", [60_000, 70_000, 300_000, MAX_BODY - 1, MAX_BODY])
@pytest.mark.parametrize("chunk", [1000, 65_536, 2**21])
def test_long_bodies(pair: Server, size: int, chunk: int) -> None:
    body = GOOD.ljust(size)
    with connected(pair) as client:
        client.sendall(head(f"Content-Length: {size}"))
        for at in range(0, size, chunk):
            client.sendall(body[at : at + chunk])
        assert client.recv(15) == b"HTTP/1.1 200 OK"


def test_a_body_of_many_rows(pair: Server) -> None:
    reply = pair.predict(*[good_row(parts=1 + index % 20) for index in range(500)])
    assert len(reply.json["predictions"]) == 500


def answers(client: socket.socket, count: int) -> list[tuple[int, bytes]]:
    """Statuses and bodies of the next answers on a connection."""
    replies = []
    with client.makefile("rb") as stream:
        for _ in range(count):
            status = int(stream.readline().split()[1])
            length = int(http.client.parse_headers(stream)["content-length"])
            replies.append((status, stream.read(length)))
    return replies


def test_requests_that_are_sent_without_waiting_are_answered_in_their_order(pair: Server, bundle: Bundle) -> None:
    rows = [good_row(customer_id=f"c{index}") for index in range(12)]
    expected = offline(bundle, rows).answers["minutes"]
    sent, expectations = b"", []
    for index, row in enumerate(rows):
        body = text(row)
        sent += head(f"Content-Length: {len(body)}") + body
        expectations.append((200, expected[index]))
        if index % 3 == 1:
            bad = text(good_row(parts=99))
            sent += head(f"Content-Length: {len(bad)}") + bad + HEALTH
            expectations += [(422, None), (200, None)]
        if index % 4 == 2:
            piece = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
            sent += head("Transfer-Encoding: chunked") + piece
            expectations.append((200, expected[index]))
    with connected(pair) as client:
        client.sendall(sent)
        replies = answers(client, len(expectations))
    for (status, content), (wanted_status, minutes) in zip(replies, expectations, strict=True):
        assert status == wanted_status
        if minutes is not None:
            assert json.loads(content)["predictions"][0]["minutes"] == pytest.approx(minutes, rel=1e-5)


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_connection_is_closed_when_the_client_wants_it(pair: Server, version: str) -> None:
    request = FULL if version == "1.1" else FULL.replace(b"HTTP/1.1", b"HTTP/1.0")
    request = request.replace(b"Host: t\r\n", b"Host: t\r\nConnection: close\r\n")
    with connected(pair) as client:
        client.sendall(request)
        whole = b"".join(iter(lambda: client.recv(65536), b""))
    assert whole.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"connection: close\r\n" in whole.lower()


@pytest.mark.parametrize(
    "sent", [head("Content-Length: 500"), FULL[:-5], FULL[:-5].replace(b"/json", b"/octets"), FULL]
)
def test_a_client_that_goes_away_leaves_nothing_behind(pair: Server, sent: bytes) -> None:
    """Were its request counted on, autoscaling would see load that is not there, and ``--workers`` would fill up."""
    for _ in range(10):
        with connected(pair) as client:
            client.sendall(sent)
    wait_until(lambda: inflight(pair) == 0, seconds=10)
    assert pair.predict(good_row()).status == 200


def test_a_slow_client_gets_its_answer(pair: Server) -> None:
    with connected(pair) as client:
        for byte in FULL:
            client.sendall(bytes([byte]))
        assert answers(client, 1)[0][0] == 200
