"""First runs of a model: they take longer, so no client has to wait for them, and they measure how long a batch takes.

They also say whether rows of different requests may run together: a plain model has no golden rows that would.
"""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tandem.comparison import DEFAULT_TOLERANCES, Tolerance
from tandem.errors import RequestError
from tandem.inputs import Tensors
from tandem.oip.tensors import Array
from tandem.replay import miscounted, rows_apart
from tandem_predictor.golden import named
from tandem_predictor.session import Feeds, Session, TensorInfo

logger = logging.getLogger(__name__)

_MOST_RUNS = 20
_MOST_SECONDS = 1.0
_NOISE = 64
"""Rounding errors, in units of the last place of the largest output, that kernels for other batch sizes may make."""

Reason = Literal["", "FixedShape", "OtherNumberOfRows", "RowsDependOnEachOther", "RowsFailApart", "NotCompared"]


@dataclass(frozen=True, slots=True)
class WarmUp:
    """What the first runs showed.

    Attributes:
        seconds: Median time of a batch of the largest size; infinite if the model refused the input.
        reason: Why rows of different requests must not run together; empty if they may. ``FixedShape``: the first
            dimension of an input is fixed; ``OtherNumberOfRows`` comes out than went in; ``RowsDependOnEachOther``;
            ``RowsFailApart``: rows that the model takes together it refuses alone; ``NotCompared``: it takes no
            made-up input whose rows differ, so nothing is known.
        message: The same in words.
    """

    seconds: float
    reason: Reason = ""
    message: str = ""

    @property
    def batchable(self) -> bool:
        """Whether rows of different requests may run together."""
        return not self.reason


def warm_up(session: Session, rows: int, sample: Mapping[str, Array] | None = None) -> WarmUp:
    """Run a model with one row and, if it can be batched, with ``rows`` rows.

    Args:
        session: The model.
        rows: Rows of the largest batch.
        sample: Input tensors that the model is known to take, and whose rows are known to be independent; without it
            input is made up, and run together, in halves and singly.
    """
    names = [info.name for info in session.outputs]
    fixed = None if session.batchable else WarmUp(0, "FixedShape", "the first dimension of an input is fixed")
    error: RequestError | None = None
    for different, feeds in _samples(session.inputs, rows if session.batchable else 1, sample):
        try:
            session.run({name: array[:1] for name, array in feeds.items()} if session.batchable else feeds, names)
            whole = named(session.run, names)(feeds)
        except RequestError as refusal:
            error = error or refusal
            continue
        verdict = fixed or (_compare(session, feeds, whole, different) if sample is None else _count(whole, rows))
        # the median: a run that the system interrupts says nothing about the model
        return WarmUp(statistics.median(_timed(session, feeds, names)), verdict.reason, verdict.message)
    # Made-up values need not be valid input: a table of categories may have no entry for them.
    logger.warning("no warm-up: %s", error)
    if sample is not None or fixed:
        # infinite, so that a model whose time is not known never runs on the event loop
        return fixed or WarmUp(float("inf"))
    return WarmUp(float("inf"), "NotCompared", f"the model refuses generated input: {error}")


def _count(whole: Tensors, rows: int) -> WarmUp:
    """Whether there is a row for each, which a single golden row cannot show."""
    dependence = miscounted(whole, rows)
    return WarmUp(0, dependence.reason, dependence.message) if dependence else WarmUp(0)


def _compare(session: Session, feeds: Feeds, whole: Tensors, different: bool) -> WarmUp:
    """What the rows owe each other; the time is left open."""
    tolerance = DEFAULT_TOLERANCES.get(session.provider, Tolerance())
    tolerances = {name: _with_noise(array, tolerance) for name, array in whole.items()}
    run = named(session.run, list(whole))
    if dependence := rows_apart(run, feeds, whole, tolerances):
        return WarmUp(0, dependence.reason, dependence.message)
    if not different:
        return WarmUp(0, "NotCompared", "the model takes no generated input whose rows differ")
    return WarmUp(0)


def _with_noise(output: Array, tolerance: Tolerance) -> Tolerance:
    if output.dtype.kind != "f":
        return tolerance
    unit = _NOISE * float(np.finfo(output.dtype).eps)
    # an infinity would let every difference pass
    largest = float(np.abs(output, where=np.isfinite(output), out=np.zeros_like(output)).max(initial=0))
    return Tolerance(max(tolerance.rtol, unit), max(tolerance.atol, unit * largest))


def _timed(session: Session, feeds: Feeds, names: list[str]) -> Iterable[float]:
    began = time.perf_counter()
    for _ in range(_MOST_RUNS):
        start = time.perf_counter()
        session.run(feeds, names)
        end = time.perf_counter()
        yield end - start
        if end - began > _MOST_SECONDS:
            return


def _samples(
    inputs: Iterable[TensorInfo], rows: int, sample: Mapping[str, Array] | None
) -> Iterator[tuple[bool, Feeds]]:
    """Input to try, one after another, and whether its rows differ."""
    inputs = list(inputs)
    if sample is not None:
        yield True, {info.name: np.resize(sample[info.name], (rows, *sample[info.name].shape[1:])) for info in inputs}
        return
    for kinds in ("fiubO", "f"):  # whole numbers and strings are often places in a table, where few values are valid
        if any(info.dtype.kind in kinds for info in inputs):
            # the same values at each start, or the verdict could change with a restart
            rng = np.random.default_rng(0)
            yield True, {info.name: _filled(info, rows, rng if info.dtype.kind in kinds else None) for info in inputs}
    yield False, {info.name: _filled(info, rows, None) for info in inputs}


def _filled(info: TensorInfo, rows: int, rng: np.random.Generator | None) -> Array:
    """An input made up: of zeros and empty strings, or at random."""
    shape = [size if size >= 0 else 1 for size in info.shape]
    if info.shape[:1] == (-1,):
        shape[0] = rows
    if rng is None:
        return np.full(shape, "" if info.datatype == "BYTES" else 0, info.dtype)
    if info.dtype.kind == "f":
        return rng.normal(size=shape).astype(info.dtype)
    bits = rng.integers(0, 2, shape)
    return np.array(["", "a"], object)[bits] if info.datatype == "BYTES" else bits.astype(info.dtype)
