"""Modes of the transformer without its sockets: each row alone, and rows that share batches with those of others."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from tandem import RequestError
from tandem.clock import utc_now
from tandem.dtypes import Column
from tandem.oip import InferRequest
from tandem.packed_rows import ViewColumns
from tandem.parity import Results, Sample
from tandem.parity.results import by_simpler_model
from tandem.request_forms import tensors_of
from tandem_cli.parity.library import Requests, Run, one_by_one
from tandem_cli.parity.session import Session
from tandem_transformer.batch import BatchAnswer, Call, CallAnswer
from tandem_transformer.config import TransformerConfig
from tandem_transformer.metrics import Recorder
from tandem_transformer.predictors.inprocess import InProcessPredictor
from tandem_transformer.service import Service
from tandem_transformer.v1 import V1
from tandem_transformer.v2 import V2

_AT_ONCE: Final = 256
"""Requests on their way at the same time."""


def open_alone(session: Session) -> Run:
    """A transformer that coalesces nothing, with one row in each request."""
    transformer = session.runner.run(_open(session, max_batch_rows=0))

    def run(sample: Sample, requests: Requests) -> Results:
        return session.runner.run(transformer.answer(sample, [[row] for row in range(len(sample))]))

    return run


def open_coalesced(session: Session) -> Run:
    """A transformer that coalesces requests as it does by default."""
    transformer = session.runner.run(_open(session))

    def run(sample: Sample, requests: Requests) -> Results:
        return session.runner.run(transformer.answer(sample, requests))

    return run


class _TimeRecorder(Recorder):
    """Keeps when the rows of each batch were asked about, and measures nothing."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.times: dict[int, Column] = {}

    def batch(self, answer: BatchAnswer, calls: Sequence[Call], views: Sequence[ViewColumns], as_of: Column) -> None:
        """A batch has been answered."""
        self.times[id(answer)] = as_of


class _Transformer:
    """A service with what reads its requests."""

    def __init__(self, session: Session, config: TransformerConfig) -> None:
        bundle = session.bundle
        self._contract = bundle.contract
        self._recorder = _TimeRecorder(bundle, bundle.name)
        self._service = Service(bundle, session.store, InProcessPredictor(bundle), config, self._recorder)
        limit = config.max_request_rows
        self._v1 = V1(self._service.reader, bundle.signature, bundle.name, bundle.version, limit)
        self._v2 = V2(bundle.contract, bundle.name, bundle.version, limit)
        self._name = bundle.name

    async def answer(self, sample: Sample, requests: Requests) -> Results:
        """Results of all requests, many of them at a time."""
        results = Results.of(sample.inputs)
        failed: list[list[int]] = []
        for start in range(0, len(requests), _AT_ONCE):
            failed += await self._answer_part(sample, requests[start : start + _AT_ONCE], results)
        for row in failed:
            await self._answer_part(sample, [row], results)
        return results

    async def _answer_part(self, sample: Sample, requests: Requests, results: Results) -> list[list[int]]:
        """Answer requests at the same time; the rows of those that failed together are left, each by itself."""
        calls = [self._ask(sample, rows, results, is_json=at % 2 == 0) for at, rows in enumerate(requests)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        failed: list[list[int]] = []
        for rows, outcome in zip(requests, outcomes, strict=True):
            if isinstance(outcome, RequestError):
                failed += one_by_one(rows, outcome, results)
            elif isinstance(outcome, BaseException):
                raise outcome
        self._recorder.times.clear()
        return failed

    async def _ask(self, sample: Sample, rows: Sequence[int], results: Results, *, is_json: bool) -> None:
        call = self._service.call(len(rows), None)
        index = np.array(rows)
        if is_json:
            call.rows = self._v1.decode(msgspec.json.encode({"instances": [sample.rows[row] for row in rows]}))
        else:
            columns = {name: column[index] for name, column in sample.inputs.request.items()}
            call.columns = self._v2.decode(InferRequest(self._name, tensors_of(self._contract, columns)))
        results.as_of[index[~sample.timed[index]]] = utc_now()
        self._service.submit(call)
        self._put(await call.answer, index, results)

    def _put(self, answer: CallAnswer, rows: Column, results: Results) -> None:
        batch, part = answer.batch, slice(answer.start, answer.stop)
        results.as_of[rows] = self._recorder.times[id(batch)][part]
        results.put_answers(rows, {name: column[part] for name, column in batch.columns.items()})
        results.put_degraded(rows, answer.degraded)
        own = np.delete(np.arange(len(rows)), sorted(by_simpler_model(answer.degraded)))
        if len(own):
            results.put_vectors(rows[own], {name: tensor[part][own] for name, tensor in batch.tensors.items()})


async def _open(session: Session, **settings: Any) -> _Transformer:
    config = TransformerConfig(
        model_dir=Path(session.bundle.path),
        predictor_protocol="inprocess",
        request_timeout_ms=600_000,
        latency_target_ms=0,
        max_queued_rows=1_000_000,
        **settings,
    )
    return _Transformer(session, config)
