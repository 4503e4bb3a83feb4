"""Settings of the prediction log."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Annotated, Final

from tandem.oip.flags import Flag, boolean, duration, natural, positive, span

SINKS: Final = ("http", "https", "kafka")
"""Schemes of the addresses to which records may be delivered."""


def _share(text: str) -> float:
    """A share from 0 to 1."""
    # written so that it refuses NaN too
    if not 0 <= (number := float(text)) <= 1:
        raise argparse.ArgumentTypeError("must be from 0 to 1")
    return number


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _sink(text: str) -> str:
    # argparse parses the default too
    if text and text.partition("://")[0] not in SINKS:
        raise argparse.ArgumentTypeError(f"must begin with {' or '.join(f'{name}://' for name in SINKS)}")
    return text


@dataclass(frozen=True, kw_only=True)
class PredictionLogSettings:
    """Settings of the prediction log; without a directory there is none."""

    prediction_log: Annotated[str, Flag("directory into which predictions are logged; without it none is")] = ""
    prediction_log_durable: Annotated[
        bool,
        Flag("answer only after the record is in the file, and refuse with 503 what cannot be logged", parse=None),
    ] = False
    prediction_log_sync: Annotated[
        bool, Flag("wait for the disk itself too, so that records outlive the machine", parse=None)
    ] = False
    prediction_log_sample: Annotated[
        float,
        Flag("share of the entities whose predictions are logged; degraded and failed ones always are", _share),
    ] = 1.0
    prediction_log_redact: Annotated[
        tuple[str, ...],
        Flag("fields and features (VIEW.FEATURE, or VIEW) that are left out, separated by commas", _names),
    ] = ()
    prediction_log_vectors: Annotated[
        bool, Flag("log the model's input vectors, unless something is left out", boolean)
    ] = True
    prediction_log_queue_bytes: Annotated[
        int, Flag("bytes that may wait to be written; what is more is not logged, and counted", positive)
    ] = 67_108_864
    prediction_log_max_bytes: Annotated[
        int, Flag("bytes of all files in the directory; what is more is not logged, and counted", positive)
    ] = 4 * 2**30
    prediction_log_segment_bytes: Annotated[int, Flag("bytes after which a file is completed", positive)] = 67_108_864
    prediction_log_segment_s: Annotated[float, Flag("seconds after which a file is completed", duration)] = 60.0
    prediction_log_keep_s: Annotated[
        float, Flag("seconds after which a completed file is removed, 0 to keep it", span)
    ] = 0.0
    prediction_log_sink: Annotated[
        str,
        Flag("where completed files are delivered, and then removed: http(s)://host/path or kafka://host:port/topic",
             _sink),
    ] = ""  # fmt: skip
    prediction_log_flush_ms: Annotated[
        int, Flag("milliseconds for which records gather before they are written, unless answers wait", natural)
    ] = 100
