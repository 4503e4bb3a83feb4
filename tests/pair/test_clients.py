"""KServe's and Triton's own clients against the transformer of a pair."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.servers import Sample, Tensor
from tests.conformance.servers import Server as Described
from transformer.tests import ask, world
from transformer.tests.servers import Server

from tandem import Bundle

CLIENTS = Path(__file__).parents[1] / "conformance" / "clients"
FORMS = {
    "kserve": ["rest/binary", "rest/asked", "rest/json", "grpc/raw", "grpc/contents"],
    "triton": ["rest/binary", "rest/asked", "rest/json", "grpc/raw", "grpc/asked"],
}
ROWS = [world.good_row(customer_id=f"c{index}", parts=1 + index) for index in range(5)]


@pytest.fixture(scope="module", params=FORMS)
def client(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def expected(bundle: Bundle) -> dict[str, list[Any]]:
    return {name: column.tolist() for name, column in world.offline(bundle, ROWS).answers.items()}


@pytest.fixture(scope="module")
def called(client: str, pair: Server, expected: dict[str, list[Any]]) -> dict[str, Any]:
    """What came of every call of a client."""
    inputs = [
        Tensor(tensor.name, tensor.datatype, tensor.shape, tuple(_text(value) for value in tensor.data.tolist()))
        for tensor in ask.tensors(ROWS)
    ]
    outputs = [Tensor(name, "", (len(ROWS),), tuple(values)) for name, values in expected.items()]
    sample = Sample("parcels", tuple(inputs), tuple(outputs))
    described = Described(f"http://{pair.address}", pair.grpc_address, (sample,))
    program = [sys.executable, CLIENTS / f"{client}_client.py"]
    run = subprocess.run(
        program, input=json.dumps(described.as_dict()), capture_output=True, text=True, check=False, timeout=120
    )
    assert run.returncode == 0, run.stderr
    return dict(json.loads(run.stdout))


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def test_health(called: dict[str, Any]) -> None:
    for wire in ("rest", "grpc"):
        for call in ("live", "ready", "model_ready"):
            assert called[f"{wire}/{call}"] == {"result": True}, (wire, call)
        assert called[f"{wire}/unknown_ready"] == {"result": False}


def test_predictions(client: str, called: dict[str, Any], expected: dict[str, list[Any]]) -> None:
    for form in FORMS[client]:
        outcome = called[f"{form}/parcels"]
        assert "result" in outcome, (form, outcome)
        data = {output["name"]: output["data"] for output in outcome["result"]["outputs"]}
        assert (outcome["result"]["model"], outcome["result"]["id"]) == ("parcels", "id-7")
        for name in ("eta", "promised", "slow"):
            assert data[name] == expected[name], (form, name)
        assert data["minutes"] == pytest.approx(expected["minutes"], rel=1e-5)


def test_refusals(called: dict[str, Any]) -> None:
    assert int(called["rest/unknown"]["status"]) == 404
    assert "nothing" in called["rest/unknown"]["error"]
    assert called["grpc/unknown"]["status"].removeprefix("StatusCode.") == "NOT_FOUND"
    assert int(called["rest/wrong"]["status"]) == 422
    assert "'nothing': unknown field" in called["rest/wrong"]["error"]
    assert called["grpc/wrong"]["status"].removeprefix("StatusCode.") == "INVALID_ARGUMENT"
