"""Flags of the predictor. The names that KServe fills in are KServe's."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final

from tandem.bundle import DIGEST_VARIABLE, MODEL_DIR
from tandem.oip.flags import Flag, parser_of, positive, span
from tandem.oip.settings import ServerSettings

TOKEN_VARIABLE: Final = "TANDEM_REPOSITORY_TOKEN"  # noqa: S105 - the name, no token
"""Environment variable with the token of the repository API; a flag would show among the processes."""

_PROVIDERS: Final = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}


def _providers(text: str) -> tuple[str, ...]:
    return tuple(_PROVIDERS.get(name.strip().lower(), name.strip()) for name in text.split(","))


@dataclass(frozen=True, kw_only=True)
class PredictorConfig(ServerSettings):
    """Settings of one predictor.

    Attributes:
        bundle_digest: The digest that the one bundle of ``model_dir`` must have, or its beginning; empty for any model.
        repository_token: What clients must show to list, load and unload models; without it nobody may.
    """

    model_name: Annotated[
        str | None,
        Flag("name of a plain ONNX model that is the only one in model_dir; a bundle is always NAME-DIGEST8"),
    ] = None
    model_dir: Annotated[
        Path | None,
        Flag(
            f"a bundle, a directory with model.onnx, or a directory of these ({MODEL_DIR} without --model_repository)",
            Path,
        ),
    ] = None
    bundle_digest: str = ""
    model_repository: Annotated[
        Path | None,
        Flag(
            f"directory of models that clients with the token of {TOKEN_VARIABLE} may load and unload while serving",
            Path,
        ),
    ] = None
    repository_token: str = field(default="", repr=False)
    execution_providers: Annotated[
        tuple[str, ...],
        Flag("by preference, comma-separated: cpu, cuda, tensorrt or ONNX Runtime's names", _providers),
    ] = ("CPUExecutionProvider",)
    intra_op_threads: Annotated[int, Flag("threads of one session run", positive)] = 1
    instances: Annotated[int, Flag("session runs of one model at the same time", positive)] = 1
    max_batch_size: Annotated[int, Flag("most rows in a batch, 1 for no batching", positive)] = 64
    max_batch_delay_ms: Annotated[
        float,
        Flag(
            "how long a request may wait for others to share its batch; 0 merges only what has queued up while the "
            "session was busy",
            span,
        ),
    ] = 0.0
    max_queue_rows: Annotated[int, Flag("most rows that wait for a model; more are answered with 429", positive)] = 4096
    inline_below_ms: Annotated[
        float,
        Flag(
            "a model whose largest batch takes less runs on the event loop: handing it to a thread would cost more",
            span,
        ),
    ] = 0.5
    max_body_bytes: int = 64 * 2**20
    max_buffered_bytes: int = 512 * 2**20
    request_timeout_ms: Annotated[float, Flag("longest time between arrival and result, 0 for no limit", span)] = 0.0
    shutdown_grace_s: float = 30.0


def parse(argv: Sequence[str] | None = None) -> PredictorConfig:
    """Flags to a configuration; unknown flags end the program with a message that names them."""
    values = vars(command_line().parse_args(argv))
    if values["model_dir"] is None and values["model_repository"] is None:
        values["model_dir"] = Path(MODEL_DIR)
    return PredictorConfig(
        **values,
        bundle_digest=os.environ.get(DIGEST_VARIABLE, ""),
        repository_token=os.environ.get(TOKEN_VARIABLE, ""),
    )


def command_line() -> argparse.ArgumentParser:
    """The parser of the command line."""
    return parser_of(
        PredictorConfig, program="tandem_predictor", description="ONNX Runtime behind the Open Inference Protocol v2"
    )
