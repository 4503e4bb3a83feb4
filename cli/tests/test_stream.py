"""``tandem stream``: which worker starts, with which settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import tandem_stream
from tandem_cli.__main__ import app
from tandem_stream import StreamSettings, WindowSettings

TOPICS = ["--source", "kafka://b:9092/rides", "--sink", "kafka://b:9092/windows"]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Settings with which workers were started."""
    settings: list[Any] = []
    monkeypatch.setattr(tandem_stream, "run", settings.append)
    monkeypatch.setattr(tandem_stream, "run_windows", settings.append)
    return settings


def test_a_directory_is_a_bundle_that_predicts(started: list[Any], tmp_path: Path) -> None:
    for command in (["stream"], ["stream", "model"]):
        result = CliRunner().invoke(app, [*command, str(tmp_path), *TOPICS, "--copy-field", "a"])
        assert result.exit_code == 0, result.output
    assert CliRunner().invoke(app, ["stream", *TOPICS, "--copy-field", "a", str(tmp_path)]).exit_code == 0
    assert started == [StreamSettings(model_dir=tmp_path, source=TOPICS[1], sink=TOPICS[3], copied_fields=("a",))] * 3


def test_features_computes_the_windows_of_a_view(started: list[Any], tmp_path: Path) -> None:
    flags = ["--table", "t", "--late-events", "late", "--max-ahead-s", "60"]
    result = CliRunner().invoke(app, ["stream", "features", str(tmp_path), "live_pace", *TOPICS, *flags])
    assert result.exit_code == 0, result.output
    assert started == [
        WindowSettings(
            model_dir=tmp_path,
            view="live_pace",
            source=TOPICS[1],
            sink=TOPICS[3],
            table="t",
            late_events="late",
            max_ahead_s=60.0,
        )
    ]
