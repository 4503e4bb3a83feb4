"""How calls of a batch end: with their part of its answer, with an error, or at their deadline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tandem.errors import (
    DeadlineExceeded,
    RequestError,
)
from tandem_transformer.batch import BatchAnswer, Call, CallAnswer


def divide(calls: list[Call], error: Exception) -> list[list[Call]]:
    """Smaller batches of the calls of one that failed: each call whose rows the error names alone, else halves.

    So one bad call among ``n`` costs ``2 log2(n)`` further batches at most, and all of them ``2 n - 2``.
    """
    rows = {detail["row"] for detail in error.details} if isinstance(error, RequestError) else set()
    named: list[list[Call]] = []
    unnamed: list[Call] = []
    start = 0
    for call in calls:
        stop = start + call.size
        if rows.isdisjoint(range(start, stop)):
            unnamed.append(call)
        else:
            named.append([call])
        start = stop
    if not named:
        half = len(calls) // 2
        return [calls[:half], calls[half:]]
    return [*named, unnamed] if unnamed else named


def refuse_rows(calls: Sequence[Call], refused: Mapping[int, RequestError]) -> list[Call]:
    """End the calls that have rows which cannot be answered.

    Args:
        calls: The calls of a batch.
        refused: Why a row cannot be answered, by its number in the batch.

    Returns:
        The other calls.
    """
    start = 0
    answerable = []
    for call in calls:
        errors = [refused[row] for row in range(start, start + call.size) if row in refused]
        if errors:
            fail([call], _counted_from(errors[0], start))
        else:
            answerable.append(call)
        start += call.size
    return answerable


def resolve(calls: Sequence[Call], batch: BatchAnswer) -> None:
    """Give each call its rows of the batch's answer."""
    start = 0
    for call in calls:
        stop = start + call.size
        # its deadline may have passed, or its client may be gone
        if not call.answer.done():
            call.answer.set_result(CallAnswer(batch, start, stop, call.prediction_id))
        start = stop


def fail(calls: Sequence[Call], error: RequestError) -> None:
    """End each call that has no result yet with an error."""
    for call in calls:
        if not call.answer.done():
            call.answer.set_exception(error)


def expire(call: Call) -> None:
    """End a call at its deadline, if it has no result yet."""
    if not call.answer.done():
        call.answer.set_exception(DeadlineExceeded("no answer before the deadline of the request"))


def _counted_from(error: RequestError, start: int) -> RequestError:
    """The same error with rows counted from the first row of the call."""
    for detail in error.details:
        detail["row"] -= start
    return error
