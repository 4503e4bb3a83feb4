"""Peak memory of decoders, each case in a process of its own. Prints a JSON object: case to [bytes, peak, outcome]."""

from __future__ import annotations

import ctypes
import gc
import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tandem.errors import RequestError
from tandem.oip import InferRequest, InferResponse, RequestedOutput, Tensor, encoding, protobuf, rest

Decode = Callable[[bytes], Any]
Build = Callable[[], bytes]
Case = tuple[Decode, Build]

MIB = 2**20


def _varint(value: int) -> bytes:
    text = b""
    while value >= 0x80:
        text += bytes([value & 0x7F | 0x80])
        value >>= 7
    return text + bytes([value])


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _texts(count: int, text: bytes) -> Tensor:
    data = np.empty(count, object)
    data[:] = [text + b"%x" % index for index in range(count)]
    return Tensor("x", "BYTES", data.shape, data)


def _raw(*tensors: Tensor, outputs: int = 0, parameters: int = 0) -> bytes:
    requested_outputs = [RequestedOutput(f"o{number}", {"p": "v"}) for number in range(outputs)]
    named: dict[str, Any] = {f"p{number}": "value" for number in range(parameters)}
    return protobuf.encode_request(InferRequest("m", tensors, outputs=requested_outputs, parameters=named))


def _typed(datatype: str, shape: tuple[int, ...], contents: bytes) -> bytes:
    dimensions = b"".join(map(_varint, shape))
    tensor = _field(1, b"x") + _field(2, datatype.encode()) + _field(3, dimensions) + _field(5, contents)
    return _field(5, tensor)


