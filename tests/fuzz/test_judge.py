"""What the fuzzer takes for documented, and that its cases are what they claim."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import httptools
import pytest
from benchmarks.fuzz import grpc, http1, http2, workers
from benchmarks.fuzz.judge import documented
from benchmarks.fuzz.mutations import mutate
from benchmarks.fuzz.seeds import of_transformer
from benchmarks.fuzz.tally import Tally, resume
from hypothesis import given
from hypothesis import strategies as st

from tandem_transformer.prediction_log.feedback import FeedbackReader

TRANSFORMER = documented("transformer")
SEEDS = of_transformer()


def error(code: str) -> bytes:
    return json.dumps({"error": "text", "code": code}).encode()


@pytest.mark.parametrize(
    ("status", "headers", "body", "fault"),
    [
        (200, {"content-type": "application/json"}, b"{}", ""),
        (200, {"content-type": "application/json"}, b'{"a":NaN}', "status 200 with a body that is not JSON"),
        (307, {}, b"", "status 307"),
        (400, {}, error("malformed_request"), ""),
        (404, {"content-encoding": "gzip"}, gzip.compress(error("path_not_found"), mtime=0), ""),
        (404, {}, error("malformed_request"), "status 404 with code malformed_request"),
        (404, {}, error("not_found"), "status 404 with code not_found"),
        (400, {}, b"Bad Request", "status 400 without a code"),
        (429, {}, error("overloaded"), "status 429 without Retry-After"),
        (429, {"retry-after": "1"}, error("overloaded"), ""),
        (500, {}, error("internal_error"), "internal_error"),
        (500, {}, error("transform_failed"), ""),
        # the servers log predictions: neither answer is up to the client
        (503, {"retry-after": "1"}, error("prediction_log_unavailable"), "prediction_log_unavailable"),
        (404, {}, error("prediction_log_off"), "prediction_log_off"),
        (401, {}, error("unauthenticated"), ""),
    ],
)
def test_answers_over_http(status: int, headers: dict[str, str], body: bytes, fault: str) -> None:
    assert TRANSFORMER.http(status, headers, body, headless=False) == fault


@pytest.mark.parametrize(
    ("headers", "fault"),
    [
        ({":status": "200", "grpc-status": "0"}, ""),
        ({":status": "200", "grpc-status": "12"}, ""),
        ({":status": "200", "grpc-status": "2"}, "grpc-status 2 without a code"),
        ({":status": "200", "grpc-status": "3"}, "grpc-status 3 without a code"),
        ({":status": "200", "grpc-status": "3", "tandem-error-code": "malformed_request"}, ""),
        (
            {":status": "200", "grpc-status": "5", "tandem-error-code": "malformed_request"},
            "grpc-status 5 with code malformed_request",
        ),
        ({":status": "200", "grpc-status": "13", "tandem-error-code": "internal_error"}, "internal_error"),
        ({":status": "415"}, ""),
        ({":status": "502"}, "HTTP status 502"),
        ({}, "HTTP status None"),
    ],
)
def test_answers_over_grpc(headers: dict[str, str], fault: str) -> None:
    assert TRANSFORMER.grpc(headers) == fault


def test_codes_with_which_streams_end() -> None:
    assert [code for code in range(20) if TRANSFORMER.reset(code)] == [2, *range(14, 20)]


def test_both_servers_are_documented() -> None:
    assert documented("predictor").codes["model_not_found"] == TRANSFORMER.codes["model_not_found"] == ("404", "5")


def test_seeds_of_feedback_are_good() -> None:
    bodies = [request.body for request in SEEDS.requests if request.path.endswith(b":feedback")]
    assert {FeedbackReader("float64").read(body).rows for body in bodies} == {1, 3}


class Whole:
    """What a parser of requests calls."""

    count = 0

    def on_message_complete(self) -> None:
        self.count += 1


@given(st.integers(0, 10**9))
def test_a_framed_request_is_one_request(number: int) -> None:
    case = http1.framed(workers.random_of(1, "transformer-http1", number), SEEDS.requests, "a")
    counter = Whole()
    try:
        httptools.HttpRequestParser(counter).feed_data(case.sent)
    except httptools.HttpParserUpgrade:
        return
    assert counter.count == 1


@given(st.integers(0, 10**9))
def test_a_case_can_be_made_again(number: int) -> None:
    def cases() -> list[object]:
        randoms = [workers.random_of(1, "a", number) for _ in range(4)]
        requests = [http1.framed(randoms[0], SEEDS.requests, "a"), http1.raw(randoms[1], SEEDS.requests, "a")]
        return [*requests, grpc.framed(randoms[2], SEEDS.calls, "a"), http2.raw(randoms[3], SEEDS.calls, "a")]

    assert cases() == cases()


@given(st.integers(), st.binary(max_size=100))
def test_mutations_take_any_bytes(seed: int, content: bytes) -> None:
    assert isinstance(mutate(workers.random_of(seed, "a", 0), content), bytes)


@given(st.lists(st.binary(max_size=20), max_size=4), st.integers(1, 30))
def test_answers_are_taken_off_however_they_come(bodies: list[bytes], piece: int) -> None:
    sent = b"".join(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body) for body in bodies)
    sent += b"HTTP/1.1 400 Bad Request\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
    content, contents = b"", []
    for at in range(0, len(sent), piece):
        content += sent[at : at + piece]
        while (answer := http1.take(content, headless=False)) is not None:
            contents.append(answer[0].body)
            content = answer[1]
    assert (contents, content) == ([*bodies, b"abc"], b"")


def test_a_run_goes_on_where_it_was_broken_off(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    tally = Tally(7, following={"transformer-grpc": 12})
    tally.answered("transformer-grpc", "grpc-status 0")
    tally.report("hang", "transformer", "no answer", [("transformer-grpc:3", b"abc")])
    tally.save(path)
    resumed = resume(path, 7)
    assert resumed == tally
    assert resumed.line() == "fuzz: requests=1 deaths=0 undocumented=0 hangs=1 rss_growth_mb=0.0"
    assert not resumed.passed
    assert resume(path, 8) == Tally(8)
