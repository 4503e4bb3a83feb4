"""Golden vectors replayed through a graph: whole, in halves and singly.

A server merges rows of many clients and answers them together. That is right only for a graph that answers each row by
itself. One that takes statistics over the batch (a normalisation layer exported in training mode), that reads its first
axis as a sequence, or that has the batch size of its export built in, answers otherwise when rows keep other company.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tandem.comparison import Tolerance, check_outputs, worst_row
from tandem.errors import BundleError
from tandem.inputs import Tensors

Run = Callable[[Tensors], Tensors]
"""Calls a graph: input tensors to all output tensors, by name."""

MOST_SINGLES = 16
"""Rows that are run alone at a start, spread over all rows; so a start takes 2 runs of all rows and 16 of one."""


@dataclass(frozen=True, slots=True)
class Dependence:
    """How a graph answers a row otherwise in other company.

    Attributes:
        reason: ``RowsDependOnEachOther``, ``OtherNumberOfRows`` than went in, or ``RowsFailApart``.
        message: The same with output, row and values, in words.
    """

    reason: Literal["RowsDependOnEachOther", "OtherNumberOfRows", "RowsFailApart"]
    message: str


def replay(
    run: Run, vectors: Tensors, outputs: Tensors, tolerance: Tolerance, *, singles: int | None = MOST_SINGLES
) -> None:
    """Prove that a graph gives the golden outputs, and that each row gets the same in other company.

    Args:
        run: The graph.
        vectors: Its input tensors, rows along the first axis.
        outputs: Output tensors as the training framework computed them.
        tolerance: How far numbers may be apart.
        singles: At most how many rows are run alone; None for all.

    Raises:
        BundleError: naming output, row and values that differ.
    """
    try:
        whole = run(vectors)
    except Exception as error:  # whatever ONNX Runtime has: they have no common base of their own
        raise BundleError(f"golden replay: the graph fails on the golden rows: {error}") from error
    check_outputs(whole, outputs, tolerance)
    if vectors and (dependence := rows_apart(run, vectors, whole, dict.fromkeys(whole, tolerance), singles=singles)):
        raise BundleError(f"golden replay: {dependence.message}")


def rows_apart(
    run: Run,
    vectors: Tensors,
    whole: Tensors,
    tolerances: Mapping[str, Tolerance],
    *,
    singles: int | None = MOST_SINGLES,
) -> Dependence | None:
    """Run rows in halves and singly, and compare with what they got together; one row alone proves nothing.

    Args:
        run: The graph.
        vectors: Its input tensors, rows along the first axis; rows that are equal hide what they owe each other.
        whole: All outputs for them.
        tolerances: How far numbers may be apart, by output; everything else must be equal.
        singles: At most how many rows are run alone; None for all.

    Returns:
        The first difference; None if each row gets the same in any company.
    """
    rows = len(next(iter(vectors.values()), ()))
    if wrong := miscounted(whole, rows):
        return wrong
    for start, stop in _parts(rows, singles):
        try:
            apart = run({name: tensor[start:stop] for name, tensor in vectors.items()})
        except Exception as error:  # whatever ONNX Runtime has: they have no common base of their own
            return Dependence("RowsFailApart", f"{_part(start, stop)} of {rows} rows fail without the others: {error}")
        if wrong := miscounted(apart, stop - start):
            return wrong
        for name, together in whole.items():
            row = worst_row(apart[name], together[start:stop], tolerances[name])
            if row is not None:
                return Dependence(
                    "RowsDependOnEachOther",
                    f"row {start + row} of output {name!r} is {together[start + row]} among {rows} rows and "
                    f"{apart[name][row]} among {stop - start}: the graph's rows depend on each other, or on chance "
                    "(export it in inference mode, with the rows along the first axis)",
                )
    return None


def _parts(rows: int, singles: int | None) -> Iterator[tuple[int, int]]:
    """Start and stop of each part: both halves, and single rows spread over all, the first and the last among them."""
    if rows < 2:
        return
    # of two rows, the halves are the single rows
    if rows > 2:
        yield from ((0, rows // 2), (rows // 2, rows))
    # no np.unique, which imports NumPy's masked arrays
    for row in sorted(set(np.linspace(0, rows - 1, min(rows, singles or rows)).astype(int).tolist())):
        yield row, row + 1


def _part(start: int, stop: int) -> str:
    return f"row {start}" if stop - start == 1 else f"rows {start} to {stop - 1}"


def miscounted(outputs: Tensors, rows: int) -> Dependence | None:
    """The first output that has not as many rows as went in; None if there is none."""
    for name, output in outputs.items():
        if not output.ndim or len(output) != rows:
            return Dependence(
                "OtherNumberOfRows", f"output {name!r} has shape {output.shape} for {rows} row(s), not a row for each"
            )
    return None
