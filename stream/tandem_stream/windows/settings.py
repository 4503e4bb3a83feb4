"""Settings of a worker that computes windows, as its command line has them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tandem.bundle import MODEL_DIR
from tandem.oip.flags import Flag, duration, parser_of, positive, span
from tandem_stream.decoding import UnknownFields
from tandem_stream.settings import WorkerSettings, parse_settings
from tandem_stream.topics import Topic

TableFormat = Literal["parquet", "delta"]
"""A directory of Parquet files, or a Delta table."""


@dataclass(frozen=True, kw_only=True)
class WindowSettings(WorkerSettings):
    """Settings of one worker that computes the windows of a feature view."""

    model_dir: Annotated[Path, Flag("directory of a bundle or of a model package", Path)] = Path(MODEL_DIR)
    view: Annotated[str, Flag("feature view (the only one of the model that has a window)")] = ""
    sink: Annotated[str, Flag("topic of the closed windows, kafka://broker:9092/TOPIC, of the same cluster")] = ""
    group: Annotated[str, Flag("consumer group that the workers of a stream share (tandem-VIEW-SINK)")] = ""
    changelog: Annotated[str, Flag("name of the compacted topic of the windows' state (SINK-changelog)")] = ""
    late_events: Annotated[str, Flag("name of a topic of events that come too late; by default they are counted")] = ""
    unknown_fields: UnknownFields = "ignore"
    max_batch_rows: int = 10_000
    max_ahead_s: Annotated[
        float, Flag("reject events that are more seconds ahead of the time of their record, 0 for no limit", span)
    ] = 0.0
    store: Annotated[str, Flag("online store, such as redis://host:port/db; without it none is written")] = ""
    store_ttl_s: Annotated[float, Flag("seconds after which rows of the store expire, 0 for never", span)] = 0.0
    table: Annotated[str, Flag("directory of a table of the closed windows; without it none is written")] = ""
    table_format: Annotated[TableFormat, Flag("what the table is", choices=("parquet", "delta"))] = "parquet"
    table_max_rows: Annotated[int, Flag("windows after which the table is appended to", positive)] = 100_000
    table_max_wait_s: Annotated[float, Flag("seconds after which the table is appended to", duration)] = 60.0

    def changelog_topic(self, sink: Topic) -> Topic:
        """The topic of the state."""
        return Topic(sink.brokers, self.changelog or f"{sink.name}-changelog")


def command_line() -> argparse.ArgumentParser:
    """The parser of the command line."""
    return parser_of(WindowSettings, program="tandem-stream features", description=__doc__)


def parse(arguments: Sequence[str] | None = None) -> WindowSettings:
    """Settings from command-line arguments; ends the process with code 2 and a message if they are invalid."""
    return parse_settings(WindowSettings, command_line(), arguments)
