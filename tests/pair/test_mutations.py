"""Good requests, changed at random: each is answered with a documented error or a prediction, and nothing breaks."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformer.tests import ask
from transformer.tests.servers import Reply, Server
from transformer.tests.world import good_row

from tandem.oip import rest, rest_header

V1 = "/v1/models/parcels:predict"
V2 = "/v2/models/parcels/infer"
ROWS = [good_row(), good_row(customer_id="nobody", depth_m=3.25), good_row(customer_id="c2", parts=20, tariff="day")]
ERRORS = Path(__file__).parents[2] / "docs" / "errors.md"
# what a request with strange values may bring about, besides errors of its own
FAULTS = {"transform_failed", "prediction_not_finite"}
EFFORT = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"))
    | st.sampled_from(["2026-05-01T08:00:00Z", "day", "NaN", -1, 2**63, 1e308, "FP64", "BYTES"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def paths(node: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Places within a JSON value."""
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [here, *(path for key, value in children for path in paths(value, (*here, key)))]


@st.composite
def changed_values(draw: st.DrawFn, document: Any) -> bytes:
    """The document with some values replaced, removed or renamed."""
    document = json.loads(json.dumps(document))
    for _ in range(draw(st.integers(1, 3))):
        *way, last = draw(st.sampled_from(paths(document)[1:])) if paths(document)[1:] else (None,)
        if last is None:
            break
        parent = document
        for key in way:
            parent = parent[key]
        match draw(st.sampled_from(["replace", "remove", "add"])):
            case "replace":
                parent[last] = draw(json_values)
            case "remove":
                del parent[last]
            case _ if isinstance(parent, dict):
                parent[draw(st.text(max_size=5) | st.sampled_from(sorted(map(str, parent))))] = draw(json_values)
            case _:
                parent.append(draw(json_values))
    return json.dumps(document).encode()


@st.composite
def changed_bytes(draw: st.DrawFn, body: bytes) -> bytes:
    """The bytes with some removed, inserted, repeated or replaced."""
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(body)))
        stop = min(len(body), at + draw(st.integers(0, 20)))
        match draw(st.sampled_from(["remove", "insert", "repeat", "replace"])):
            case "remove":
                body = body[:at] + body[stop:]
            case "insert":
                body = body[:at] + draw(st.binary(max_size=8)) + body[at:]
            case "repeat":
                body = body[:at] + 2 * body[at:stop] + body[stop:]
            case _:
                body = body[:at] + draw(st.binary(min_size=1, max_size=1)) + body[at + 1 :]
    return body


def documented() -> set[tuple[str, int]]:
    chapter = ERRORS.read_text().split("## Codes of the transformer")[1].split("\n## ")[0]
    return {(code, int(status)) for code, status in re.findall(r"^\| `(\w+)` \| (\d+) \|", chapter, re.MULTILINE)}


@pytest.fixture(scope="module")
def check(pair: Server) -> Any:
    """Sends a body and looks at the answer."""
    codes = documented()
    connection = http.client.HTTPConnection("127.0.0.1", pair.port, timeout=30)

    def send(path: str, body: bytes, headers: dict[str, str]) -> None:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        reply = Reply(answer.status, dict(answer.getheaders()), answer.read())
        if reply.status != 200:
            error = reply.json
            assert isinstance(error["error"], str)
            assert error["error"]
            assert (error["code"], reply.status) in codes
            assert reply.status < 500 or error["code"] in FAULTS, error
        elif path == V1:
            instances = json.loads(body)["instances"]
            assert len(reply.json["predictions"]) == len(instances)
        assert pair.process.poll() is None

    yield send
    connection.close()
    assert pair.is_ready()


Check = Callable[[str, bytes, dict[str, str]], None]
V1_BODY = {"instances": ROWS}
V2_BODY = rest.encode_request(ask.infer_request(ROWS), binary_data=False)[0]
BINARY, HEADER = rest.encode_request(ask.infer_request(ROWS))


@EFFORT
@given(changed_values(V1_BODY))
def test_values_of_v1(check: Check, body: bytes) -> None:
    check(V1, body, {})


@EFFORT
@given(changed_bytes(json.dumps(V1_BODY).encode()))
def test_bytes_of_v1(check: Check, body: bytes) -> None:
    check(V1, body, {})


@EFFORT
@given(changed_values(json.loads(V2_BODY)))
def test_values_of_v2(check: Check, body: bytes) -> None:
    check(V2, body, {})


@EFFORT
@given(changed_bytes(V2_BODY))
def test_bytes_of_v2(check: Check, body: bytes) -> None:
    check(V2, body, {})


@EFFORT
@given(changed_bytes(BINARY), st.integers(-20, 20) | st.integers(0, 2**40))
def test_bytes_of_binary_v2(check: Check, body: bytes, by: int) -> None:
    assert HEADER is not None
    check(V2, body, {rest_header.HEADER_LENGTH: str(HEADER)})
    check(V2, BINARY, {rest_header.HEADER_LENGTH: str(HEADER + by)})


@EFFORT
@given(changed_values(json.loads(BINARY[:HEADER])))
def test_header_of_binary_v2(check: Check, header: bytes) -> None:
    check(V2, header + BINARY[HEADER:], {rest_header.HEADER_LENGTH: str(len(header))})
