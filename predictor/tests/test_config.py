from __future__ import annotations

from pathlib import Path

import pytest

from tandem_predictor.config import PredictorConfig, parse


def test_defaults() -> None:
    assert parse([]) == PredictorConfig(model_dir=Path("/mnt/models"))


def test_flags_of_kserve() -> None:
    config = parse(["--model_name", "m", "--http_port", "80", "--workers", "3", "--model_dir", "/x"])
    assert (config.model_name, config.http_port, config.workers, config.model_dir) == ("m", 80, 3, Path("/x"))


def test_a_repository_replaces_the_default_directory() -> None:
    assert parse(["--model_repository", "/r"]).model_dir is None


def test_short_names_of_execution_providers() -> None:
    assert parse(["--execution_providers", "tensorrt, cuda,CPUExecutionProvider"]).execution_providers == (
        "TensorrtExecutionProvider",
        "CUDAExecutionProvider",
        "CPUExecutionProvider",
    )


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--enable_docs_url", "1"], "unrecognized arguments: --enable_docs_url"),
        (["--work", "1"], "unrecognized arguments: --work"),
        (["--http_port", "-1"], "http_port: must be a port"),
        (["--max_batch_size", "0"], "max_batch_size: must be at least 1"),
        (["--max_batch_delay_ms", "nan"], "max_batch_delay_ms: must be a time"),
    ],
)
def test_refused(argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        parse(argv)
    assert refused.value.code == 2
    assert message in capsys.readouterr().err


def test_secrets_and_pins_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TANDEM_REPOSITORY_TOKEN", "secret")
    monkeypatch.setenv("TANDEM_BUNDLE_DIGEST", "abcdef01")
    config = parse([])
    assert (config.repository_token, config.bundle_digest) == ("secret", "abcdef01")
    assert "secret" not in repr(config)
