from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from . import graphs

BODY = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 1, 1]}]}).encode()

DEAF = Path(__file__).parents[2] / "core/tests/oip/deaf.py"


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def predictor(*flags: object) -> Iterator[tuple[subprocess.Popen[str], int]]:
    port = free_port()
    command = [sys.executable, "-m", "tandem_predictor", "--host", "127.0.0.1", "--http_port", str(port)]
    with subprocess.Popen(
        [*command, "--grpc_port", "0", *map(str, flags)], stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process, port
        finally:
            process.kill()


def wait_for(process: subprocess.Popen[str], message: str) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if json.loads(line)["message"] == message:
            return
    raise AssertionError(f"the server ended without saying {message!r}")


def refused(*flags: object) -> str:
    with predictor(*flags) as (process, _):
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    return errors


def test_requests_in_flight_end_before_the_server_does(tmp_path: Path) -> None:
    graphs.linear(tmp_path / "model.onnx")
    with predictor("--model_dir", tmp_path, "--model_name", "m") as (process, port):
        wait_for(process, "ready")
        with closing(socket.create_connection(("127.0.0.1", port))) as client, client.makefile("rb") as answer:
            head = f"POST /v2/models/m/infer HTTP/1.1\r\nHost: m\r\nContent-Length: {len(BODY)}\r\n"
            client.sendall(f"{head}Expect: 100-continue\r\n\r\n".encode())
            assert answer.readline() == b"HTTP/1.1 100 Continue\r\n"  # so the request is in flight
            process.send_signal(signal.SIGTERM)
            wait_for(process, "stopping")
            client.sendall(BODY)
            assert answer.readline() == b"\r\n"
            assert answer.readline() == b"HTTP/1.1 200 OK\r\n"
        assert process.wait(timeout=60) == 0


def test_a_request_whose_client_is_gone_is_not_run(tmp_path: Path) -> None:
    graphs.linear(tmp_path / "model.onnx")
    # the first of two requests waits for the second, an hour if need be
    flags = ("--max_batch_size", 2, "--max_batch_delay_ms", 3_600_000, "--inline_below_ms", 0)
    with predictor("--model_dir", tmp_path, "--model_name", "m", *flags) as (process, port):
        wait_for(process, "ready")
        with socket.create_connection(("127.0.0.1", port)) as client:
            head = f"POST /v2/models/m/infer HTTP/1.1\r\nHost: m\r\nContent-Length: {len(BODY)}\r\n\r\n"
            client.sendall(head.encode() + BODY)
            while b'tandem_predictor_queue_rows{model="m"} 1.0' not in get(port, "/metrics"):
                pass
        with closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
            connection.request("POST", "/v2/models/m/infer", BODY)
            assert connection.getresponse().status == 200
        metrics = get(port, "/metrics")
    assert b'tandem_predictor_dropped_total{model="m",reason="gone"} 1.0' in metrics
    assert b'tandem_predictor_rows_per_batch_sum{model="m"} 1.0' in metrics


def get(port: int, path: str) -> bytes:
    with closing(http.client.HTTPConnection("127.0.0.1", port)) as client:
        client.request("GET", path)
        return client.getresponse().read()


def test_a_bundle_that_fails_its_golden_rows_ends_the_server(tmp_path: Path) -> None:
    bundle = graphs.linear_bundle(tmp_path, error=0.5)
    errors = refused("--model_dir", bundle.path)
    assert "golden replay: row 2 of output 'y'" in errors


def test_a_missing_execution_provider_ends_the_server(tmp_path: Path) -> None:
    graphs.linear(tmp_path / "model.onnx")
    assert "has no RocketExecutionProvider" in refused(
        "--model_dir", tmp_path, "--execution_providers", "RocketExecutionProvider"
    )


@pytest.mark.parametrize("flag", ["--http_port", "--grpc_port"])
def test_a_taken_port_ends_the_server(flag: str, tmp_path: Path) -> None:
    graphs.linear(tmp_path / "model.onnx")
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        refused("--model_dir", tmp_path, flag, listener.getsockname()[1])


def test_an_empty_repository_is_served_and_not_ready(tmp_path: Path) -> None:
    with predictor("--model_repository", tmp_path) as (process, port):
        wait_for(process, "ready")
        with closing(http.client.HTTPConnection("127.0.0.1", port)) as client:
            client.request("GET", "/v2/health/ready")
            assert json.loads(client.getresponse().read()) == {"ready": False}
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0


@pytest.mark.parametrize("index", [0, 1], ids=["HTTP", "gRPC"])
def test_a_port_that_is_lost_ends_the_process(tmp_path: Path, index: int) -> None:
    graphs.linear(tmp_path / "model.onnx")
    ports = free_port(), free_port()
    command = [sys.executable, str(DEAF), "tandem_predictor", str(index), "--host", "127.0.0.1"]
    command += ["--http_port", str(ports[0]), "--grpc_port", str(ports[1]), "--model_dir", str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        wait_for(process, "ready")
        process.send_signal(signal.SIGUSR1)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"port {ports[index]} does not answer any more" in errors
