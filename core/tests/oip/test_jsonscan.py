from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.errors import MalformedRequest, RequestError, RequestTooLarge
from tandem.oip import InferRequest, Tensor, jsondata, jsonscan, rest
from tandem.oip.memory import Budget

Small = Callable[[], AbstractContextManager[None]]
TEXT = st.text(st.sampled_from('a"\\[]{},: ü'), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5),
    max_leaves=30,
)


@pytest.fixture(scope="module", params=[1, 2, 7, 65_536])
def small(request: pytest.FixtureRequest) -> Small:
    """Makes blocks and pieces so small that short texts have many."""

    @contextmanager
    def patched() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(jsonscan, "_BLOCK", request.param)
            patch.setattr(jsonscan, "_LONG_ARRAY", 8)
            patch.setattr(jsonscan, "LONG", 20)
            patch.setattr(jsonscan, "PIECE", request.param)
            yield

    return patched


@given(values=st.lists(VALUES, max_size=12), indent=st.sampled_from([None, 1]), ascii_only=st.booleans())
def test_pieces_have_the_elements_of_the_whole(
    small: Small, values: list[Any], indent: int | None, ascii_only: bool
) -> None:
    text = json.dumps(values, indent=indent, ensure_ascii=ascii_only).encode()
    elements: list[Any] = []
    with small():
        pieces = jsonscan.pieces(text, len(values))
        assert pieces is not None
        for piece in pieces:
            assert piece.first == len(elements)
            elements += [json.loads(bytes(piece.text))] if piece.alone else json.loads(piece.text)
    assert elements == values
    assert len(values) < 2 or jsonscan.pieces(text, len(values) - 1) is None


@given(whole=st.dictionaries(TEXT, st.lists(VALUES, max_size=8) | VALUES, max_size=4), depth=st.integers(2, 4))
def test_an_outline_and_its_arrays_are_the_whole(small: Small, whole: dict[str, Any], depth: int) -> None:
    with small():
        outline = jsonscan.outline(json.dumps(whole).encode(), depth)

    def restored(value: Any) -> Any:
        if isinstance(value, list):
            array = outline.resolve(json.dumps(value).encode().replace(b" ", b""))
            return json.loads(bytes(array)) if isinstance(array, memoryview) else [restored(inner) for inner in value]
        return {key: restored(inner) for key, inner in value.items()} if isinstance(value, dict) else value

    assert restored(json.loads(outline.text)) == whole
    outline.check_all_taken()


@given(value=VALUES)
def test_values_are_counted(small: Small, value: Any) -> None:
    def count(inner: Any) -> int:
        if isinstance(inner, list | dict):
            return 1 + sum(map(count, inner.values() if isinstance(inner, dict) else inner))
        return 1

    with small():
        assert count(value) <= jsonscan.count_values(json.dumps(value).encode()) <= 2 * count(value)


@given(text=st.binary(max_size=60) | st.text('["\\]{},:1', max_size=60).map(str.encode), depth=st.integers(2, 4))
def test_what_is_no_json_is_refused_or_left_to_the_decoder(small: Small, text: bytes, depth: int) -> None:
    with small():
        try:
            outline = jsonscan.outline(text, depth)
        except RequestError:
            return
        for array in outline.arrays:
            for piece in jsonscan.pieces(array, 100) or ():
                assert len(piece.text) <= len(array)


def test_an_outline_is_bounded() -> None:
    many = b'{"a":[' + b"[]," * 5000 + b"[]]}"
    with pytest.raises(RequestTooLarge, match="more than 4096 arrays"):
        jsonscan.outline(many, 3)
    beside = b'{"a":"' + b"x" * 300_000 + b'"}'
    with pytest.raises(RequestTooLarge, match="beside long arrays"):
        jsonscan.outline(beside, 2)


ARRAYS = st.lists(st.integers(-5, 300) | st.floats(-9, 9).map(lambda x: round(x, 1)) | st.none() | TEXT, max_size=30)


@given(
    data=ARRAYS | st.lists(ARRAYS, max_size=6) | st.lists(st.lists(ARRAYS, max_size=3), max_size=3),
    shape=st.lists(st.integers(0, 30), min_size=1, max_size=3),
    right=st.booleans(),
    datatype=st.sampled_from(["FP32", "INT16", "UINT8", "BYTES", "BOOL"]),
)
def test_data_in_pieces_is_the_same_data(
    small: Small, data: list[Any], shape: list[int], right: bool, datatype: str
) -> None:
    if right:
        shape = list(np.array(data, object).shape) or shape
    raw = json.dumps(data).encode()

    def decoded() -> Tensor | None:
        try:
            return jsondata.decode_tensor("x", datatype, shape, raw, Budget(len(raw)))
        except MalformedRequest:
            return None

    at_once = decoded()
    with small():
        in_pieces = decoded()
    assert (in_pieces is None) == (at_once is None)
    if in_pieces is not None and at_once is not None:
        np.testing.assert_array_equal(in_pieces.data, at_once.data)
        assert in_pieces.shape == at_once.shape


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("datatype", [np.float64, np.int32, np.bool_, object])
def test_a_long_request(depth: int, datatype: Any) -> None:
    shape = (9_000 if datatype is object else 60_000, 2, 1)[:depth]
    data = np.arange(np.prod(shape)).reshape(shape).astype(datatype)
    tensor = Tensor.of("x", data.astype(str) if datatype is object else data)
    body, _ = rest.encode_request(InferRequest("m", [tensor], id="7"), binary_data=False)
    nested = json.loads(body)
    nested["inputs"][0]["data"] = (
        [value.decode() for value in tensor.data.ravel()] if datatype is object else data.tolist()
    )
    for text in (body, json.dumps(nested, indent=1).encode()):
        request = rest.decode_request(text)
        assert request.id == "7"
        np.testing.assert_array_equal(request.inputs[0].data, tensor.data)


def tensor_text(shape: str = "[1]", data: str = "[1]", **extra: str) -> str:
    members = "".join(f',"{name}":{value}' for name, value in extra.items())
    return f'{{"name":"a","datatype":"FP64","shape":{shape},"data":{data}{members}}}'


def many(element: str) -> str:
    return f"[{','.join([element] * 90_000)}]"


@pytest.mark.parametrize(
    ("inputs", "error", "rule"),
    [
        (f"[{','.join([tensor_text()] * 9000)}]", RequestTooLarge, "more than 4096 arrays"),
        (f"[{tensor_text(data=many('[]'))}]", MalformedRequest, "nested 2 deep"),
        (f"[{tensor_text(data=many('1'))}]", MalformedRequest, "more elements"),
        (f"[{tensor_text(shape='[90001]', data=many('1'))}]", MalformedRequest, "fewer values than the 90001"),
        (f"[{tensor_text(shape='[90000]', data=many('null')[:-5] + '0a]')}]", MalformedRequest, "data is not FP64"),
        (f"[{tensor_text(data=many('1')[:-1])}]", MalformedRequest, "not an inference request"),
        (f"[{tensor_text(id=many('1').replace('[', '{').replace('1', repr('a')))}]", RequestTooLarge, "beside"),
        (f"[{tensor_text(shape=many('1'))}]", MalformedRequest, "shape"),
        (f"[{tensor_text(junk=many('1'))}]", MalformedRequest, "where none belongs"),
    ],
)
def test_long_requests_that_are_refused(inputs: str, error: type[RequestError], rule: str) -> None:
    with pytest.raises(error, match=rule):
        rest.decode_request(f'{{"inputs":{inputs}}}'.encode())
