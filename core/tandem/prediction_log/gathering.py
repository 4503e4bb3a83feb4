"""Records out of batches: their columns put together, and the sample of them that is written."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec
import numpy as np

from tandem.dtypes import Column, Columns
from tandem.prediction_log.blocks import Kind
from tandem.prediction_log.records import LoggedBatch, LoggedFeedback, Records
from tandem.prediction_log.schema import LogSchema
from tandem.store_keys import entities

CHUNK_ROWS: Final = 65_536
"""Records that are turned into a batch at once: columns of a single record cost as much as those of thousands."""

_encode_json = msgspec.json.Encoder().encode
_HASH_BYTES: Final = 8


def gather(
    schema: LogSchema, batches: Sequence[LoggedBatch], *, sample: float = 1.0, keys: Sequence[str] = ()
) -> list[Records]:
    """Records of batches: those that were answered, and those that failed.

    Args:
        schema: What is to be written of them.
        batches: The batches.
        sample: Share of the entities whose predictions are written. Degraded and failed ones are written always.
        keys: Names of the serving keys, which tell entities apart; without any, each request is one.
    """
    answered = [batch for batch in batches if batch.answers]
    failed = [batch for batch in batches if not batch.answers]
    groups = []
    if answered:
        records = _answered(schema, answered)
        groups.append(_sampled(records, answered, sample, keys) if sample < 1 else records)
    if failed:
        groups.append(_failed(schema, failed))
    return [records for records in groups if records.rows]


def gather_feedback(schema: LogSchema, feedback: LoggedFeedback) -> Records:
    """Records of some feedback."""
    rows = feedback.rows
    columns: Columns = {
        "writer": _objects(feedback.writers),
        "number": np.array(feedback.numbers, np.int64),
        "row": np.array(feedback.indices, np.int32),
        "truth": feedback.truths,
        "time": np.full(rows, feedback.time),
    }
    return Records(schema, rows, columns, {})


def join_records(parts: Sequence[Records]) -> Records:
    """Records of one schema as one, of predictions, of failures or of feedback.

    Where only some have one of the columns that may be left out, the others have zeros, NaN or empty strings in it.
    """
    if len(parts) == 1:
        return parts[0]
    columns: Columns = {}
    for name in dict.fromkeys(name for part in parts for name in part.columns):
        model = next(part.columns[name] for part in parts if name in part.columns)
        columns[name] = _join([part.columns[name] if name in part.columns else _blank(model, part.rows)
                               for part in parts])  # fmt: skip
    degraded: dict[int, str] = {}
    start = 0
    for part in parts:
        degraded.update((start + row, reasons) for row, reasons in part.degraded.items())
        start += part.rows
    return Records(parts[0].schema, start, columns, degraded)


def chunks(blocks: Iterable[tuple[Kind, Records]], rows: int = CHUNK_ROWS) -> Iterator[tuple[Kind, Records]]:
    """Blocks joined to larger ones, as long as they have one schema; predictions and failures stay apart."""
    waiting: dict[tuple[Kind, bool], list[Records]] = {}
    for kind, records in blocks:
        parts = waiting.setdefault((kind, records.are_answered), [])
        if parts and (parts[0].schema != records.schema or sum(part.rows for part in parts) >= rows):
            yield kind, join_records(parts)
            parts.clear()
        parts.append(records)
    yield from ((kind, join_records(parts)) for (kind, _), parts in waiting.items() if parts)


def _answered(schema: LogSchema, batches: Sequence[LoggedBatch]) -> Records:
    columns = _requests(schema, batches)
    columns["as_of"] = _join([batch.as_of for batch in batches if batch.as_of is not None])
    columns["stages"] = _repeat(np.array([batch.stages for batch in batches], np.float32), _sizes(batches))
    columns |= {f"answer/{name}": _join([batch.answers[name] for batch in batches]) for name in schema.answers}
    for tensor in schema.vectors:
        columns[f"vector/{tensor.name}"] = _join([batch.vectors[tensor.name] for batch in batches])
    for name, features in schema.views.items():
        columns |= _looked_up(name, features, batches)
    if any(batch.precomputed for batch in batches):
        columns["precomputed_age_s"] = _join([_ages(batch) for batch in batches])
    degraded: dict[int, str] = {}
    start = 0
    for batch in batches:
        for row, reasons in batch.degraded.items():
            degraded[start + row] = _encode_json(reasons).decode()
        start += batch.rows
    return Records(schema, start, columns, degraded)


def _ages(batch: LoggedBatch) -> Column:
    ages = np.full(batch.rows, np.nan)
    ages[list(batch.precomputed)] = list(batch.precomputed.values())
    return ages


def _failed(schema: LogSchema, batches: Sequence[LoggedBatch]) -> Records:
    return Records(schema, sum(_sizes(batches)), _requests(schema, batches), {})


def _requests(schema: LogSchema, batches: Sequence[LoggedBatch]) -> Columns:
    """What was asked, and what the rows of a request share."""
    sizes = [size for batch in batches for size in batch.sizes]
    columns: Columns = {
        "number": _repeat(np.array([number for batch in batches for number in batch.numbers], np.int64), sizes),
        "row": np.concatenate([np.arange(size, dtype=np.int32) for size in sizes]),
        "time": _repeat(np.array([batch.time for batch in batches], "datetime64[us]"), _sizes(batches)),
        "traffic": _repeat(np.array([index for batch in batches for index in batch.traffic], np.uint8), sizes),
    }
    request_ids = [request_id.decode("latin-1") for batch in batches for request_id in batch.request_ids]
    errors = [code for batch in batches for code in batch.errors]
    for name, texts in (("request_id", request_ids), ("error", errors)):
        if any(texts):
            columns[name] = _repeat(_objects(texts), sizes)
    return columns | {f"request/{name}": _join([batch.request[name] for batch in batches]) for name in schema.request}


def _looked_up(name: str, features: Sequence[str] | dict[str, str], batches: Sequence[LoggedBatch]) -> Columns:
    views = [batch.views[name] for batch in batches]
    columns: Columns = {f"view/{name}/event_time": _join([view.event_time for view in views])}
    for feature in features:
        columns[f"view/{name}/feature/{feature}"] = _join([view.columns[feature] for view in views])
        if any(feature in view.nulls for view in views):
            masks = [view.nulls.get(feature, np.zeros(len(view.event_time), bool)) for view in views]
            columns[f"view/{name}/null/{feature}"] = _join(masks)
    return columns


def _sampled(records: Records, batches: Sequence[LoggedBatch], sample: float, keys: Sequence[str]) -> Records:
    """The records of a share of the entities, with those that are degraded or failed."""
    # from the batches: a key may be redacted
    columns = [_join([batch.request[key] for batch in batches]) for key in keys] or [records.columns["number"]]
    limit = sample * 2.0 ** (8 * _HASH_BYTES)
    keep = np.array([_hash(entity) < limit for entity in entities(columns)], bool)
    keep[list(records.degraded)] = True
    if "error" in records.columns:
        keep |= records.columns["error"] != ""
    return records.take(np.flatnonzero(keep))


def _hash(entity: bytes) -> int:
    # the same in every process, so that all records of an entity are written or none
    return int.from_bytes(hashlib.blake2b(entity, digest_size=_HASH_BYTES).digest(), sys.byteorder)


def _sizes(batches: Sequence[LoggedBatch]) -> list[int]:
    return [batch.rows for batch in batches]


def _join(parts: Sequence[Column]) -> Column:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _repeat(column: Column, sizes: Sequence[int]) -> Column:
    # most requests have one row
    return column if len(column) == sum(sizes) else np.repeat(column, sizes, axis=0)


def _objects(texts: Sequence[str]) -> Column:
    column = np.empty(len(texts), object)
    column[:] = texts
    return column


def _blank(model: Column, rows: int) -> Column:
    blank = np.zeros((rows, *model.shape[1:]), model.dtype)
    if model.dtype == object:
        blank[:] = ""
    elif model.dtype.kind == "M":
        blank[:] = np.datetime64("NaT")
    elif model.dtype.kind == "f":
        blank[:] = np.nan
    return blank
