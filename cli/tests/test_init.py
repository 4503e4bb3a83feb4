"""``tandem init``: a package that can be used as it is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tandem import EmbeddedModel
from tandem_cli.__main__ import app


def tandem(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new package, trained."""
    path = tmp_path_factory.mktemp("new") / "parcel-time"
    assert tandem("init", "parcel-time", "--directory", path).exit_code == 0
    subprocess.run([sys.executable, path / "train.py"], check=True, capture_output=True)
    return path


def test_it_passes_the_check_before_and_after_training(package: Path, tmp_path: Path) -> None:
    tandem("init", "fresh", "--directory", tmp_path / "fresh")
    for path in (tmp_path / "fresh", package):
        result = tandem("check", path, "-o", "json")
        assert result.exit_code == 0
        statuses = {finding["name"]: finding["status"] for finding in json.loads(result.output)}
        # before training there is no table yet
        assert {name for name, status in statuses.items() if status != "ok"} <= {"features.traffic"}
    assert statuses["features.traffic"] == "ok"


def test_its_bundle_answers(package: Path) -> None:
    (bundle,) = (package / "bundles").iterdir()
    assert bundle.name.startswith("parcel-time-")
    (answer,) = EmbeddedModel.open(bundle).predict([{"zone_id": "z", "distance_km": 5.0, "ts": "2026-05-01T08:00:00Z"}])
    # with the defaults of its zone 12.5 minutes of driving, no orders, and 8 minutes for the rest: as train.py has it
    assert answer["minutes"] == pytest.approx(20.5, abs=2)
    assert answer["degraded"] == {"traffic": {"reason": "missing", "source": "default"}}


def test_a_second_version_replaces_no_first(package: Path) -> None:
    subprocess.run([sys.executable, package / "train.py", "v2"], check=True, capture_output=True)
    subprocess.run([sys.executable, package / "train.py", "v2"], check=True, capture_output=True)
    versions = [json.loads((path / "tandem.json").read_text())["version"] for path in (package / "bundles").iterdir()]
    assert sorted(versions) == ["v1", "v2"]


def test_nothing_of_the_template_is_left(package: Path) -> None:
    texts = {file: file.read_text() for file in package.rglob("*") if file.suffix in (".py", ".toml", ".md")}
    assert len(texts) >= 4
    assert not [file for file, text in texts.items() if "my_model" in text or "my-model" in text]


def test_it_says_what_to_type_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [line.strip() for line in tandem("init", "fresh").output.splitlines()]
    assert lines[-4:] == ["cd fresh", "tandem check .", "python train.py", "tandem up . --port 8080"]
    assert (tmp_path / "fresh" / "fresh" / "__init__.py").exists()


def test_nothing_is_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fresh").mkdir()
    (tmp_path / "fresh" / "train.py").write_text("mine")
    result = tandem("init", "fresh")
    assert result.exit_code == 1
    assert "fresh already exists; nothing was written" in result.stderr
    assert [file.name for file in (tmp_path / "fresh").iterdir()] == ["train.py"]
    (tmp_path / "empty").mkdir()
    assert tandem("init", "empty").exit_code == 0


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert tandem("init", "fresh", "--directory", tmp_path / "file").exit_code == 1
    result = tandem("init", "fresh", "--directory", tmp_path / "file" / "inside")
    assert result.exit_code == 1
    assert "cannot be written" in result.stderr


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "DNS label"),
        ("Parcels", "DNS label"),
        ("parcel_time", "DNS label"),
        ("../parcels", "DNS label"),
        ("p" * 23, "22 characters at most"),
        ("json", "Python module 'json'"),
        ("class", "Python module 'class'"),
        ("train", "Python module 'train'"),
        ("tandem", "Python module 'tandem'"),
    ],
)
def test_bad_names(name: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = tandem("init", name)
    assert result.exit_code == 2
    assert why in " ".join(result.stderr.replace("│", " ").split())
    assert not list(tmp_path.iterdir())
