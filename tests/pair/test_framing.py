"""One request in, one answer or the end of the connection out, whatever is wrong or offered in the framing.

In each case the body looks like a request of its own. It must never be answered as one.
"""

from __future__ import annotations

import json
import re
import socket
from contextlib import closing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformer.tests.servers import Server
from transformer.tests.world import good_row

from tandem import Bundle

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nhost: s\r\n\r\n"
OFFERS = {
    "h2c": b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\n"
    b"http2-settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n",
    "TLS": b"connection: upgrade\r\nupgrade: TLS/1.0\r\n",
    "websocket": b"connection: keep-alive, Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
    b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    "several": b"upgrade: h2c, websocket\r\nconnection: UPGRADE\r\n",
    "in two headers": b"connection: keep-alive\r\nconnection: upgrade\r\nupgrade: h2c\r\n",
}
FAULTS = {
    "length and chunked": b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked and length": b"transfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n",
    "two lengths": b"content-length: 0\r\ncontent-length: 40\r\n\r\n",
    "two equal lengths": b"content-length: 40\r\ncontent-length: 40\r\n\r\n",
    "lengths in a list": b"content-length: 0, 40\r\n\r\n",
    "a negative length": b"content-length: -1\r\n\r\n",
    "a signed length": b"content-length: +40\r\n\r\n",
    "a hexadecimal length": b"content-length: 0x10\r\n\r\n",
    "a length too long to count": b"content-length: 99999999999999999999999999\r\n\r\n",
    "an empty length": b"content-length:\r\n\r\n",
    "white space before the colon": b"content-length : 40\r\n\r\n",
    "a folded header": b"x-folded: a\r\n content-length: 40\r\n\r\n",
    "chunked twice": b"transfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "chunked is not last": b"transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "an unknown coding": b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a chunk size with a sign": b"transfer-encoding: chunked\r\n\r\n-1\r\n",
    "a chunk size that is no number": b"transfer-encoding: chunked\r\n\r\nzz\r\n",
    "a chunk size too long to count": b"transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
    "a chunk longer than it says": b"transfer-encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
    "a length as a trailer": b"transfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\ncontent-length: 40\r\n\r\n",
    "chunked as a trailer": b"transfer-encoding: chunked\r\n\r\n0\r\ntransfer-encoding: chunked\r\n\r\n",
    "a bare line feed after a chunk size": b"transfer-encoding: chunked\r\n\r\n1\na\n0\n\n",
    "a bare carriage return": b"x: a\rcontent-length: 40\r\n\r\n",
    "a NUL in a header": b"x: a\x00b\r\n\r\n",
    "no colon": b"content-length 40\r\n\r\n",
}


# Ends every connection: as a request of its own with 405, where another request swallows its beginning with 400.
LAST = b"PUT /v2/health/live HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n"


class Front:
    """A server and a path of it that predicts.

    Args:
        server: The server.
        path: The path.
        body: A body for it.
        status: The status with which that is answered.
    """

    def __init__(self, server: Server, path: str, body: bytes, status: int) -> None:
        self.port = server.port
        self.path = path.encode()
        self.body = body
        self.status = status

    def head(self, headers: bytes, method: bytes = b"POST") -> bytes:
        return b"%b %b HTTP/1.1\r\nhost: t\r\ncontent-type: application/json\r\n%b" % (method, self.path, headers)

    def statuses(self, *parts: bytes) -> list[int]:
        """Statuses of all answers until the connection ends, after all parts were sent, each in a packet of its own."""
        with closing(socket.create_connection(("127.0.0.1", self.port), timeout=10)) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            content = b""
            try:
                for part in (*parts, LAST * 3):
                    client.sendall(part)
                while received := client.recv(65_536):
                    content += received
            except (ConnectionResetError, BrokenPipeError):
                pass
        return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", content)]


