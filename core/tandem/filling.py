"""Features of a view among the columns of a batch, with defaults where values are missing, stale or null."""

from __future__ import annotations

import numpy as np

from tandem.dtypes import Column, Columns, numpy_dtype
from tandem.durations import parse_duration
from tandem.errors import DeadlineExceeded, NotFound, RequestError, Unavailable
from tandem.features import Feature, ViewUse
from tandem.inputs import Degradation, Features, Reason
from tandem.model import Model
from tandem.packed_rows import Outage, ViewColumns


class Filler:
    """Puts the features of one view among the columns, with defaults where values are missing or too old."""

    def __init__(self, use: ViewUse, model: Model) -> None:
        self.use = use
        self.max_age = parse_duration(use.view.max_age) if use.view.max_age else None
        self.required = [feature.name for feature in use.view.features if feature.default is None]
        self.names = [(use.prefix + feature.name, feature.name) for feature in use.view.features]
        self.fillers = [np.array(feature.filler, numpy_dtype(feature.type)) for feature in use.view.features]

    def fill(self, features: Features, view: ViewColumns, as_of: Column, request: Columns) -> None:
        """Add the view's columns to the features, with the reasons for which defaults are used or rows refused."""
        # NaT compares as False: an age that is not known is not young enough
        usable = ~np.isnat(view.event_time) if self.max_age is None else as_of - view.event_time <= self.max_age
        if view.outage is not None:
            self._report_outage(features, view.outage, usable)
        all_usable = np.count_nonzero(usable) == len(usable)
        # the usual case: nothing to fill, so the columns are taken as they are
        if all_usable and not view.nulls:
            for name, own in self.names:
                features.columns[name] = np.ascontiguousarray(view.columns[own])
            return
        for (name, own), filler in zip(self.names, self.fillers, strict=True):
            null = view.nulls.get(own)
            present = usable if null is None else usable & ~null
            filled = np.where(present[:, None] if filler.ndim else present, view.columns[own], filler)
            features.columns[name] = np.ascontiguousarray(filled)
        if not all_usable:
            absent = ~usable if view.outage is None else ~usable & ~view.outage.unknown
            self._report(features, np.flatnonzero(absent).tolist(), np.isnat(view.event_time), request)
        for feature in self.use.view.features:
            if feature.name in view.nulls:
                self._report_nulls(features, feature, np.flatnonzero(view.nulls[feature.name] & usable).tolist())

    def _report_nulls(self, features: Features, feature: Feature, rows: list[int]) -> None:
        name = f"{self.use.name}.{feature.name}"
        for row in rows:
            if feature.default is not None:
                features.degraded.setdefault(row, {})[name] = Degradation("null", "default")
            elif not feature.nullable:
                refusal = NotFound(
                    f"feature {feature.name!r} of view {self.use.name!r} is stored as null, and has no default",
                    code="feature_null",
                    details=[{"row": row, "field": name, "rule": "must not be null"}],
                )
                self._refuse(features, row, refusal, name, "null")

    def _report(self, features: Features, rows: list[int], absent: Column, request: Columns) -> None:
        for row in rows:
            reason: Reason = "missing" if absent[row] else "stale"
            if self.required:
                self._refuse(features, row, self._refusal(row, reason, request), self.use.name, reason)
            else:
                features.degraded.setdefault(row, {})[self.use.name] = Degradation(reason, "default")

    def _report_outage(self, features: Features, outage: Outage, usable: Column) -> None:
        name, has_defaults = self.use.name, self.use.view.has_defaults
        for row in np.flatnonzero(outage.unknown).tolist():
            if not has_defaults:
                self._refuse(features, row, self._outage_refusal(outage), name, outage.reason)
            else:
                features.degraded.setdefault(row, {})[name] = Degradation(outage.reason, "default")
        for row in np.flatnonzero(np.isfinite(outage.age_s) & usable).tolist():
            age_s = round(float(outage.age_s[row]), 3)
            features.degraded.setdefault(row, {})[name] = Degradation(outage.reason, "last_known", age_s)

    def _outage_refusal(self, outage: Outage) -> RequestError:
        unfilled = f"no defaults stand for feature view {self.use.name!r}"
        if outage.is_late:
            # whoever gives little time must not make it look as if the store did not answer
            return DeadlineExceeded(f"the feature store has not answered before the deadline, and {unfilled}")
        message = f"the feature store does not answer, and {unfilled}"
        return Unavailable(message, code="store_unavailable", retry_after=1)

    def _refuse(self, features: Features, row: int, refusal: RequestError, name: str, reason: Reason) -> None:
        """Refuse a row; the simpler model answers it if all views that refuse it say so."""
        is_refused = row in features.refused and row not in features.simpler
        if self.use.view.fallback == "model" and not is_refused:
            features.refused.setdefault(row, refusal)
            features.simpler.setdefault(row, {})[name] = Degradation(reason, "simpler_model")
        elif not is_refused:
            # in place of the refusal of a view that leaves the row to the simpler model: this one decides
            features.refused[row] = refusal
            features.simpler.pop(row, None)

    def _refusal(self, row: int, reason: Reason, request: Columns) -> NotFound:
        keys = self.use.serving_keys
        entity = ", ".join(f"{name}={request[name][row]}" for name in keys)
        content = "nothing" if reason == "missing" else "only outdated values"
        return NotFound(
            f"feature view {self.use.name!r} has {content} for {entity}, and no default for {self.required[0]!r}",
            code="entity_not_found" if reason == "missing" else "entity_stale",
            details=[{"row": row, "field": name, "rule": f"must be known to {self.use.name}"} for name in keys],
        )
