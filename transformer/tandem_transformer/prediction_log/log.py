"""The prediction log as the event loop sees it: nothing here waits for a disk."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import socket
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from tandem.bundle import Bundle
from tandem.clock import utc_now
from tandem.dtypes import Column, Columns
from tandem.errors import RequestError, Unavailable
from tandem.packed_rows import ViewColumns
from tandem.prediction_log.blocks import encode_block
from tandem.prediction_log.gathering import gather, gather_feedback
from tandem.prediction_log.records import LoggedBatch, LoggedFeedback
from tandem.prediction_log.schema import LogSchema, log_schema
from tandem.prediction_log.segments import Payload
from tandem.prediction_log.spool import Spool, SpoolLimits
from tandem.rows import RowReader
from tandem.telemetry import STAGES
from tandem_transformer.batch import BatchAnswer, Call, merge
from tandem_transformer.prediction_log.child import Deliverer
from tandem_transformer.prediction_log.settings import PredictionLogSettings
from tandem_transformer.prediction_log.writer import NOT_LOGGED, Content, Entry, Writer
from tandem_transformer.traffic import TRAFFIC

CLIENT_GONE: Final = "client_gone"
"""Stands in a record for the code of an error where the client did not wait for its answer."""


class PredictionLog:
    """Takes predictions, failures and feedback, and has them written.

    Args:
        bundle: The version that is served.
        model_name: Name under which clients ask for it.
        settings: Where to, and what.

    Raises:
        DefinitionError: if what is to be left out does not exist.
        OSError: if the directory cannot be used.
    """

    def __init__(self, bundle: Bundle, model_name: str, settings: PredictionLogSettings) -> None:
        self.schema = _schema(bundle, model_name, settings)
        self._dropped: Counter[str] = Counter()
        self._views = [use.name for use in bundle.manifest.views]
        self._keys = tuple(bundle.contract.serving_keys)
        self._reader = RowReader(bundle.contract)
        self._numbers = itertools.count(1)
        self._durable = settings.prediction_log_durable
        self._sample = settings.prediction_log_sample
        self._max_bytes = settings.prediction_log_queue_bytes
        self._loop = asyncio.get_running_loop()
        limits = SpoolLimits(
            max_bytes=settings.prediction_log_max_bytes,
            segment_bytes=settings.prediction_log_segment_bytes,
            segment_s=settings.prediction_log_segment_s,
            keep_s=settings.prediction_log_keep_s,
        )
        self._writer = Writer(
            Spool(Path(settings.prediction_log), self.schema, limits),
            self._encode,
            self._loop,
            flush_s=settings.prediction_log_flush_ms / 1000,
            sync=settings.prediction_log_sync,
        )
        self._writer.start()
        sink = settings.prediction_log_sink
        self._deliverer = Deliverer(settings.prediction_log, sink) if sink else None

    def answered(
        self,
        calls: Sequence[Call],
        answer: BatchAnswer,
        request: Columns,
        views: Sequence[ViewColumns],
        as_of: Column,
        start_time: np.datetime64,
    ) -> asyncio.Future[None] | None:
        """Log the predictions of a batch.

        Args:
            calls: Its calls, in the order of their rows.
            answer: What they get.
            request: Columns of the contract.
            views: What was looked up.
            as_of: When each row's question is asked.
            start_time: When the batch began.

        Returns:
            What must be waited for before the calls get their answer; None for nothing.

        Raises:
            Unavailable: ``prediction_log_unavailable``: they may not be answered, since too much waits to be written.
        """
        batch = self._batch(calls, request, start_time)
        batch.as_of, batch.views = as_of, dict(zip(self._views, views, strict=True))
        batch.vectors, batch.answers, batch.degraded = answer.tensors, answer.columns, answer.degraded
        batch.stages, batch.precomputed = answer.stages, answer.precomputed
        return self._put(batch, awaited=self._durable)

    def failed(self, calls: Iterable[Call]) -> None:
        """Log those of some calls that ended with an error for which their client is not to blame."""
        failures = [call for call in calls if _is_fault(call)]
        if failures:
            columns = merge(self._reader, failures)
            self._put(self._batch(failures, columns, utc_now()), awaited=False)

    async def feedback(self, feedback: LoggedFeedback) -> None:
        """Log feedback; returns when it is in the file.

        Raises:
            Unavailable: ``prediction_log_unavailable``: it cannot be logged.
        """
        written = self._put(feedback, awaited=True)
        assert written is not None  # noqa: S101 (it is asked for)
        await written

    @property
    def written(self) -> int:
        """Records that are in files."""
        return self._writer.totals.written

    @property
    def queued_bytes(self) -> int:
        """About how many bytes wait to be written."""
        return self._writer.queued_bytes

    @property
    def lost(self) -> Counter[str]:
        """Records that are lost, by reason."""
        return self._dropped + self._writer.totals.lost

    async def close(self) -> None:
        """Write what is queued, complete the segment, and have it delivered where that is configured."""
        await asyncio.to_thread(self._writer.close)
        if self._deliverer is not None:
            await self._deliverer.close()

    def _put(self, content: Content, *, awaited: bool) -> asyncio.Future[None] | None:
        size = content.count_bytes()
        if self._writer.queued_bytes + size > self._max_bytes:
            self._dropped["queue_full"] += content.rows
            if awaited:
                raise Unavailable("too much waits to be logged", code="prediction_log_unavailable", retry_after=1)
            return None
        written = self._loop.create_future() if awaited else None
        self._writer.put(Entry(content, size, written))
        return written

    def _batch(self, calls: Sequence[Call], request: Columns, start_time: np.datetime64) -> LoggedBatch:
        """The records of calls, which get their ids."""
        writer = self.schema.writer
        numbers = [next(self._numbers) for _ in calls]
        for call, number in zip(calls, numbers, strict=True):
            call.prediction_id = f"{writer}-{number}"
        return LoggedBatch(
            numbers,
            [call.size for call in calls],
            [call.request_id for call in calls],
            [call.traffic for call in calls],
            [_error_code(call) for call in calls],
            start_time,
            request,
        )

    def _encode(self, contents: Sequence[Content]) -> list[Payload]:
        """Blocks; in the thread that writes."""
        batches = [content for content in contents if isinstance(content, LoggedBatch)]
        groups = gather(self.schema, batches, sample=self._sample, keys=self._keys)
        payloads = [(records.rows, encode_block("predictions", records)) for records in groups]
        for content in contents:
            if isinstance(content, LoggedFeedback):
                records = gather_feedback(self.schema, content)
                payloads.append((records.rows, encode_block("feedback", records)))
        return payloads


def _schema(bundle: Bundle, model_name: str, settings: PredictionLogSettings) -> LogSchema:
    return log_schema(
        bundle.contract,
        bundle.manifest.views,
        bundle.signature,
        redact=settings.prediction_log_redact,
        vectors=settings.prediction_log_vectors,
        writer=secrets.token_hex(8),
        model=model_name,
        version=bundle.version,
        digest=bundle.digest,
        host=socket.gethostname(),
        traffic=TRAFFIC,
        stages=STAGES,
    )


def _is_fault(call: Call) -> bool:
    if not call.answer.done() or call.answer.cancelled():
        return False
    error = call.answer.exception()
    return isinstance(error, RequestError) and error.status >= 500 and error.code != NOT_LOGGED


def _error_code(call: Call) -> str:
    """The code of the error with which a call has ended; empty where it has not."""
    if not call.answer.done():
        return ""
    error = None if call.answer.cancelled() else call.answer.exception()
    return error.code if isinstance(error, RequestError) else CLIENT_GONE
