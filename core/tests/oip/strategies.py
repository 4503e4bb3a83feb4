"""Hypothesis strategies for tensors and requests."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import strategies as st

from tandem.oip import DATATYPES, InferRequest, InferResponse, RequestedOutput, Tensor

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
SHAPES = st.lists(st.integers(0, 4), max_size=4).map(tuple)
PARAMETERS = st.dictionaries(
    NAMES.map(lambda name: f"x-{name}"),
    st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False) | NAMES,
    max_size=2,
)


@st.composite
def tensors(draw: st.DrawFn, *, json: bool, name: st.SearchStrategy[str] = NAMES) -> Tensor:
    """Any tensor; with ``json`` only those that JSON can carry."""
    datatype = draw(st.sampled_from([d for d in DATATYPES if not (json and d == "BF16")]))
    shape = draw(SHAPES)
    size = math.prod(shape)
    if datatype == "BYTES":
        element = st.text(st.characters(exclude_categories=["Cs"])).map(str.encode) if json else st.binary(max_size=9)
        data = np.empty(size, object)
        data[:] = draw(st.lists(element, min_size=size, max_size=size))
    else:
        dtype = DATATYPES[datatype]
        raw = draw(st.binary(min_size=size * dtype.itemsize, max_size=size * dtype.itemsize))
        data = np.frombuffer(raw, np.uint8) & 1 if datatype == "BOOL" else np.frombuffer(raw, dtype)
        data = data.astype(dtype)
        if json and dtype.kind == "f":
            data = np.where(np.isfinite(data), data, dtype.type(0.5))
    return Tensor(draw(name), datatype, shape, data.reshape(shape))


def _unique(json: bool) -> st.SearchStrategy[list[Tensor]]:
    return st.lists(tensors(json=json), max_size=3, unique_by=lambda tensor: tensor.name)


def requests(*, json: bool = False) -> st.SearchStrategy[InferRequest]:
    """Any request."""
    outputs = st.lists(NAMES, max_size=2, unique=True).map(lambda names: [RequestedOutput(name) for name in names])
    return st.builds(
        InferRequest,
        model_name=NAMES,
        model_version=NAMES | st.just(""),
        id=NAMES | st.just(""),
        inputs=_unique(json),
        outputs=outputs,
        parameters=PARAMETERS,
    )


def responses(*, json: bool = False) -> st.SearchStrategy[InferResponse]:
    """Any response."""
    return st.builds(
        InferResponse,
        model_name=NAMES,
        model_version=NAMES | st.just(""),
        id=NAMES | st.just(""),
        outputs=_unique(json),
        parameters=PARAMETERS,
    )


@st.composite
def mutated(draw: st.DrawFn, body: bytes) -> bytes:
    """The body with a few bytes replaced, removed or inserted."""
    changed = bytearray(body)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(changed)))
        changed[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(changed)


def same(actual: Tensor, expected: Tensor) -> bool:
    """Equal to the bit; NaN equals itself."""
    if (actual.name, actual.datatype, actual.shape) != (expected.name, expected.datatype, expected.shape):
        return False
    if actual.data.dtype != expected.data.dtype or actual.data.shape != expected.data.shape:
        return False
    return (
        actual.data.tolist() == expected.data.tolist()
        if actual.datatype == "BYTES"
        else actual.data.tobytes() == expected.data.tobytes()
    )
