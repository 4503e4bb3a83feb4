"""Settings of a server, and its command line made of them: each setting is written down once, as a dataclass's field.

A field is a flag where its annotation has a :class:`Flag`. Name and default of the flag are those of the field.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Annotated, Any, get_type_hints

from tandem.oip.uploads import Uploads


@dataclass(frozen=True, slots=True)
class Flag:
    """How a setting is given on the command line.

    Attributes:
        help: What it is; the default is added to that.
        parse: Makes the setting of its text; what it refuses is an ``ArgumentTypeError`` or a ``ValueError``. None for
            a switch, which has no text.
        choices: The texts there are; empty for any.
        without_text: The setting where the flag is given without a text; None where that is an error.
    """

    help: str
    parse: Callable[[str], object] | None = str
    choices: tuple[str, ...] = ()
    without_text: object = None


def parser_of(settings: type, *, program: str, description: str | None) -> argparse.ArgumentParser:
    """The command line that a dataclass of settings stands for.

    Args:
        settings: The dataclass. It may give a field of its base class another default; the flag stays.
        program: Name of the program.
        description: What the program is.
    """
    parser = argparse.ArgumentParser(prog=program, description=description, allow_abbrev=False)
    flags: dict[str, Flag] = {}
    for kind in reversed(settings.__mro__[:-1]):
        for name, hint in get_type_hints(kind, include_extras=True).items():
            for flag in getattr(hint, "__metadata__", ()):
                flags[name] = flag
    for field in fields(settings):
        if field.name in flags:
            parser.add_argument(f"--{field.name}", **_options(flags[field.name], field.default))
    return parser


def _options(flag: Flag, default: object) -> dict[str, Any]:
    """What argparse needs to know of a flag."""
    shown = _shown(default)
    text = (f"{flag.help} (default: {shown})" if shown else flag.help).replace("%", "%%")
    if flag.parse is None:
        return {"action": "store_true", "help": text}
    options: dict[str, Any] = {"type": flag.parse, "default": default, "help": text}
    if flag.choices:
        options["choices"] = flag.choices
    if flag.without_text is not None:
        options |= {"nargs": "?", "const": flag.without_text}
    return options


def _shown(default: object) -> str:
    """A default as one would type it; empty for those that say nothing."""
    if default is True:
        return "true"
    if default is None or default is False:
        return ""
    if isinstance(default, tuple):
        return ",".join(default)
    return f"{default:g}" if isinstance(default, float) else str(default)


def port(text: str) -> int:
    """A port; 0 where that means none, or any."""
    if not 0 <= (number := int(text)) < 65536:
        raise argparse.ArgumentTypeError("must be a port, from 0 to 65535")
    return number


def natural(text: str) -> int:
    """A whole number that is not negative."""
    if (number := int(text)) < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return number


def positive(text: str) -> int:
    """A whole number above 0."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def span(text: str) -> float:
    """A time that may be 0."""
    if not 0 <= (number := float(text)) < float("inf"):
        raise argparse.ArgumentTypeError("must be a time, or 0")
    return number


def duration(text: str) -> float:
    """A time above 0."""
    if not (number := span(text)):
        raise argparse.ArgumentTypeError("must be longer than 0")
    return number


def boolean(text: str) -> bool:
    """``true`` or ``false``."""
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError("must be true or false")
    return text.lower() == "true"


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """Settings of every server of the Open Inference Protocol.

    Attributes whose names end in ``_ms`` are milliseconds, in ``_s`` seconds.
    """

    host: Annotated[str, Flag("address to listen at")] = "0.0.0.0"  # noqa: S104 (a container serves its pod's address)
    http_port: Annotated[int, Flag("port of HTTP, health and metrics, 0 for any free one", port)] = 8080
    grpc_port: Annotated[int, Flag("port of gRPC, 0 for none", port)] = 8081
    workers: Annotated[
        int,
        Flag(
            "most requests in flight, 0 for no limit; never a number of processes: KServe sets it to "
            "containerConcurrency",
            natural,
        ),
    ] = 0
    max_body_bytes: Annotated[int, Flag("longest body of a request", positive)] = 8 * 2**20
    max_buffered_bytes: Annotated[
        int,
        Flag(
            "bytes of long requests that may be held at once, for HTTP and for gRPC each; more are answered with 429",
            positive,
        ),
    ] = 128 * 2**20
    upload_timeout_s: Annotated[
        float, Flag("longest time from the first to the last byte of a request, in seconds", duration)
    ] = 30.0
    max_connections: Annotated[
        int,
        Flag(
            "connections at once, for HTTP and for gRPC each; of more, the one that was idle for longest is closed",
            positive,
        ),
    ] = 4096
    shutdown_grace_s: Annotated[float, Flag("time for requests in flight to end after SIGTERM, in seconds", span)] = (
        20.0
    )

    def uploads(self) -> Uploads:
        """Limits of requests that are on their way over HTTP, in this process."""
        return Uploads(
            max_body_bytes=self.max_body_bytes,
            max_buffered_bytes=self.max_buffered_bytes,
            timeout_s=self.upload_timeout_s,
            max_connections=self.max_connections,
        )
