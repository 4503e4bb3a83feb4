"""Comparison of tensors: within a tolerance for predictions, bit for bit for vectors."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from tandem.errors import BundleError
from tandem.inputs import Tensors


class Tolerance(msgspec.Struct, frozen=True):
    """How far a prediction may be from the training framework's: ``|a - b| <= atol + rtol * |b|``."""

    rtol: float = 1e-5
    atol: float = 1e-6


DEFAULT_TOLERANCES = {
    "CPUExecutionProvider": Tolerance(),
    "CUDAExecutionProvider": Tolerance(1e-4, 1e-5),
    "TensorrtExecutionProvider": Tolerance(1e-3, 1e-4),
}


def check_outputs(outputs: Tensors, expected: Tensors, tolerance: Tolerance) -> None:
    """Compare output tensors with those of the training framework.

    Args:
        outputs: Output tensors of the serving runtime.
        expected: The golden outputs; tensors without one are not compared.
        tolerance: How far numbers may be apart; everything else must be equal.

    Raises:
        BundleError: naming the tensor, the row and both values where they are furthest apart.
    """
    for name, reference in expected.items():
        # only the size: one value per row may have an axis of its own or not
        if outputs[name].size != reference.size:
            raise BundleError(f"golden replay: output {name!r} has shape {outputs[name].shape}, not {reference.shape}")
        actual = outputs[name].reshape(reference.shape)
        row = worst_row(actual, reference, tolerance)
        if row is not None:
            limits = f"; allowed are rtol {tolerance.rtol:g} and atol {tolerance.atol:g}"
            values = f"is {actual[row]}, training says {reference[row]}{limits if reference.dtype.kind == 'f' else ''}"
            raise BundleError(f"golden replay: row {row} of output {name!r} {values}")


def worst_row(actual: NDArray[Any], expected: NDArray[Any], tolerance: Tolerance) -> int | None:
    """The row that is furthest out of tolerance; None if all rows are within it.

    Args:
        actual: A tensor of the shape of ``expected``.
        expected: What it should be, rows along the first axis.
        tolerance: How far numbers may be apart; everything else must be equal, and NaN is equal to NaN.
    """
    if actual.shape != expected.shape:
        return 0
    if expected.dtype.kind != "f":
        wrong = np.flatnonzero((actual != expected).reshape(len(expected), -1).any(axis=1))
        return int(wrong[0]) if len(wrong) else None
    with np.errstate(invalid="ignore"):
        excess = np.abs(actual - expected) - (tolerance.atol + tolerance.rtol * np.abs(expected))
    # equal infinities have a difference of NaN
    same = (actual == expected) | (np.isnan(actual) & np.isnan(expected))
    excess = np.where(same, -np.inf, np.where(np.isnan(excess), np.inf, excess))
    if excess.max(initial=-np.inf) <= 0:
        return None
    return int(np.argmax(excess.reshape(len(expected), -1).max(axis=1)))


def first_difference(left: Any, right: Any) -> tuple[int, int] | None:
    """Row and element of the first difference of two tensors, bit for bit; None if they are the same.

    Tensors of different shape or dtype differ at row 0.
    """
    if left.shape != right.shape or left.dtype != right.dtype:
        return 0, 0
    if not left.size:
        return None
    if left.dtype == object:
        different = left != right
    else:
        # as bytes: 0.0 and -0.0 are equal as numbers, and NaN is not equal to itself
        bits = np.dtype((np.void, left.dtype.itemsize))
        different = np.ascontiguousarray(left).view(bits) != np.ascontiguousarray(right).view(bits)
    where = np.argwhere(different.reshape(len(left), -1))
    return (int(where[0][0]), int(where[0][1])) if len(where) else None
