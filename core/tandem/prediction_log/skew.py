"""The skew meter: vectors computed again from what was logged, and the bits in which they differ from those logged."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from tandem.bundle import Bundle
from tandem.dtypes import Column
from tandem.errors import LogError
from tandem.prediction_log.records import Records


@dataclass(slots=True)
class Skew:
    """What was compared.

    Attributes:
        rows: Vectors that were computed again.
        rows_differing: Those that differ from what the model was given.
        bits: Bits that differ; a string that differs counts as one.
        columns: Vectors that differ in a column, by its name.
        skipped: Records of other versions, failed ones, and those that the model itself did not answer: they have no
            vectors of this version.
    """

    rows: int = 0
    rows_differing: int = 0
    bits: int = 0
    columns: dict[str, int] = field(default_factory=dict)
    skipped: int = 0


def measure_skew(bundle: Bundle, parts: Iterable[Records]) -> Skew:
    """Compute the vectors of logged predictions again and compare them, bit for bit.

    Args:
        bundle: The version whose predictions are checked.
        parts: Records of its log, perhaps among others.

    Raises:
        LogError: if the log has records of the version, but not what vectors are computed from, or no vectors.
        RequestError: if a row cannot be computed.
    """
    skew = Skew()
    pipeline = bundle.pipeline()
    for part in parts:
        records = part.by_model
        skew.skipped += part.rows - records.rows
        if records.schema.digest != bundle.digest or not records.are_answered:
            skew.skipped += records.rows
            continue
        if not records.schema.vectors:
            raise LogError("the log has no vectors; the transformer writes them unless it is told to leave them out")
        if not records.rows:
            continue
        computed = pipeline.vectors(records.inputs(bundle.model))
        differing = np.zeros(records.rows, bool)
        for tensor in bundle.signature.inputs:
            bits = differing_bits(computed[tensor.name], records.columns[f"vector/{tensor.name}"])
            differing |= bits.any(axis=1)
            skew.bits += int(bits.sum())
            for name, count in zip(tensor.columns, np.count_nonzero(bits, axis=0).tolist(), strict=True):
                if count:
                    skew.columns[name] = skew.columns.get(name, 0) + count
        skew.rows += records.rows
        skew.rows_differing += int(np.count_nonzero(differing))
    return skew


def differing_bits(left: Column, right: Column) -> Column:
    """Bits in which two tensors differ, for each element: ``int64``, shape ``(rows, elements of a row)``.

    Raises:
        LogError: if they are not of one shape and type.
    """
    if left.shape != right.shape or left.dtype != right.dtype:
        raise LogError(f"a vector is {left.dtype}{list(left.shape)}, the logged one {right.dtype}{list(right.shape)}")
    rows = len(left)
    if left.dtype == object:
        texts_differing: Column = left != right
        return texts_differing.reshape(rows, -1).astype(np.int64)
    width = left.dtype.itemsize
    bytes_differing = np.ascontiguousarray(left).view(np.uint8) ^ np.ascontiguousarray(right).view(np.uint8)
    bits: Column = np.bitwise_count(bytes_differing).reshape(rows, -1, width).sum(axis=2, dtype=np.int64)
    return bits
