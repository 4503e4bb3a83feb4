from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tandem import DefinitionError, on_demand
from tandem.row_independence import check_row_independence

X = {"x": np.random.default_rng(1).normal(size=40), "y": np.arange(40.0)}


LEAKS = {
    "mean": lambda x: x - x.mean(),
    "std": lambda x: x / x.std(),
    "cumsum": np.cumsum,
    "sort": np.sort,
    "rank": lambda x: np.argsort(np.argsort(x)).astype(float),
    "shift": lambda x: np.roll(x, 1),
    "max": lambda x: x / x.max(),
    "position": lambda x: np.arange(len(x)) + x,
    "length": lambda x: x * len(x),
    "first": lambda x: x - x[0],
    "dtype": lambda x: x.astype(np.float32) if len(x) == 1 else x,
}


@pytest.mark.parametrize("leak", LEAKS)
def test_leak_across_rows_is_caught(leak: str) -> None:
    @on_demand
    def leaky(x):
        return LEAKS[leak](x)

    with pytest.raises(DefinitionError, match="leaky is not row-independent: row"):
        check_row_independence(leaky, X, {})


@pytest.mark.parametrize(
    "function",
    [np.exp, np.log, np.abs, np.isnan, lambda x: np.where(x > 0, x, np.nan), lambda x: np.stack([x, x * 2], axis=1)],
)
def test_functions_of_one_row_pass(function: Any) -> None:
    @on_demand
    def fine(x):
        return function(x)

    with np.errstate(all="ignore"):
        check_row_independence(fine, X, {})
