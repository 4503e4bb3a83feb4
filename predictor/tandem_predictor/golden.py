"""Golden rows replayed: the session must answer the golden vectors as the training framework did."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from tandem.errors import BundleError
from tandem.oip.tensors import Array


@dataclass(frozen=True, slots=True)
class Deviation:
    """Where an output is farthest from what it should be.

    Attributes:
        row: Index along the first axis.
        expected: What the training framework computed.
        actual: What the session computed.
    """

    row: int
    expected: object
    actual: object


def compare(expected: Array, actual: Array, *, rtol: float, atol: float) -> Deviation | None:
    """The first row of ``actual`` that is out of tolerance, or None.

    Numbers agree where ``|actual - expected| <= atol + rtol * |expected|``, NaN agrees with NaN; anything else must be
    equal.

    Args:
        expected: Golden values, of any shape.
        actual: Computed values.
        rtol: Relative tolerance.
        atol: Absolute tolerance, in the unit of the output.

    Raises:
        ValueError: The shapes differ.
    """
    if expected.shape != actual.shape:
        raise ValueError(f"shape is {list(actual.shape)}, should be {list(expected.shape)}")
    if expected.dtype.kind == "f":
        agree = np.isclose(actual, expected, rtol=rtol, atol=atol, equal_nan=True)
    else:
        agree = np.asarray(actual == expected)
    if agree.all():
        return None
    where = tuple(np.argwhere(~agree)[0])
    return Deviation(int(where[0]) if where else 0, expected[where], actual[where])


def replay(
    run: Callable[[dict[str, Array], Sequence[str]], Sequence[Array]],
    vectors: Mapping[str, Array],
    outputs: Mapping[str, Array],
    *,
    rtol: float,
    atol: float,
) -> None:
    """Run the golden vectors and compare the outputs.

    Args:
        run: The session.
        vectors: Input tensors by name.
        outputs: Output tensors by name, as the training framework computed them.
        rtol: Relative tolerance of the execution provider.
        atol: Absolute tolerance of the execution provider.

    Raises:
        BundleError: An output is out of tolerance; names output, row and deviation.
    """
    names = list(outputs)
    for name, actual in zip(names, run(dict(vectors), names), strict=True):
        try:
            deviation = compare(_comparable(outputs[name]), _comparable(actual), rtol=rtol, atol=atol)
        except ValueError as error:
            raise BundleError(f"golden replay: output {name!r}: {error}") from None
        if deviation:
            raise BundleError(
                f"golden replay: output {name!r}, row {deviation.row}: is {deviation.actual}, should be "
                f"{deviation.expected} within rtol {rtol:g} and atol {atol:g}"
            )


def _comparable(array: Array) -> Array:
    """Text as ``str``, whether it came as bytes or not."""
    if array.dtype.kind != "O":
        return array
    text = np.empty(array.size, object)
    text[:] = [element.decode() if isinstance(element, bytes) else str(element) for element in array.ravel()]
    return text.reshape(array.shape)
