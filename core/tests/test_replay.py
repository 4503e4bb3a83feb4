from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem import BundleError, Tolerance
from tandem.inputs import Tensors
from tandem.replay import MOST_SINGLES, replay, rows_apart

EXACT = {"y": Tolerance(0, 0)}


def doubled(tensors: Tensors) -> Tensors:
    return {"y": tensors["x"] * 2}


COUPLED: dict[str, Any] = {
    "centred": lambda x: x - x.mean(axis=0),
    "cumulated": lambda x: x.cumsum(axis=0),
    "a sequence": lambda x: x + np.vstack([np.zeros_like(x[:1]), x[:-1]]),
    "the last row of the batch": lambda x: x + (np.arange(len(x)) == 0)[:, None] * x[-1],
    "the size of the batch": lambda x: x * len(x),
    "ranks": lambda x: x.argsort(axis=0).argsort(axis=0).astype(float),
}


@pytest.mark.parametrize("kind", COUPLED)
@given(rows=st.integers(2, 40), seed=st.integers(0, 100))
def test_rows_that_depend_on_each_other(kind: str, rows: int, seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=(rows, 2)) + 5

    def run(tensors: Tensors) -> Tensors:
        return {"y": COUPLED[kind](tensors["x"])}

    dependence = rows_apart(run, {"x": x}, run({"x": x}), EXACT)
    assert dependence is not None
    assert dependence.reason == "RowsDependOnEachOther"
    with pytest.raises(BundleError, match=r"golden replay: row \d+ of output 'y' is .* among \d+ rows and .* among"):
        replay(run, {"x": x}, run({"x": x}), Tolerance())


@given(rows=st.integers(1, 60), singles=st.one_of(st.none(), st.integers(1, 20)))
def test_rows_by_themselves(rows: int, singles: int | None) -> None:
    x = np.arange(2.0 * rows).reshape(rows, 2)
    assert rows_apart(doubled, {"x": x}, doubled({"x": x}), EXACT, singles=singles) is None


@given(rows=st.integers(3, 200))
def test_a_start_runs_a_bounded_number_of_rows_alone_the_first_and_the_last_among_them(rows: int) -> None:
    parts: list[np.ndarray] = []

    def run(tensors: Tensors) -> Tensors:
        parts.append(tensors["x"])
        return {"y": tensors["x"]}

    x = np.arange(rows)
    replay(run, {"x": x}, {"y": x}, Tolerance())
    alone = [int(part[0]) for part in parts if len(part) == 1][-min(rows, MOST_SINGLES) :]
    assert len(parts) == 3 + min(rows, MOST_SINGLES)
    assert {0, rows - 1} <= set(alone)
    parts.clear()
    replay(run, {"x": x}, {"y": x}, Tolerance(), singles=None)
    assert len(parts) == 3 + rows


def test_another_number_of_rows() -> None:
    x = np.ones((4, 1))
    dependence = rows_apart(doubled, {"x": x}, {"y": np.ones((1, 1))}, EXACT)
    assert dependence is not None
    assert dependence.reason == "OtherNumberOfRows"


def test_the_batch_size_of_the_export_is_built_in() -> None:
    def run(tensors: Tensors) -> Tensors:
        return {"y": tensors["x"].reshape(4, 2)}

    x = np.ones((4, 2))
    dependence = rows_apart(run, {"x": x}, run({"x": x}), EXACT)
    assert dependence is not None
    assert (dependence.reason, "rows 0 to 1 of 4 rows fail" in dependence.message) == ("RowsFailApart", True)


def test_differences_within_the_tolerance() -> None:
    def run(tensors: Tensors) -> Tensors:
        return {"y": tensors["x"] + len(tensors["x"]) * 1e-7}

    x = np.ones((5, 1))
    assert rows_apart(run, {"x": x}, run({"x": x}), {"y": Tolerance(1e-5, 0)}) is None
    assert rows_apart(run, {"x": x}, run({"x": x}), {"y": Tolerance(1e-9, 0)}) is not None


def test_a_graph_that_fails_on_the_golden_rows() -> None:
    def run(tensors: Tensors) -> Tensors:
        raise RuntimeError("no such category")

    with pytest.raises(BundleError, match="golden replay: the graph fails on the golden rows: no such category"):
        replay(run, {"x": np.ones(2)}, {"y": np.ones(2)}, Tolerance())
