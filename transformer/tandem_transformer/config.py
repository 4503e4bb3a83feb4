"""Settings of the transformer, from the command line. Names follow the flags that KServe appends to a transformer."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tandem.bundle import DIGEST_VARIABLE
from tandem_transformer.traffic import UNIT_HEADER

PROTOCOLS = ("v2", "grpc-v2", "inprocess")
STORE_VARIABLE = "TANDEM_STORE"


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of one transformer; see :func:`parse` for what each means.

    The bundle must have ``bundle_digest``, or a digest that begins so; empty for any.

    Attributes whose names end in ``_ms`` are milliseconds, in ``_s`` seconds.
    """

    model_dir: Path
    model_name: str | None = None
    bundle_digest: str = ""
    host: str = "0.0.0.0"  # noqa: S104 (a container serves its pod's address)
    http_port: int = 8080
    grpc_port: int = 8081
    predictor_host: tuple[str, ...] = ()
    predictor_protocol: str = "v2"
    predictor_use_ssl: bool = False
    predictor_resolve_s: float = 2.0
    store: str = "memory://"
    workers: int = 0
    processes: int = 1
    request_timeout_ms: float = 1000.0
    store_timeout_ms: float = 200.0
    predictor_timeout_ms: float = 800.0
    max_batch_rows: int = 256
    max_batch_wait_ms: float = 2.0
    max_batches: int = 8
    max_queued_rows: int = 20_000
    max_request_rows: int = 10_000
    max_body_bytes: int = 8 * 1024 * 1024
    max_buffered_bytes: int = 128 * 1024 * 1024
    upload_timeout_s: float = 30.0
    max_connections: int = 4096
    shutdown_grace_s: float = 20.0
    unit_header: str = UNIT_HEADER
    explain: bool = False
    access_log: bool = False
    docs: bool = True


