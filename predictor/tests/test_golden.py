from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tandem.comparison import Tolerance
from tandem.errors import BundleError
from tandem.oip.tensors import Array
from tandem_predictor import golden


def answers(array: Array) -> golden.Run:
    def run(feeds: dict[str, Array], outputs: Sequence[str]) -> list[Array]:
        assert list(outputs) == ["y"]
        return [array]

    return run


def test_within_tolerance() -> None:
    outputs = {"y": np.array([[1.0], [np.nan]])}
    golden.replay(answers(outputs["y"] + 1e-9), {}, outputs, Tolerance(rtol=0, atol=1e-8))


def test_out_of_tolerance_names_output_and_row() -> None:
    with pytest.raises(BundleError, match=r"row 1 of output 'y' is \[2.1\], training says \[2.\]"):
        golden.replay(answers(np.array([[1.0], [2.1]])), {}, {"y": np.array([[1.0], [2.0]])}, Tolerance())


def test_text() -> None:
    outputs = {"y": np.array(["a", "ä"], object)}
    golden.replay(answers(np.array([b"a", "ä".encode()], object)), {}, outputs, Tolerance())
    with pytest.raises(BundleError, match="row 1 of output 'y'"):
        golden.replay(answers(np.array([b"a", b"b"], object)), {}, outputs, Tolerance())
