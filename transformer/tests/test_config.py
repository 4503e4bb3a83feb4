from __future__ import annotations

from pathlib import Path

import pytest

from tandem_transformer.config import TransformerConfig, parse


def test_the_flags_that_kserve_appends() -> None:
    appended = {
        "model_dir": "/mnt/m",
        "model_name": "parcels",
        "predictor_host": "parcels-predictor.default:80",
        "http_port": 8080,
        "predictor_protocol": "grpc-v2",
        "predictor_use_ssl": "false",
        "workers": 4,
    }
    config = parse([word for name, value in appended.items() for word in (f"--{name}", str(value))])
    assert config.model_name == "parcels"
    assert config.predictor_host == ("parcels-predictor.default:80",)
    assert config.predictor_protocol == "grpc-v2"
    assert config.predictor_use_ssl is False
    assert (config.workers, config.processes) == (4, 1)


def test_defaults() -> None:
    assert parse(["--predictor_host", "p"]) == TransformerConfig(
        model_dir=Path("/mnt/models"), predictor_host=("p:80",)
    )


@pytest.mark.parametrize(
    ("text", "hosts"),
    [("a", ("a:80",)), ("a:9000", ("a:9000",)), ("a:1, b ,", ("a:1", "b:80")), ("127.0.0.1:1,", ("127.0.0.1:1",))],
)
def test_hosts(text: str, hosts: tuple[str, ...]) -> None:
    assert parse(["--predictor_host", text]).predictor_host == hosts


@pytest.mark.parametrize("seconds", [0.0, 0.5])
def test_how_often_hosts_are_looked_up(seconds: float) -> None:
    assert parse(["--predictor_host", "p", "--predictor_resolve_s", str(seconds)]).predictor_resolve_s == seconds


@pytest.mark.parametrize(("flag", "expected"), [("--predictor_use_ssl", True), ("--predictor_use_ssl=True", True)])
def test_tls_with_and_without_a_value(flag: str, expected: bool) -> None:
    assert parse(["--predictor_host", "p", flag]).predictor_use_ssl is expected


def test_no_host_is_needed_in_process() -> None:
    assert parse(["--predictor_protocol", "inprocess"]).predictor_host == ()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--predictor_host p --prediction_log_durable", "--prediction_log is required"),
        ("--predictor_host p --prediction_log_sink ftp://x", "must begin with http://"),
        ("--predictor_host p --prediction_log_sample 1.5", "must be from 0 to 1"),
        ("", "--predictor_host is required"),
        ("--predictor_host ,", "needs at least one host"),
        ("--predictor_host p --predictor_protocol v1", "invalid choice: 'v1'"),
        ("--predictor_host p --workers -1", "must not be negative"),
        ("--predictor_host p --workers many", "invalid"),
        ("--predictor_host p --processes 0", "must be at least 1"),
        ("--predictor_host p --max_batches 0", "must be at least 1"),
        ("--predictor_host p --predictor_use_ssl maybe", "must be true or false"),
        ("--predictor_host p --http_port x", "--http_port: invalid"),
        ("--predictor_host p --request_timeout_ms soon", "invalid"),
        ("--predictor_host p --request_timeout_ms 0", "must be "),
        ("--predictor_host p --store_timeout_ms -1", "must be "),
        ("--predictor_host p --predictor_timeout_ms nan", "must be "),
        ("--predictor_host p --max_batch_wait_ms -1", "must be "),
        ("--predictor_host p --shutdown_grace_s -1", "must be "),
        ("--predictor_host p --predictor_resolve_s -1", "must be "),
        ("--predictor_host p --http_port 70000", "must be "),
        ("--predictor_host p:port", "port"),
        ("--predictor_host p --model_nam m", "unrecognized arguments"),
    ],
)
def test_a_command_line_without_sense(arguments: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(arguments.split())
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
