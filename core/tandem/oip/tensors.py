"""Tensors, requests and responses of the Open Inference Protocol v2, whatever their wire form.

Source: the protocol's ``required_api.md`` and, for the binary-tensor extension and BF16, Triton's
``extension_binary_data.md``.

Datatypes and the NumPy types that carry them:

    BOOL                       bool
    UINT8 UINT16 UINT32 UINT64 uint8 … uint64
    INT8 INT16 INT32 INT64     int8 … int64
    FP16 FP32 FP64             float16 float32 float64
    BF16                       uint16: the 16 bits as they are, since NumPy has no such type; binary only
    BYTES                      object, each element ``bytes``
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tandem.errors import MalformedRequest

Array = npt.NDArray[Any]
Parameter = bool | int | float | str
Parameters = dict[str, Parameter]

#: Little-endian NumPy type of each datatype; on the wire all numbers are little-endian.
DATATYPES: Final[Mapping[str, np.dtype[Any]]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BF16": np.dtype("<u2"),
    "BYTES": np.dtype(object),
}
# without BF16: an array of uint16 does not say that it holds such numbers
_BY_DTYPE: Final[Mapping[np.dtype[Any], str]] = {
    dtype: datatype for datatype, dtype in DATATYPES.items() if datatype != "BF16"
}

#: NumPy allows 64; nothing that is served has more than a handful.
MAX_DIMENSIONS: Final = 32
_MAX_ELEMENTS: Final = 2**48


@dataclass(slots=True)
class Tensor:
    """One named tensor.

    Attributes:
        name: Name of the model's input or output.
        datatype: A key of :data:`DATATYPES`.
        shape: Its shape, equal to ``data.shape``.
        data: Its values, of the NumPy type that :data:`DATATYPES` gives; may be read-only (a view of a request's body).
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: Array

    @classmethod
    def of(cls, name: str, data: Array) -> Tensor:
        """A tensor of an array's own type and shape; ``str`` arrays become BYTES (UTF-8).

        Raises:
            TypeError: No datatype of the protocol holds this array's type.
        """
        # T is NumPy 2's text of variable length
        if data.dtype.kind in "UT":
            data = bytes_array(data)
        return cls(name, datatype_of(data.dtype), data.shape, data)

    def strings(self) -> Array:
        """The elements of a BYTES tensor as ``str``; shape kept, dtype object.

        Raises:
            MalformedRequest: An element is not UTF-8.
        """
        return str_array(self.name, self.data)


@dataclass(slots=True)
class RequestedOutput:
    """An output that the client asks for.

    Attributes:
        name: Its name.
        parameters: Wishes of the client: ``binary_data`` asks for this output in binary form, over REST.
    """

    name: str
    parameters: Parameters = field(default_factory=dict)


@dataclass(slots=True)
class InferRequest:
    """What a client asks of a model.

    Attributes:
        model_name: Name of the model; over REST it stands in the path, not in the body.
        model_version: Version wanted; empty for the server's choice.
        id: Echoed in the response; may be empty.
        inputs: Input tensors, names unique.
        outputs: Outputs wanted, names unique; empty for all.
        parameters: Parameters of the whole request.
    """

    model_name: str
    inputs: Sequence[Tensor]
    model_version: str = ""
    id: str = ""
    outputs: Sequence[RequestedOutput] = ()
    parameters: Parameters = field(default_factory=dict)


@dataclass(slots=True)
class InferResponse:
    """What a model answers.

    Attributes:
        model_name: Name of the model that answered.
        model_version: Its version.
        id: That of the request.
        outputs: Output tensors, names unique.
        parameters: Parameters of the whole response.
    """

    model_name: str
    outputs: Sequence[Tensor]
    model_version: str = ""
    id: str = ""
    parameters: Parameters = field(default_factory=dict)

    def output(self, name: str) -> Tensor:
        """The output of this name.

        Raises:
            MalformedRequest: The response has none.
        """
        for tensor in self.outputs:
            if tensor.name == name:
                return tensor
        raise MalformedRequest(f"the response has no output {name!r}")


def datatype_of(dtype: np.dtype[Any]) -> str:
    """The protocol's name of a NumPy type; object counts as BYTES.

    Raises:
        TypeError: There is none.
    """
    try:
        return _BY_DTYPE[dtype.newbyteorder("<")]
    except KeyError:
        raise TypeError(f"no datatype of the Open Inference Protocol holds {dtype}") from None


def dtype_of(name: str, datatype: str) -> np.dtype[Any]:
    """The NumPy type of a datatype.

    Raises:
        MalformedRequest: Not a datatype of the protocol; names the tensor ``name``.
    """
    dtype = DATATYPES.get(datatype)
    if dtype is None:
        raise malformed(name, f"unknown datatype {datatype!r}; known are {', '.join(DATATYPES)}")
    return dtype


def count_elements(name: str, shape: Sequence[int]) -> int:
    """Number of elements of a shape that came from outside.

    Raises:
        MalformedRequest: A dimension is negative, there are too many, or their product is beyond any memory.
    """
    if len(shape) > MAX_DIMENSIONS:
        raise malformed(name, f"shape has {len(shape)} dimensions, at most {MAX_DIMENSIONS} are allowed")
    if shape and min(shape) < 0:
        raise malformed(name, f"shape {list(shape)} has a negative dimension")
    # An empty tensor of absurd dimensions would pass a check of the product alone, and NumPy would refuse it later.
    if math.prod(dimension or 1 for dimension in shape) > _MAX_ELEMENTS:
        raise malformed(name, f"shape {list(shape)} is too large")
    return math.prod(shape)


def unique(kind: str, names: Iterable[str]) -> None:
    """Refuse names that occur twice.

    Raises:
        MalformedRequest: One does; ``kind`` says of what.
    """
    unique_names: set[str] = set()
    for name in names:
        if name in unique_names:
            raise malformed(name, f"{kind} occurs more than once")
        unique_names.add(name)


def bytes_array(strings: Array) -> Array:
    """BYTES elements (UTF-8) of an array of ``str``; ``bytes`` elements stay as they are, and so does the shape."""
    data = np.empty(strings.size, object)
    data[:] = [s if isinstance(s, bytes) else str(s).encode() for s in strings.ravel().tolist()]
    return data.reshape(strings.shape)


def str_array(name: str, data: Array) -> Array:
    """``str`` elements of a BYTES array; shape kept, dtype object.

    Raises:
        MalformedRequest: An element is not UTF-8; names the tensor ``name``.
    """
    strings = np.empty(data.size, object)
    try:
        strings[:] = [element.decode() for element in data.ravel().tolist()]
    except UnicodeDecodeError as error:
        raise malformed(name, f"an element is not UTF-8: {error.reason}") from None
    return strings.reshape(data.shape)


def malformed(name: str, rule: str) -> MalformedRequest:
    """The error that names a tensor and the rule that it breaks."""
    return MalformedRequest(f"tensor {name!r}: {rule}")