def parse(arguments: Sequence[str] | None = None) -> Config:
    """Settings from command-line arguments; ends the process with code 2 and a message if they make no sense."""
    parser = _parser()
    values = vars(parser.parse_args(arguments))
    if values["predictor_protocol"] != "inprocess" and not values["predictor_host"]:
        parser.error("--predictor_host is required unless --predictor_protocol is inprocess")
    return Config(**values, bundle_digest=os.environ.get(DIGEST_VARIABLE, ""))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tandem-transformer", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    default = Config(model_dir=Path("/mnt/models"))
    add("--model_dir", type=Path, default=default.model_dir, help="directory of the bundle (%(default)s)")
    add("--model_name", help="name under which clients ask for the model (the bundle's)")
    add("--host", default=default.host, help="address to listen on (%(default)s)")
    add(
        "--http_port",
        type=_port,
        default=default.http_port,
        help="port of V1, OIP v2 REST, health and metrics (%(default)s)",
    )
    add("--grpc_port", type=_port, default=default.grpc_port, help="port of OIP v2 gRPC; 0 for none (%(default)s)")
    add(
        "--predictor_host",
        type=_hosts,
        default=(),
        help="host:port of the predictor; all addresses of all hosts, separated by commas, share the calls",
    )
    add(
        "--predictor_protocol",
        choices=PROTOCOLS,
        default=default.predictor_protocol,
        help="how to call the predictor (%(default)s)",
    )
    add("--predictor_use_ssl", type=_flag, nargs="?", const=True, default=False, help="call the predictor over TLS")
    add(
        "--predictor_resolve_s",
        type=_span,
        default=default.predictor_resolve_s,
        help="time after which the predictor's hosts are looked up again, 0 to find them once (%(default)g)",
    )
    add(
        "--store",
        default=os.environ.get(STORE_VARIABLE, default.store),
        help=f"online store: redis://host:port/db, rediss://…, memory:// ({default.store}); without the flag the "
        f"variable {STORE_VARIABLE} counts, where a password does not show among the processes",
    )
    add(
        "--workers",
        type=_natural,
        default=0,
        help="most requests at once, 0 for no limit; KServe sets it to containerConcurrency",
    )
    add("--processes", type=_positive, default=1, help="server processes that share the ports (%(default)s)")
    add(
        "--request_timeout_ms",
        type=_duration,
        default=default.request_timeout_ms,
        help="time a request has, unless it brings its own (%(default)g)",
    )
    add(
        "--store_timeout_ms", type=_duration, default=default.store_timeout_ms, help="time for one lookup (%(default)g)"
    )
    add(
        "--predictor_timeout_ms",
        type=_duration,
        default=default.predictor_timeout_ms,
        help="time for one call of the predictor (%(default)g)",
    )
    add(
        "--max_batch_rows",
        type=_natural,
        default=default.max_batch_rows,
        help="most rows coalesced into one batch, 0 to coalesce nothing (%(default)s)",
    )
    add(
        "--max_batch_wait_ms",
        type=_span,
        default=default.max_batch_wait_ms,
        help="how long a request waits at most for others to share its batch (%(default)g)",
    )
    add(
        "--max_batches",
        type=_positive,
        default=default.max_batches,
        help="batches on their way at once; more requests wait and coalesce (%(default)s)",
    )
    add(
        "--max_queued_rows",
        type=_positive,
        default=default.max_queued_rows,
        help="rows that may wait before clients are told 429 (%(default)s)",
    )
    add(
        "--max_request_rows",
        type=_positive,
        default=default.max_request_rows,
        help="most rows of one request (%(default)s)",
    )
    add(
        "--max_body_bytes",
        type=_positive,
        default=default.max_body_bytes,
        help="longest body of a request (%(default)s)",
    )
    add(
        "--max_buffered_bytes",
        type=_positive,
        default=default.max_buffered_bytes,
        help="bytes of long bodies that may be held at once before clients are told 429 (%(default)s)",
    )
    add(
        "--upload_timeout_s",
        type=_duration,
        default=default.upload_timeout_s,
        help="time from the first to the last byte of a request over HTTP (%(default)g)",
    )
    add(
        "--max_connections",
        type=_positive,
        default=default.max_connections,
        help="connections over HTTP at once; of more, the one that was idle for longest is closed (%(default)s)",
    )
    add(
        "--shutdown_grace_s",
        type=_span,
        default=default.shutdown_grace_s,
        help="time to finish what is in flight (%(default)g)",
    )
    add(
        "--unit_header",
        type=str.lower,
        default=default.unit_header,
        help="header that names the client: none makes up more than half of what a rollout is decided by (%(default)s)",
    )
    add(
        "--explain",
        action="store_true",
        help="let clients ask for the vector of each row with the header x-explain: vector",
    )
    add(
        "--docs",
        type=_flag,
        default=default.docs,
        help="serve the page /docs and its OpenAPI description (true); false for neither",
    )
    add("--access_log", action="store_true", help="log every request, not only those that fail")
    return parser


def _hosts(text: str) -> tuple[str, ...]:
    hosts = tuple(host.strip() for host in text.split(",") if host.strip())
    if not hosts:
        raise argparse.ArgumentTypeError("needs at least one host")
    hosts = tuple(host if ":" in host else f"{host}:80" for host in hosts)
    if wrong := [host for host in hosts if not host.rpartition(":")[2].isdecimal()]:
        raise argparse.ArgumentTypeError(f"the port of {wrong[0]} is no number")
    return hosts


def _flag(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError("must be true or false")
    return text.lower() == "true"


def _port(text: str) -> int:
    if not 0 <= (number := int(text)) < 65536:
        raise argparse.ArgumentTypeError("must be a port")
    return number


def _span(text: str) -> float:
    if not 0 <= (number := float(text)) < float("inf"):
        raise argparse.ArgumentTypeError("must be a time, or 0")
    return number


def _duration(text: str) -> float:
    if not (number := _span(text)):
        raise argparse.ArgumentTypeError("must be longer than 0")
    return number


def _natural(text: str) -> int:
    if (number := int(text)) < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return number


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number