@pytest.fixture(params=["V1", "OIP", "predictor"])
def front(request: pytest.FixtureRequest, pair: Server, real_predictor: Server, bundle: Bundle) -> Front:
    if request.param == "V1":
        return Front(pair, "/v1/models/parcels:predict", json.dumps({"instances": [good_row()]}).encode(), 200)
    if request.param == "OIP":
        return Front(pair, "/v2/models/parcels/infer", b'{"inputs":[]}', 422)
    return Front(real_predictor, f"/v2/models/{bundle.wire_name}/infer", b'{"inputs":[]}', 400)


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
def test_an_offer_is_ignored_and_the_request_answered(front: Front, offer: bytes) -> None:
    head = front.head(offer + b"content-length: %d\r\n\r\n" % len(front.body))
    chunk = b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(front.body), front.body)
    chunked = front.head(offer + chunk)
    status = front.status
    assert front.statuses(head + front.body) == [status, 405]
    assert front.statuses(head, front.body) == [status, 405]
    assert front.statuses(chunked) == [status, 405]
    assert front.statuses(head + front.body + chunked, head + front.body) == [status, status, status, 405]
    assert front.statuses(*(head[at : at + 1] for at in range(len(head))), front.body) == [status, 405]


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
def test_a_body_behind_an_offer_is_never_a_request(front: Front, offer: bytes) -> None:
    head = front.head(offer + b"content-length: %d\r\n\r\n" % len(SMUGGLED))
    assert front.statuses(head + SMUGGLED) == [400, 405]
    assert front.statuses(head, SMUGGLED) == [400, 405]
    without_body = b"GET /v2/health/live HTTP/1.1\r\nhost: t\r\n" + offer + b"\r\n"
    assert front.statuses(without_body * 50) == [200] * 50 + [405]


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_what_follows_a_fault_of_framing_is_never_a_request(front: Front, fault: bytes) -> None:
    for headers in (fault, OFFERS["h2c"] + fault):
        for method in (b"POST", b"GET"):
            statuses = front.statuses(front.head(headers, method) + SMUGGLED)
            assert 404 not in statuses
            assert len(statuses) <= 2


def test_a_good_request_before_a_fault_gets_its_own_answer_or_none(front: Front) -> None:
    good = front.head(b"content-length: %d\r\n\r\n" % len(front.body)) + front.body
    for fault in FAULTS.values():
        statuses = front.statuses(good + front.head(fault) + SMUGGLED)
        assert 404 not in statuses
        assert statuses[:1] in ([], [front.status])


def test_a_tunnel_is_refused(front: Front) -> None:
    assert front.statuses(b"CONNECT t:80 HTTP/1.1\r\nhost: t\r\n\r\n" + SMUGGLED) == [400]


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    parts=st.lists(
        st.sampled_from(
            [*FAULTS.values(), *OFFERS.values(), b"content-length: 40\r\n", b"\r\n", b"\r\n\r\n", b"x: y\r\n"]
        ),
        max_size=4,
    )
)
def test_no_mixture_is_answered_more_often_than_it_asks(front: Front, parts: list[bytes]) -> None:
    sent = front.head(b"".join(parts)) + b"\r\n" + SMUGGLED
    # one answer for the request, one for the other where it is indeed one of its own, one for the end
    assert len(front.statuses(sent)) <= 3


@st.composite
def valid_framing(draw: st.DrawFn, body: bytes) -> bytes:
    """The headers and content of a request that a server must take: with an offer or not, counted or in chunks."""
    offer = draw(st.sampled_from([b"", *OFFERS.values()]))
    if draw(st.booleans()):
        return b"%bcontent-length: %d\r\n\r\n%b" % (offer, len(body), body)
    cuts = sorted(draw(st.sets(st.integers(1, len(body) - 1), max_size=5)))
    extension = draw(st.sampled_from([b"", b";a=b", b';a="b"']))
    chunks = [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    text = b"".join(b"%x%b\r\n%b\r\n" % (len(chunk), extension, chunk) for chunk in chunks)
    trailer = draw(st.sampled_from([b"", b"x-sum: 1\r\n", b"x-sum: 1\r\nx-other: 2\r\n"]))
    return b"%btransfer-encoding: chunked\r\n\r\n%b0\r\n%b\r\n" % (offer, text, trailer)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_each_of_many_requests_is_answered_once_wherever_packets_end(front: Front, data: st.DataObject) -> None:
    bodies = data.draw(st.lists(st.sampled_from([front.body, SMUGGLED]), min_size=1, max_size=4))
    sent = b"".join(front.head(data.draw(valid_framing(body))) for body in bodies)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(sent) - 1), max_size=6)))
    packets = [sent[start:end] for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True)]
    expected = [front.status if body == front.body else 400 for body in bodies]
    assert front.statuses(*packets) == [*expected, 405]
