"""``POST /v1/models/NAME:refresh``: changed features come in, and the prediction that follows from them is kept.

Features and prediction are written to the online store, so that all transformers of the version answer with them.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import msgspec
import numpy as np
from fastapi import FastAPI, Request, Response

from tandem.clock import utc_now
from tandem.dtypes import Column, Columns
from tandem.errors import (
    ContractViolation,
    MalformedRequest,
    RequestError,
    RequestTooLarge,
    StoreError,
    Unauthenticated,
    Unavailable,
    Violation,
)
from tandem.feature_changes import Change, ChangedView, apply_changes
from tandem.inputs import Features, Inputs
from tandem.lookup import LookupPlan
from tandem.packed_rows import RowLayout, ViewColumns
from tandem.precomputed import PrecomputedPredictions
from tandem.rows import Row, json_values, name_numbers
from tandem_transformer.config import REFRESH_TOKEN_VARIABLE
from tandem_transformer.routes import check_model
from tandem_transformer.service import Service
from tandem_transformer.simpler_model import answer_columns

T = TypeVar("T")

_NOT_JSON = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)


@dataclass(frozen=True, slots=True)
class _Changes:
    """Rows of a request, and the changed features of each, by view."""

    rows: list[Row]
    by_view: dict[str, list[Change]]


class Refresher:
    """Writes changed features and the predictions that follow from them.

    Args:
        service: What answers.
        precomputed: Writes the predictions.
    """

    def __init__(self, service: Service, precomputed: PrecomputedPredictions) -> None:
        self._service = service
        self._precomputed = precomputed
        self._plan = LookupPlan(service.bundle.model.views)
        self._layouts = [RowLayout(use.view) for use in self._plan.uses]
        rows = Annotated[list[service.reader.row_type], msgspec.Meta(min_length=1)]  # type: ignore[name-defined]
        changes = dict[str, list[dict[str, Any] | None]]
        self._type = msgspec.defstruct(
            "Refresh", [("instances", rows), ("features", changes, {})], forbid_unknown_fields=True
        )

    async def refresh(self, body: bytes) -> dict[str, Any]:
        """Write the features of a request, predict its rows, and write the predictions.

        A row that the store has of a later time stays. A prediction that lacks stored features is not written.

        Args:
            body: ``{"instances": […], "features": {view: [{feature: value, …} or null for each instance]}}``.

        Returns:
            ``predictions`` as those of a predict request, and how many rows of ``features`` and of ``predictions`` were
            ``written``.

        Raises:
            MalformedRequest: for a body of another form.
            ContractViolation: naming row, field or feature, and rule.
            RequestTooLarge: for too many rows.
            Unavailable: ``store_unavailable``.
            RequestError: as a predict request.
        """
        changes = self._read(body)
        service = self._service
        request = service.reader.columns(changes.rows)
        now = utc_now()
        as_of = service.reader.as_of(request, now)
        keys, rows = self._plan.keys(request), len(changes.rows)
        views = self._apply(changes, self._plan.unpack(await self._get(keys), rows), as_of)
        features = service.pipeline.features(Inputs(request, tuple(view.columns for view in views), as_of))
        if features.refused:
            raise next(iter(features.refused.values()))
        deadline = service.now() + service.request_timeout
        answers, _ = await answer_columns(service.pipeline, features.columns, service.backends, deadline)
        whole = np.delete(np.arange(rows), sorted(features.degraded))
        packed = self._precomputed.pack({name: column[whole] for name, column in answers.items()}, as_of[whole])
        written_keys = self._precomputed.keys({name: column[whole] for name, column in request.items()})
        useful_s = self._precomputed.useful_s(as_of, now)
        written = {
            "features": await self._put(self._pack(keys, views, rows)),
            "predictions": await self._put(list(zip(written_keys, packed, strict=True)), useful_s),
        }
        predictions = _describe(answers, features)
        name_numbers(predictions, service.bundle.contract.classes)
        return {"predictions": predictions, "written": written}

    def _read(self, body: bytes) -> _Changes:
        try:
            decoded: Any = msgspec.json.decode(body, type=self._type)
        except msgspec.ValidationError as error:
            raise self._explain(body, error) from None
        except _NOT_JSON as error:
            raise _malformed(error) from None
        rows, limit = len(decoded.instances), self._service.config.max_request_rows
        if rows > limit:
            raise RequestTooLarge(f"{rows} instances; at most {limit} are taken", code="too_many_rows")
        names = {use.name for use in self._plan.uses}
        for view, changes in decoded.features.items():
            if view not in names:
                raise ContractViolation([Violation(None, view, "unknown feature view")])
            if len(changes) != rows:
                rule = f"must have a row for each instance, {rows}, not {len(changes)}"
                raise ContractViolation([Violation(None, view, rule)])
        return _Changes(decoded.instances, decoded.features)

    def _explain(self, body: bytes, error: msgspec.ValidationError) -> RequestError:
        try:
            parsed = msgspec.json.decode(body)
        except _NOT_JSON as reason:
            # a violation is found before what follows it is read
            return _malformed(reason)
        instances = parsed.get("instances") if isinstance(parsed, dict) else None
        violations = self._service.reader.violations(instances) if isinstance(instances, list) else []
        return ContractViolation(violations) if violations else MalformedRequest(str(error))

    def _apply(self, changes: _Changes, stored: tuple[ViewColumns, ...], as_of: Column) -> list[ChangedView]:
        nothing: list[Change] = [None] * len(changes.rows)
        views = [
            apply_changes(use, columns, changes.by_view.get(use.name, nothing), as_of)
            for use, columns in zip(self._plan.uses, stored, strict=True)
        ]
        if violations := [violation for view in views for violation in view.violations]:
            raise ContractViolation(violations)
        return views

    def _pack(self, keys: list[bytes], views: list[ChangedView], rows: int) -> list[tuple[bytes, bytes]]:
        """Keys and packed rows of all that changed."""
        changed = []
        for at, (layout, view) in enumerate(zip(self._layouts, views, strict=True)):
            part = view.columns.take(view.rows)
            packed = zip(view.rows.tolist(), layout.pack(part.columns, part.event_time, part.nulls), strict=True)
            changed += [(keys[at * rows + row], value) for row, value in packed]
        return changed

    async def _get(self, keys: list[bytes]) -> list[bytes | None]:
        return await self._ask(self._service.backends.store.get(keys)) if keys else []

    async def _put(self, rows: list[tuple[bytes, bytes]], ttl_s: float | None = None) -> int:
        """Write rows; returns how many are in the store now."""
        if not rows:
            return 0
        return len(rows) - len(await self._ask(self._service.backends.store.put(rows, ttl_s=ttl_s)))

    async def _ask(self, call: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._service.config.store_timeout_ms / 1000):
                return await call
        except (TimeoutError, StoreError) as error:
            reason = str(error) or "the feature store did not answer in time"
            raise Unavailable(reason, code="store_unavailable", retry_after=1) from None


def _malformed(reason: Exception) -> MalformedRequest:
    return MalformedRequest(f"the body is not JSON: {reason}")


def _describe(answers: Columns, features: Features) -> list[dict[str, Any]]:
    """Answers as clients see them."""
    lists = [json_values(column) for column in answers.values()]
    predictions: list[dict[str, Any]] = [dict(zip(answers, row, strict=True)) for row in zip(*lists, strict=True)]
    for row, degraded in features.degraded.items():
        predictions[row]["degraded"] = degraded
    return predictions


def add_refresh_route(app: FastAPI, service: Service) -> None:
    """The route, where a token is set and the model takes predictions computed ahead."""
    token, precomputed = service.config.refresh_token, service.backends.precomputed
    if not token or precomputed is None:
        return
    refresher = Refresher(service, precomputed)

    @app.post("/v1/models/{model}:refresh", tags=["refresh"])
    async def refresh(model: str, request: Request) -> Response:
        check_model(service, model, None)
        # takes as long for every wrong token, so that none can be found character by character
        authorization = request.headers.get("authorization", "").encode()
        if not hmac.compare_digest(authorization, f"Bearer {token}".encode()):
            raise Unauthenticated(f"needs the token of {REFRESH_TOKEN_VARIABLE}: authorization: Bearer TOKEN")
        answer = await refresher.refresh(await request.body())
        about = {"model_name": service.model_name, "model_version": service.bundle.version}
        return Response(msgspec.json.encode(answer | about), media_type="application/json")
