"""A bundle in this process: lookup, transforms and ONNX Runtime without a server in between."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from tandem.answer_parts import Answers, Rows, counting_in_batch, merge, take, without_views
from tandem.bundle import Bundle
from tandem.dtypes import Columns
from tandem.errors import ContractViolation, StoreError, Violation
from tandem.golden import replay_single_rows, replay_vectors
from tandem.inputs import Features, Inputs
from tandem.lookup import LookupPlan
from tandem.onnx_model import OnnxModel
from tandem.packed_rows import ViewColumns
from tandem.pipeline import Pipeline
from tandem.replay import Run, replay
from tandem.request_tables import read_rows
from tandem.rows import RowReader, json_values, name_numbers
from tandem.single_row import SingleRow
from tandem.table_inputs import as_inputs
from tandem.tables import Table, is_table

Get = Callable[[Sequence[bytes]], Sequence[bytes | None]]
"""Reads packed rows by key: ``MemoryStore.get_now``, or ``mget`` of a Redis client."""


class Stored(NamedTuple):
    """What a store has.

    Attributes:
        keys: Keys of rows.
        values: Their rows; None if the store does not answer.
    """

    keys: list[bytes]
    values: Sequence[bytes | None] | None


class EmbeddedModel:
    """One version of a model, called as a function.

    Args:
        bundle: The version.
        get: Where stored features are read; without it every entity is unknown.
        threads: Threads of ONNX Runtime within one call.

    Attributes:
        bundle: The version.
        pipeline: Its pipeline.
        run: Calls its graph; another function may stand in its place.
    """

    def __init__(self, bundle: Bundle, *, get: Get | None = None, threads: int = 1) -> None:
        self.bundle = bundle
        self.pipeline: Pipeline = bundle.pipeline()
        self._get = get or _nothing
        self.run: Run = OnnxModel(bundle.graph(), threads=threads).run
        self._rows = RowReader(bundle.contract)
        self._classes = bundle.contract.classes
        self._plan = LookupPlan(bundle.model.views)
        self._single = SingleRow(self.pipeline, self._rows) if SingleRow.takes(self.pipeline) else None
        self._simpler = None if bundle.simpler is None else EmbeddedModel(bundle.simpler, threads=threads)
        self._row_list = list[self._rows.row_type]  # type: ignore[name-defined]

    @classmethod
    def open(cls, bundle: Bundle | Path | str, *, get: Get | None = None, threads: int = 1) -> EmbeddedModel:
        """Open a bundle, verify it, and replay its golden rows; :func:`tandem.load` does so with a store by its URL.

        Args:
            bundle: The directory; or a bundle that is open, and so verified.
            get: Where stored features are read; without it every entity is unknown.
            threads: Threads of ONNX Runtime within one call.

        Raises:
            BundleError: if it is refused, with the reason.
        """
        opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
        model = cls(opened, get=get, threads=threads)
        model._prove()
        return model

    def predict(
        self, rows: Sequence[Mapping[str, Any]] | Table, *, now: np.datetime64 | None = None
    ) -> list[dict[str, Any]]:
        """Predictions for rows as a client would send them.

        Args:
            rows: At least one; fields by name, timestamps as RFC 3339 strings or zoned datetimes. Values may be NumPy
                scalars and pandas timestamps too; a null (None, NaN, NaT, pandas' NA) is a field left out. Or a table
                with the fields as columns: a pandas or polars frame, an Arrow table, arrays by name.
            now: When rows that do not say it are asked about: ``datetime64[us]`` in UTC; None for the time of the call.

        Returns:
            For each row the fields of its answer, timestamps as RFC 3339 strings, and ``degraded`` where stored values
            could not be used. Where ``get`` raises :class:`~tandem.errors.StoreError`, that is for all of them.

        Raises:
            ContractViolation: naming row, field and rule.
            NotFound: for an entity that the store does not know and that has no defaults.
            Unavailable: if ``get`` raises StoreError, and a view has no defaults.
        """
        # the only clock: the pipeline itself reads none
        now_us = time.time_ns() // 1000 if now is None else int(now.astype("datetime64[us]").astype(np.int64))
        stored: Stored | None = None
        if isinstance(rows, list) or not is_table(rows):
            if self._single is not None and len(rows) == 1:
                stored, answer = self._predict_one(self._single, rows[0], now_us)
                if answer is not None:
                    return [answer]
            request = self._rows.columns(self._check(rows))
        else:
            request = read_rows(self.bundle.contract, rows)
        count = len(next(iter(request.values())))
        views = self._unpack(stored or self._read(self._plan.keys(request)), count)
        answers, degraded = self._run(Inputs(request, views, self._rows.as_of(request, np.datetime64(now_us, "us"))))
        result = self._to_rows(answers)
        for row, reasons in degraded.items():
            result[row]["degraded"] = msgspec.to_builtins(reasons)
        return result

    def predict_columns(self, inputs: Inputs | Table) -> Columns:
        """Answers, as columns, for inputs whose features are looked up already.

        Args:
            inputs: Inputs, or a table as :func:`~tandem.table_inputs.inputs_from_table` takes it.

        Raises:
            NotFound: for a row that lacks a feature without default.
        """
        return self._run(as_inputs(self.bundle.model, inputs))[0]

    def answer(self, inputs: Inputs) -> Answers:
        """Answers for the rows of a batch that have one, and the errors of the others.

        Args:
            inputs: The batch, at least one row.

        Raises:
            RequestError: if a transform, the model or post-processing fails; it names the rows where these are known.
        """
        features = self.pipeline.features(inputs)
        refused = features.unanswerable if features.refused else {}
        rows = np.delete(np.arange(len(inputs), dtype=np.intp), sorted(refused))
        columns = self._answers(inputs, features, rows if refused else None) if len(rows) else {}
        return Answers(rows, columns, features.degraded, refused)

    def _predict_one(self, single: SingleRow, row: Any, now: int) -> tuple[Stored | None, dict[str, Any] | None]:
        """What the store has for a row, and the answer; None for either unless the row is a usual one."""
        try:
            values = self._rows.values(msgspec.convert(row, self._rows.row_type))
        except msgspec.ValidationError:
            return None, None
        stored = self._read(single.keys(values))
        result = None if stored.values is None else single.tensors(values, stored.values, now)
        if result is None:
            return stored, None
        tensors, columns = result
        outputs = self.run(tensors)
        return stored, single.answer(outputs) or self._to_rows(self.pipeline.predictions(outputs, columns))[0]

    def _to_rows(self, answers: Columns) -> list[dict[str, Any]]:
        names = tuple(answers)
        lists = [json_values(column) for column in answers.values()]
        result = [dict(zip(names, values, strict=True)) for values in zip(*lists, strict=True)]
        name_numbers(result, self._classes)
        return result

    def _run(self, inputs: Inputs) -> tuple[Columns, dict[int, dict[str, Any]]]:
        features = self.pipeline.features(inputs)
        # a bundle without a simpler model has no view that leaves rows to one
        if unanswerable := features.refused and features.unanswerable:
            raise next(iter(unanswerable.values()))
        return self._answers(inputs, features, None), features.degraded

    def _answers(self, inputs: Inputs, features: Features, rows: Rows | None) -> Columns:
        """Answers for some rows of a batch; None for all of them."""
        if self._simpler is None or not features.simpler:
            if rows is None:
                return self._answer(features.columns)
            with counting_in_batch(rows):
                return self._answer(take(features.columns, rows))
        simpler = np.array(sorted(features.simpler), np.intp)
        every = np.arange(len(inputs), dtype=np.intp) if rows is None else rows
        own = np.setdiff1d(every, simpler, assume_unique=True)
        with counting_in_batch(simpler):
            parts = [(simpler, self._simpler.predict_columns(without_views(inputs, simpler)))]
        if len(own):
            with counting_in_batch(own):
                parts.append((own, self._answer(take(features.columns, own))))
        merged = merge(self.bundle.contract.answers, len(inputs), parts)
        return merged if rows is None else take(merged, rows)

    def _answer(self, columns: Columns) -> Columns:
        return self.pipeline.predictions(self.run(self.pipeline.tensors(columns)), columns)

    def _read(self, keys: list[bytes]) -> Stored:
        try:
            return Stored(keys, self._get(keys))
        except StoreError:
            return Stored(keys, None)

    def _unpack(self, stored: Stored, rows: int) -> tuple[ViewColumns, ...]:
        if stored.values is None:
            # nothing is kept here for an outage
            return self._plan.unpack_known(stored.keys, None, rows, lambda key: None)
        return self._plan.unpack(stored.values, rows)

    def _prove(self) -> None:
        golden = self.bundle.golden_inputs()
        replay_vectors(self.pipeline, golden)
        if self._single is not None:
            replay_single_rows(self._single, golden, self.bundle.model)
        replay(self.run, golden.vectors, golden.outputs, self.bundle.tolerance("CPUExecutionProvider"))
        if self._simpler is not None:
            self._simpler._prove()

    def _check(self, rows: Sequence[Mapping[str, Any]]) -> list[msgspec.Struct]:
        if not rows:
            raise ContractViolation([Violation(None, "rows", "must have at least one row")])
        try:
            return msgspec.convert(rows, self._row_list)
        except msgspec.ValidationError:
            # values of NumPy and pandas are looked at only where they occur: most rows have none
            plain = [self._rows.plain(row) for row in rows]
        try:
            return msgspec.convert(plain, self._row_list)
        except msgspec.ValidationError as error:
            raise ContractViolation(self._rows.violations(plain) or [Violation(None, "", str(error))]) from None


def _nothing(keys: Sequence[bytes]) -> list[bytes | None]:
    return [None] * len(keys)
