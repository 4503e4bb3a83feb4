"""Peak memory of reading V1 bodies, each in a process of its own. Prints what ``core/tests/oip/peaks.py`` prints."""

from __future__ import annotations

import contextlib
import json
import sys
from functools import partial
from typing import Any

from core.tests.oip.peaks import MIB, Build, apart, measure

from tandem.errors import RequestError
from tandem.rows import RowReader
from tandem.signature import Signature, TensorSpec
from tandem_transformer.v1 import V1

from . import world
from .world import good_row

MAX_ROWS = 10_000

CODEC = V1(
    RowReader(world.model().contract),
    Signature((TensorSpec("x", "float32", ("a", "b"), (-1, 2)),), ()),
    "parcels",
    "v1",
    MAX_ROWS,
)


def _rows(count: int, **more: Any) -> bytes:
    row = json.dumps(good_row(**more)).encode()
    return b'{"instances":[%b]}' % b",".join([row] * count)


def _list(element: bytes, size: int = MIB) -> bytes:
    return b'{"instances":[%b]}' % b",".join([element] * (size // (len(element) + 1)))


def _keys(form: bytes) -> bytes:
    return form % b",".join(b'"k%d":1' % number for number in range(MIB // 11))


BODIES: dict[str, Build] = {
    "rows": lambda: _rows(1_000),
    "most rows": lambda: _rows(MAX_ROWS),
    "more rows than are taken": lambda: _rows(2 * MAX_ROWS),
    "rows with unknown keys": lambda: _rows(5_000, colour="red"),
    "rows that break a rule": lambda: _rows(5_000, weight_kg=-1.0),
    "rows with whole numbers as floats": lambda: _rows(MAX_ROWS, depot_id=2.0),
    "rows with a long text": lambda: _rows(10, customer_id="x" * 100_000),
    "rows with quotes": lambda: _rows(MAX_ROWS, customer_id='a":"b'),
    "empty rows": lambda: _list(b"{}"),
    "empty lists": lambda: _list(b"[]"),
    "numbers": lambda: _list(b"0"),
    "rows of an empty key": lambda: _list(b'{"":0}'),
    "unknown keys of a row": lambda: _keys(b'{"instances":[{%b}]}'),
    "unknown keys beside the rows": lambda: _keys(b'{%b,"instances":[]}'),
    "keys of what is ignored": lambda: _keys(b'{"parameters":{%b},"instances":[{}]}'),
    "nested": lambda: b'{"instances":' + b"[" * (MIB // 2) + b"]" * (MIB // 2) + b"}",
    "nested in a row": lambda: b'{"instances":[{"parts":' + b"[" * (MIB // 2) + b"]" * (MIB // 2) + b"}]}",
    "long number": lambda: b'{"instances":[{"parts":' + b"9" * MIB + b"}]}",
}
"""Bodies of which a few bytes could stand for much, and large ones that are in order."""


def _warm_up() -> None:
    for body in (_rows(200), _rows(1_000), *(build()[:20_000] for build in BODIES.values())):
        with contextlib.suppress(RequestError):
            CODEC.decode(body)


def _decode(body: bytes) -> object:
    return CODEC.decode(body)


def main() -> None:
    """Measure all bodies."""
    _warm_up()
    measured = {}
    for name, build in BODIES.items():
        body = apart(build)
        measured[name] = (len(body), *json.loads(apart(partial(measure, _decode, body))))
    json.dump(measured, sys.stdout)


if __name__ == "__main__":
    main()