def _empty(number: int, size: int = MIB) -> Build:
    return lambda: bytes([number << 3 | 2, 0]) * (size // 2)


def _cube(number: int) -> Tensor:
    return Tensor(f"x{number}", "FP32", (1,) * 32, np.zeros((1,) * 32, "f4"))


REQUESTS: dict[str, Build] = {
    **{f"empty fields {number}": _empty(number) for number in range(1, 9)},
    "empty fields 5, long": _empty(5, 8 * MIB),
    "outputs with a parameter": lambda: _field(6, _field(2, _field(1, b"a"))) * (MIB // 8),
    "parameters of one tensor": lambda: _field(5, _field(4, b"") * (MIB // 2)),
    "most tensors": lambda: _raw(*map(_cube, range(540))),
    "most tensors of one number": lambda: _raw(*(Tensor.of(f"x{i}", np.zeros(1)) for i in range(1000)), outputs=1000),
    "most outputs": lambda: _raw(outputs=1000),
    "most parameters": lambda: _raw(parameters=1000),
    "packed shape": lambda: _field(5, _field(1, b"x") + _field(3, b"\1" * MIB)),
    "unpacked shape": lambda: _field(5, b"\x18\x01" * (MIB // 2)),
    "shape of each": lambda: _field(5, b"\x18\x01" * 32) * 1000,
    "unpacked integers": lambda: _field(5, _field(5, b"\x18\x01" * (MIB // 2))),
    "elements": lambda: _typed("BYTES", (MIB // 2,), b"\x42\x00" * (MIB // 2)),
    "elements, some": lambda: _typed("BYTES", (14_000,), _field(8, b"ab") * 14_000),
    "elements, long": lambda: _typed("BYTES", (14_000,), _field(8, b"x" * 100) * 14_000),
    "integers, packed": lambda: _typed("INT64", (MIB,), _field(3, b"\1" * MIB)),
    "integers, some": lambda: _typed("INT64", (36_000,), _field(3, b"\1" * 36_000)),
    "small integers": lambda: _typed("INT8", (36_000,), _field(2, b"\1" * 36_000)),
    "booleans": lambda: _typed("BOOL", (MIB,), _field(1, b"\1" * MIB)),
    "FP32": lambda: _typed("FP32", (MIB,), _field(6, bytes(4 * MIB))),
    "FP64": lambda: _typed("FP64", (MIB,), _field(7, bytes(8 * MIB))),
    "raw FP64": lambda: _raw(Tensor.of("x", np.zeros(MIB))),
    "raw BOOL": lambda: _raw(Tensor.of("x", np.zeros(MIB, bool))),
    "raw strings": lambda: _raw(_texts(MIB // 8, b"")),
    "raw strings, some": lambda: _raw(_texts(20_000, b"")),
    "raw strings, long": lambda: _raw(_texts(10_000, b"x" * 100)),
    "unknown fields": lambda: _field(99, b"") * (MIB // 3),
    "groups": lambda: b"\x0b\x0c" * (MIB // 2),
}
"""Messages of which a few bytes could stand for much, and large ones that are in order."""

RESPONSES: dict[str, Build] = {
    **{f"empty fields {number}": _empty(number) for number in range(1, 8)},
    "raw FP64": lambda: protobuf.encode_response(InferResponse("m", [Tensor.of("y", np.zeros(MIB))])),
}
"""The same from a predictor."""


def _json(text: bytes, *, shape: bytes = b"[1]", datatype: bytes = b"FP64") -> bytes:
    return b'{"inputs":[{"name":"x","datatype":"%b","shape":%b,"data":%b}]}' % (datatype, shape, text)


def _list(element: bytes, count: int) -> bytes:
    return b"[" + b",".join([element] * count) + b"]"


def _binary(tensor: Tensor) -> bytes:
    """A body with one binary tensor, after the length of its JSON."""
    body = rest.encode_request(InferRequest("m", [tensor]))
    return b"%8d" % (body.header_length or 0) + body.content


def _decode_binary(body: bytes) -> InferRequest:
    return rest.decode_request(body[8:], int(body[:8]))


def _decode_gzip(body: bytes) -> bytes:
    """Nothing is made of the content here: what counts is that it is bounded while it is unpacked."""
    return encoding.decompress(body, b"gzip", MIB)


def _zeros(size: int) -> bytes:
    return encoding.compress(bytes(size), b"gzip")


BODIES: dict[str, Build] = {
    "unknown keys": lambda: b"{" + b",".join(b'"k%d":1' % i for i in range(MIB // 11)) + b',"inputs":[]}',
    "parameters": lambda: b'{"inputs":[],"parameters":{' + b",".join(b'"k%d":1' % i for i in range(MIB // 11)) + b"}}",
    "tensors": lambda: b'{"inputs":%b}' % _list(b'{"name":"","datatype":"","shape":[]}', MIB // 37),
    "outputs": lambda: b'{"inputs":[],"outputs":%b}' % _list(b'{"name":""}', MIB // 12),
    "outputs, empty": lambda: b'{"inputs":[],"outputs":%b}' % _list(b"{}", MIB // 3),
    "inputs, lists": lambda: b'{"inputs":%b}' % _list(b"[]", MIB // 3),
    "shape": lambda: _json(b"[]", shape=_list(b"300", MIB // 4)),
    "numbers": lambda: _json(_list(b"0", MIB // 2), shape=b"[%d]" % (MIB // 2)),
    "numbers, nested": lambda: _json(_list(b"[0]", MIB // 4), shape=b"[%d,1]" % (MIB // 4)),
    "numbers, deep": lambda: _json(_list(b"[[[0]]]", MIB // 8), shape=b"[%d,1,1,1]" % (MIB // 8)),
    "numbers, usual": lambda: _json(_list(b"0.123456", MIB // 9), shape=b"[%d]" % (MIB // 9)),
    "numbers, too many": lambda: _json(_list(b"0", MIB // 2)),
    "small integers": lambda: _json(_list(b"0", MIB // 2), shape=b"[%d]" % (MIB // 2), datatype=b"INT8"),
    "whole numbers": lambda: _json(_list(b"1.0", MIB // 4), shape=b"[%d]" % (MIB // 4), datatype=b"INT64"),
    "empty lists": lambda: _json(_list(b"[]", MIB // 3), shape=b"[%d,0]" % (MIB // 3)),
    "strings": lambda: _json(_list(b'"ab"', MIB // 5), shape=b"[%d]" % (MIB // 5), datatype=b"BYTES"),
    "strings, some": lambda: _json(_list(b'"ab"', 10_000), shape=b"[10000]", datatype=b"BYTES"),
    "string, long": lambda: _json(b'["' + b"x" * MIB + b'"]', datatype=b"BYTES"),
    "not a number": lambda: _json(_list(b"NaN", MIB // 4), shape=b"[%d]" % (MIB // 4)),
    "nested": lambda: b'{"inputs":' + b"[" * (MIB // 2) + b"]" * (MIB // 2) + b"}",
    "unknown lists": lambda: b'{"inputs":[],"x":%b}' % _list(b"[]", MIB // 3),
    "unknown numbers": lambda: b'{"inputs":[],"x":%b}' % _list(b"0", MIB // 2),
}
"""The same over REST."""

BINARY: dict[str, Build] = {
    "FP64": lambda: _binary(Tensor.of("x", np.zeros(MIB))),
    "BOOL": lambda: _binary(Tensor.of("x", np.zeros(MIB, bool))),
    "strings": lambda: _binary(_texts(MIB // 8, b"")),
    "strings, some": lambda: _binary(_texts(20_000, b"")),
    "strings, long": lambda: _binary(_texts(10_000, b"x" * 100)),
}
"""The same as binary tensors."""


GZIP: dict[str, Build] = {
    "bomb": lambda: _zeros(64 * MIB),
    "members": lambda: _zeros(MIB // 64) * 100,
    "content": lambda: encoding.compress(np.random.default_rng(0).bytes(MIB - 1), b"gzip"),
}
"""Compressed bodies; the first two have more content than is taken."""


def cases() -> dict[str, Case]:
    """All cases, by decoder and name."""
    return {
        **{f"protobuf: {name}": (protobuf.decode_request, build) for name, build in REQUESTS.items()},
        **{f"protobuf response: {name}": (protobuf.decode_response, build) for name, build in RESPONSES.items()},
        **{f"gzip: {name}": (_decode_gzip, build) for name, build in GZIP.items()},
        **{f"JSON: {name}": (rest.decode_request, build) for name, build in BODIES.items()},
        **{f"binary: {name}": (_decode_binary, build) for name, build in BINARY.items()},
    }


def _warm_up() -> None:
    """Load the code that decodes, so that its pages are not taken for those of a message."""
    floats = Tensor.of("x", np.ones(300))
    words = Tensor("w", "BYTES", (300,), _texts(300, b"").data)
    request = InferRequest("m", [floats, words], outputs=[RequestedOutput("y")], parameters={"p": 1})
    for _ in range(2):
        protobuf.decode_request(protobuf.encode_request(request))
        protobuf.decode_request(_typed("INT64", (300,), _field(3, b"\1" * 300)))
        protobuf.decode_request(_typed("INT8", (300,), _field(2, b"\1" * 300)))
        protobuf.decode_request(_typed("BYTES", (300,), _field(8, b"ab") * 300))
        protobuf.decode_response(protobuf.encode_response(InferResponse("m", [floats, words])))
        for form in (True, False):
            body = rest.encode_request(request, binary_data=form)
            rest.decode_request(body.content, body.header_length)
        _outcome(_decode_gzip, encoding.compress(b"x" * 10_000, b"gzip"))
        rest.decode_request(_json(_list(b"[0]", 30_000), shape=b"[30000,1]"))
        _outcome(rest.decode_request, BODIES["unknown keys"]()[:1000])
        _outcome(rest.decode_request, b'{"inputs":[],"a":0,"b":[[]]}')
        for cut in (100, 3000):
            _outcome(protobuf.decode_request, b"\x2a\x00" * cut)


def apart(work: Callable[[], bytes]) -> bytes:
    """What a function gives in a child of its own, since memory that was taken once stays with a process."""
    receiver, sender = os.pipe()
    child = os.fork()
    if not child:
        os.close(receiver)
        with os.fdopen(sender, "wb") as stream:
            stream.write(work())
        os._exit(0)
    os.close(sender)
    with os.fdopen(receiver, "rb") as stream:
        content = stream.read()
    os.waitpid(child, 0)
    return content


def measure(decode: Decode, body: bytes) -> bytes:
    """JSON: how many bytes decoding a body took at its peak, beside the body, and what came of it."""
    _warm_up()
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = _status()["VmRSS"]
    outcome = _outcome(decode, body)
    return json.dumps((_status()["VmHWM"] - before, outcome)).encode()


def _status() -> dict[str, int]:
    """Memory of this process in bytes: now (VmRSS), and at most (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.startswith("Vm")}


def _outcome(decode: Decode, body: bytes) -> str:
    try:
        decode(body)
    except RequestError as error:
        return error.code
    return "ok"


def main() -> None:
    """Measure all cases."""
    measured = {}
    for name, (decode, build) in cases().items():
        body = apart(build)
        measured[name] = (len(body), *json.loads(apart(partial(measure, decode, body))))
    json.dump(measured, sys.stdout)


if __name__ == "__main__":
    main()
