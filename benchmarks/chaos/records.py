"""What has become of the records of acknowledged predictions: those whose answers, with their ids, clients have."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from signal import SIGTERM
from typing import Final

from benchmarks.chaos.parts import Log, Pair
from benchmarks.fuzz import http1
from tandem.prediction_log.spool import read_log

_LOST: Final = re.compile(r"^tandem_prediction_log_lost_total\{.*\} (\S+)$", re.MULTILINE)
_FIRST_ROW: Final = ":0"


@dataclass(frozen=True)
class LoggedRecords:
    """The acknowledged predictions of a scenario, and what of them a reader of the log has.

    Attributes:
        acknowledged: Predictions.
        missing: Those that the reader does not have.
        counted: Records that the transformer says are lost; in durable mode it acknowledges none of these.
        repeated: Records that the reader has more than once.
    """

    acknowledged: int = 0
    missing: int = 0
    counted: int = 0
    repeated: int = 0

    @property
    def lost(self) -> int:
        """Predictions that are missing, and that nobody knows of."""
        return max(0, self.missing - self.counted)


def compare(acknowledged: Iterable[str], logged: Mapping[str, int], counted: int) -> LoggedRecords:
    """Hold the ids of acknowledged predictions against the log.

    Args:
        acknowledged: Ids.
        logged: By id, how often the reader has it.
        counted: Records that the transformer says are lost.
    """
    ids = set(acknowledged)
    repeated = sum(count - 1 for count in logged.values() if count > 1)
    return LoggedRecords(len(ids), len(ids - logged.keys()), counted, repeated)


async def read_records(pair: Pair, log: Log, acknowledged: Iterable[str]) -> LoggedRecords:
    """End the transformer, which writes and delivers what waits, and read the log.

    Args:
        pair: With a log.
        log: What kind of log it has.
        acknowledged: Ids of the predictions that clients have.
    """
    # a durable log has all that is acknowledged: what it could not write is counted, and was refused
    counted = 0 if log == "durable" else await _count_lost(pair.transformer.port)
    await asyncio.to_thread(pair.transformer.end, SIGTERM)
    logged = Counter(_written(pair.log))
    # what was delivered may come again, and the reader takes it once
    logged.update(_received(pair.received).difference(logged))
    return compare(acknowledged, logged, counted)


async def _count_lost(port: int) -> int:
    connection = await http1.connect(port)
    try:
        await connection.send([http1.Case("", b"GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n")])
        return sum(int(float(count)) for count in _LOST.findall(connection.answers[0].body.decode()))
    finally:
        connection.abort()


def _written(directory: Path) -> Iterator[str]:
    """Ids of the predictions that are in the directory; requests have one row each."""
    for _, records in read_log(directory, "predictions"):
        yield from (f"{records.schema.writer}-{number}" for number in records.columns["number"].tolist())


def _received(path: Path) -> set[str]:
    lines = path.read_text().split("\n") if path.exists() else []
    return {line.removesuffix(_FIRST_ROW) for line in lines if line.endswith(_FIRST_ROW)}
