"""Flags of the predictor. The names that KServe fills in are KServe's."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tandem.bundle import DIGEST_VARIABLE

#: Where KServe's storage initialiser puts a model.
DEFAULT_MODEL_DIR: Final = Path("/mnt/models")
#: Environment variable with the token of the repository API; a flag would show among the processes.
TOKEN_VARIABLE: Final = "TANDEM_REPOSITORY_TOKEN"  # noqa: S105 - the name, no token

_PROVIDERS: Final = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What the flags say.

    Attributes:
        model_name: Name of a plain ONNX model that is the only one in ``model_dir``; None takes the directory's.
            Bundles are served under ``NAME-DIGEST8`` whatever this says.
        model_dir: A model, or a directory of models; None where only ``model_repository`` is served.
        bundle_digest: The digest that the one bundle of ``model_dir`` must have, or its beginning; empty for any model.
        model_repository: Directory of models which may be loaded and unloaded while serving; None for none.
        repository_token: What clients must show to list, load and unload models; nobody may without it.
        host: Address to listen at.
        http_port: Port of REST; 0 for any free one.
        grpc_port: Port of gRPC; 0 for no gRPC.
        workers: Most requests in flight; 0 for no limit. KServe fills it with ``containerConcurrency``.
        execution_providers: ONNX Runtime's execution providers, the preferred one first.
        intra_op_threads: Threads of one session run.
        instances: Session runs of one model at the same time.
        max_batch_size: Most rows in a batch; 1 turns batching off.
        max_batch_delay_ms: How long a request may wait for others; 0 merges only what has queued up while the session
            was busy.
        max_queue_rows: Most rows that wait, for each model.
        inline_below_ms: A model whose largest batch takes less runs on the event loop; handing it to a thread would
            cost more.
        max_body_bytes: Longest body or message.
        max_buffered_bytes: Bytes of long requests that may be held at once, for REST and for gRPC each.
        upload_timeout_s: Longest time from the first to the last byte of a request.
        max_connections: Connections at once, for REST and for gRPC each; of more, the one that was idle for longest is
            closed.
        request_timeout_ms: Longest time between arrival and result; 0 for none.
        shutdown_grace_s: Time for requests in flight to end after SIGTERM.
    """

    model_name: str | None = None
    model_dir: Path | None = None
    bundle_digest: str = ""
    model_repository: Path | None = None
    repository_token: str = field(default="", repr=False)
    host: str = "0.0.0.0"  # noqa: S104 - a container is reached from outside
    http_port: int = 8080
    grpc_port: int = 8081
    workers: int = 0
    execution_providers: tuple[str, ...] = ("CPUExecutionProvider",)
    intra_op_threads: int = 1
    instances: int = 1
    max_batch_size: int = 64
    max_batch_delay_ms: float = 0.0
    max_queue_rows: int = 4096
    inline_below_ms: float = 0.5
    max_body_bytes: int = 64 * 2**20
    max_buffered_bytes: int = 512 * 2**20
    upload_timeout_s: float = 30.0
    max_connections: int = 4096
    request_timeout_ms: float = 0.0
    shutdown_grace_s: float = 30.0


def parse(argv: Sequence[str] | None = None) -> Config:
    """Flags to a configuration; unknown flags end the program with a message that names them."""
    values = vars(_parser().parse_args(argv))
    if values["model_dir"] is None and values["model_repository"] is None:
        values["model_dir"] = DEFAULT_MODEL_DIR
    return Config(
        **values,
        bundle_digest=os.environ.get(DIGEST_VARIABLE, ""),
        repository_token=os.environ.get(TOKEN_VARIABLE, ""),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tandem_predictor", description="ONNX Runtime behind the Open Inference Protocol v2", allow_abbrev=False
    )

    def flag(name: str, kind: Callable[[str], object], text: str) -> None:
        default = getattr(Config(), name)
        suffix = "" if default is None else " (default: %(default)s)"
        parser.add_argument(f"--{name}", type=kind, default=default, help=text + suffix)

    flag("model_name", str, "name of a single plain ONNX model; a bundle is always NAME-DIGEST8")
    flag(
        "model_dir",
        Path,
        f"a bundle, a directory with model.onnx, or a directory of these (default: {DEFAULT_MODEL_DIR})",
    )
    flag(
        "model_repository",
        Path,
        f"directory of models that clients with the token of {TOKEN_VARIABLE} may load and unload",
    )
    flag("host", str, "address to listen at")
    flag("http_port", _natural, "port of REST, 0 for any free one")
    flag("grpc_port", _natural, "port of gRPC, 0 for none")
    flag("workers", _natural, "most requests in flight, 0 for no limit; never a number of processes")
    flag(
        "execution_providers", _providers, "by preference, comma-separated: cpu, cuda, tensorrt or ONNX Runtime's names"
    )
    flag("intra_op_threads", _positive, "threads of one session run")
    flag("instances", _positive, "session runs of one model at the same time")
    flag("max_batch_size", _positive, "most rows in a batch, 1 for no batching")
    flag("max_batch_delay_ms", _duration, "how long a request may wait for others to share its batch")
    flag("max_queue_rows", _positive, "most rows that wait for a model; more are answered with 429")
    flag("inline_below_ms", _duration, "models whose largest batch is faster run on the event loop")
    flag("max_body_bytes", _positive, "longest request")
    flag("max_buffered_bytes", _positive, "bytes of long bodies held at once; more are answered with 429")
    flag("upload_timeout_s", _span, "longest time from the first to the last byte of a request")
    flag("max_connections", _positive, "connections at once; of more, the one idle for longest is closed")
    flag("request_timeout_ms", _duration, "longest time to a result, 0 for no limit")
    flag("shutdown_grace_s", _duration, "time for requests in flight to end after SIGTERM")
    return parser


def _natural(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{value} is negative")
    return value


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is less than 1")
    return value


def _duration(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no duration")
    return value


def _span(text: str) -> float:
    value = _duration(text)
    if not value:
        raise argparse.ArgumentTypeError("must be longer than 0")
    return value


def _providers(text: str) -> tuple[str, ...]:
    return tuple(_PROVIDERS.get(name.strip().lower(), name.strip()) for name in text.split(","))
