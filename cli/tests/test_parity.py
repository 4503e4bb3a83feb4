"""``tandem parity``: equal modes, a transform that depends on the batch, modes that are not installed, the gate."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from core.tests.small import MODEL, write_package, write_small
from skl2onnx import to_onnx
from sklearn.linear_model import LinearRegression

from tandem import Bundle, TandemError, fit, matrix, write_bundle
from tandem.package import ModelPackage
from tandem.sampling import random_inputs
from tandem_cli.commands import registry
from tandem_cli.parity.modes import IN_PROCESS, MODES
from tandem_cli.parity.running import run_parity

from .test_commands import tandem

#: A row of x = 100 is worth more behind other rows; whether golden rows show that is a matter of chance.
LEAKING = MODEL.replace("return x * 2", "return x * 2 + (x == 100) * np.arange(len(x))").replace(
    "from tandem", "import numpy as np\nfrom tandem", 1
)
SECONDS = """
@on_demand
def seconds(as_of):
    return as_of.astype(float) % 1e9

@on_demand
def double"""
ARRIVAL = MODEL.replace("\n@on_demand\ndef double", SECONDS).replace('[double, "ctl"]', '[double, "ctl", seconds]')
ARRIVAL = ARRIVAL.replace('    request_parameters={"ts": "timestamp"},\n    as_of="ts",\n', "")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_small(tmp_path_factory.mktemp("equal"))


@pytest.fixture(scope="module")
def leaking(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A version with a transform that depends on the order of rows, which its golden rows do not show."""
    path = tmp_path_factory.mktemp("leaking")
    write_package(path, LEAKING)
    model = ModelPackage.read(path).load()
    inputs = random_inputs(model, 64, np.random.default_rng(0))
    inputs = inputs.take(inputs.request["x"] != 100)
    pipeline = fit(model, inputs)
    vectors = matrix(pipeline, inputs)
    estimator = LinearRegression().fit(vectors, vectors.sum(axis=1))
    return write_bundle(
        path / "bundles",
        package=path,
        version="v1",
        pipeline=pipeline,
        onnx=to_onnx(estimator, vectors[:1]).SerializeToString(),
        golden=inputs,
        expected=estimator.predict(vectors),
    )


def test_modes_in_this_process_are_equal(bundle: Bundle) -> None:
    report = run_parity(bundle, IN_PROCESS, rows=600)
    assert list(report.parities) == [mode.name for mode in IN_PROCESS] and not report.skipped
    for parity in report.parities.values():
        assert parity.is_equal, parity.first
        assert parity.vector_bits == 0 and parity.tolerance_share <= 1
        assert parity.rows == report.rows.total() == 632
        assert parity.vectors == parity.rows - parity.errors > 600


def test_the_time_of_arrival_may_differ(tmp_path: Path) -> None:
    report = run_parity(write_small(tmp_path, ARRIVAL), IN_PROCESS, rows=50)
    assert all(parity.is_equal and parity.vectors == 82 for parity in report.parities.values())


def test_a_transform_that_depends_on_the_batch_is_caught(leaking: Bundle) -> None:
    modes = [mode for mode in MODES if mode.name.startswith("transformer")]
    report = run_parity(leaking, modes, rows=400)
    alone, coalesced = report.parities.values()
    for parity in (alone, coalesced):
        assert not parity.is_equal and parity.vector_bits > 0
        assert parity.first is not None and (parity.first.kind, parity.first.column) == ("vector", "double")
        assert parity.first.request["x"] == 100
    assert alone.first is not None and alone.first.actual == 200


def test_what_is_printed(bundle: Bundle) -> None:
    result = tandem("parity", bundle.path, "--rows", "20", "--mode", "embedded", "--mode", "batch")
    assert result.exit_code == 0, result.output
    assert f"{bundle.wire_name}: 32 golden and 20 random rows (seed 0)" in result.output
    assert "embedded" in result.output and "batch" in result.output and "grpc" not in result.output


def test_the_first_difference_is_printed(leaking: Bundle) -> None:
    result = tandem("parity", leaking.path, "--rows", "400", "--mode", "transformer-alone")
    assert result.exit_code == 1
    assert "transformer-alone differs: rows" in result.output and "vector double: 200.0, expected " in result.output
    document = json.loads(tandem("parity", leaking.path, "--rows", "400", "--mode", "batch", "-o", "json").output)
    # a batch has the rows in the order of the reference, and in one piece
    assert document["equal"] is True
    (batch,) = document["modes"]
    assert (batch["status"], batch["vectorBits"], batch["first"]) == ("equal", 0, None)


def test_a_mode_that_is_not_installed(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tandem_offline.batch", None)
    arguments = ("parity", bundle.path, "--rows", "5")
    modes = ("--mode", "embedded", "--mode", "batch")
    report = run_parity(bundle, [mode for mode in MODES if mode.name in modes], rows=5)
    assert list(report.parities) == ["embedded"] and report.is_equal
    assert "tandem-cli[offline]" in report.skipped["batch"]
    result = tandem(*arguments, *modes)
    # what is asked for by its name has to run
    assert result.exit_code == 1
    assert "batch was not run: tandem_offline.batch is not installed" in result.output


def test_a_mode_that_there_is_not(bundle: Bundle) -> None:
    result = tandem("parity", bundle.path, "--mode", "telepathy")
    assert result.exit_code == 2 and "'telepathy'; there are embedded" in " ".join(result.output.split())


def test_a_bundle_that_differs_is_not_registered(
    bundle: Bundle, leaking: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_registry(uri: str | None, *, create: bool) -> None:
        raise TandemError("the registry is opened")

    monkeypatch.setattr(registry, "open_registry", open_registry)
    refused = tandem("register", leaking.path)
    assert refused.exit_code == 1
    assert "embedded differs: rows" in refused.stderr and "vector double" in refused.stderr
    assert "--no-parity" in refused.stderr and "the registry is opened" not in refused.stderr
    for arguments in ((leaking.path, "--no-parity"), (bundle.path,)):
        assert "the registry is opened" in tandem("register", *arguments).stderr
