from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tandem.comparison import first_difference


@pytest.mark.parametrize(
    ("actual", "expected", "difference"),
    [
        (np.array([[1.0, 2.0]]), np.array([[1.0, 2.0]]), None),
        (np.array([np.nan]), np.array([np.nan]), None),
        (np.array([0.0]), np.array([-0.0]), (0, 0)),
        (np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1.0, 2.0], [3.0, 5.0]]), (1, 1)),
        (np.array([1.0]), np.array([1.0], np.float32), (0, 0)),
        (np.array([1.0]), np.array([[1.0]]), (0, 0)),
        (np.array(["a", "b"], object), np.array(["a", "c"], object), (1, 0)),
        (np.zeros((0, 2)), np.zeros((0, 2)), None),
        (np.zeros((2, 0)), np.zeros((2, 0)), None),
    ],
)
def test_first_difference(actual: Any, expected: Any, difference: Any) -> None:
    assert first_difference(actual, expected) == difference
