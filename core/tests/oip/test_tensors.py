from __future__ import annotations

import numpy as np
import pytest

from tandem.errors import MalformedRequest
from tandem.oip import DATATYPES, InferResponse, Tensor, datatype_of


@pytest.mark.parametrize("datatype", [datatype for datatype in DATATYPES if datatype != "BF16"])
def test_datatypes_map_both_ways(datatype: str) -> None:
    assert datatype_of(DATATYPES[datatype]) == datatype


def test_datatype_of_big_endian_array() -> None:
    assert datatype_of(np.dtype(">f4")) == "FP32"


def test_no_datatype_holds_complex_numbers() -> None:
    with pytest.raises(TypeError, match="complex128"):
        Tensor.of("x", np.zeros(1, np.complex128))


def test_strings_become_utf8_and_back() -> None:
    tensor = Tensor.of("x", np.array([["ä", "b"]]))
    assert tensor.datatype == "BYTES"
    assert tensor.data.tolist() == [["ä".encode(), b"b"]]
    assert tensor.strings().tolist() == [["ä", "b"]]


def test_bytes_that_are_no_text() -> None:
    with pytest.raises(MalformedRequest, match="tensor 'x': an element is not UTF-8"):
        Tensor.of("x", np.array([b"\xff"], object)).strings()


def test_output_by_name() -> None:
    tensor = Tensor.of("y", np.zeros(1))
    assert InferResponse("m", [tensor]).output("y") is tensor
    with pytest.raises(MalformedRequest, match="no output 'z'"):
        InferResponse("m", [tensor]).output("z")
