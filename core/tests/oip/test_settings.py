"""A command line that is made of a dataclass."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Annotated

import pytest

from tandem.oip.flags import Flag, boolean, duration, natural, parser_of, port, positive, span
from tandem.oip.settings import ServerSettings


@dataclass(frozen=True, kw_only=True)
class Settings(ServerSettings):
    name: Annotated[str | None, Flag("a name")] = None
    rows: Annotated[int, Flag("100% of the rows", natural)] = 7
    share_s: Annotated[float, Flag("a time", span)] = 0.5
    kind: Annotated[str, Flag("a kind", choices=("a", "b"))] = "a"
    tls: Annotated[bool, Flag("TLS", boolean, without_text=True)] = False
    loud: Annotated[bool, Flag("a switch", parse=None)] = False
    secret: str = "hidden"
    max_connections: int = 5


def parsed(*arguments: str) -> Settings:
    return Settings(**vars(parser_of(Settings, program="p", description="d").parse_args(arguments)))


def test_without_arguments_each_field_has_its_default() -> None:
    assert parsed() == Settings()


def test_each_flag_sets_its_field() -> None:
    arguments = "--name n --rows 0 --share_s 0 --kind b --tls false --loud --http_port 0 --workers 3"
    assert parsed(*arguments.split()) == Settings(
        name="n", rows=0, share_s=0.0, kind="b", tls=False, loud=True, http_port=0, workers=3
    )
    assert parsed("--tls").tls is True


def test_a_field_without_a_flag_is_none_of_the_command_line() -> None:
    with pytest.raises(SystemExit):
        parsed("--secret", "s")


def test_another_default_of_a_field_keeps_its_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert parsed("--max_connections", "6").max_connections == 6
    with pytest.raises(SystemExit):
        parsed("--help")
    shown = " ".join(capsys.readouterr().out.split())
    for text in (
        "is closed (default: 5)",
        "100% of the rows (default: 7)",
        "a time (default: 0.5)",
        "--name NAME a name",
    ):
        assert text in shown


@pytest.mark.parametrize(
    ("parse", "good", "bad"),
    [
        (port, ["0", "65535"], ["-1", "65536", "x"]),
        (natural, ["0", "9"], ["-1", "1.5"]),
        (positive, ["1"], ["0", "-1"]),
        (span, ["0", "0.5"], ["-1", "nan", "inf", "soon"]),
        (duration, ["0.5"], ["0", "-1", "nan", "inf"]),
        (boolean, ["true", "False"], ["1", "yes"]),
    ],
)
def test_kinds_of_values(parse: object, good: list[str], bad: list[str]) -> None:
    assert callable(parse)
    for text in good:
        assert str(parse(text)).lower().removesuffix(".0") == text.lower()
    for text in bad:
        with pytest.raises((argparse.ArgumentTypeError, ValueError)):
            parse(text)


def test_uploads_have_the_limits_of_the_settings() -> None:
    uploads = Settings(max_body_bytes=1, max_buffered_bytes=2, upload_timeout_s=3.0).uploads()
    limits = (uploads.max_body_bytes, uploads.max_buffered_bytes, uploads.timeout_s, uploads.max_connections)
    assert limits == (1, 2, 3.0, 5)
