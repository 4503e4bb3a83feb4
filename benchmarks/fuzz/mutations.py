"""Changes of bytes. All are cheap: a case is made in some ten microseconds, so that the servers never wait for one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Final

TOKENS: Final = (
    *(b"\0", b"\xff", b"\xff\xfe", b"\xed\xa0\x80", b"\\ud800", b"\\u0000", b"%00", b"%2f", b"%ff", b"..", b"/", b"//"),
    *(b'"', b"{", b"}", b"[", b"]", b":", b",", b"[]", b"{}", b'""', b"[[", b'{"":', b'"a":"b",', b"\r\n", b"\n", b" "),
    *(b"null", b"true", b"NaN", b"Infinity", b"-1", b"-0.0", b"1e999", b"0x1", b"1e-400", b"9" * 40, b"0" * 40),
    *(b"9223372036854775808", b"18446744073709551616", b"4294967296", b"2147483648", b"\xff\xff\xff\xff\x0f"),
    *(b"FP16", b"BF16", b"BYTES", b"INT64", b"UINT8", b"BOOL", b"FP128", b"inputs", b"outputs", b"parameters"),
    *(b'"binary_data_size":', b'"binary_data":true', b'"classification":3', b'"shape":[-1]', b'"shape":[0]', b"\x80"),
    # tags of ModelInferRequest: parameters, inputs, outputs, raw contents, and a group, which is not read any more
    *(
        b"\x22\x00",
        b"\x2a\x00",
        b"\x32\x00",
        b"\x3a\x00",
        b"\x2a\x02\x2a\x00",
        b"\x0b",
        b"\x0c",
        b"\x22\x04\x0a\x00\x12\x00",
    ),
)
"""What parsers stumble over."""

VALUES: Final = (
    *(
        b"null",
        b"true",
        b"false",
        b"0",
        b"-1",
        b"1",
        b"0.5",
        b"1e308",
        b"1e-320",
        b"1e999",
        b"-0",
        b"NaN",
        b'""',
        b"[]",
    ),
    *(
        b"{}",
        b"[null]",
        b'{"a":1}',
        b'"a"',
        b'"\\u0000"',
        b'"\\ud800"',
        b'"\xff"',
        b"9223372036854775807",
        b"01",
        b"'a'",
    ),
    *(b"9223372036854775808", b'"NaN"', b'"2026-05-01T08:00:00Z"', b'"2026-05-01T08:00:00"', b'"9999-12-31T23:59:60Z"'),
    *(b'"0001-01-01T00:00:00+23:59"', b"1000", b"1001", b"1002", b"1003", b'"FP64"', b'"day"', b"[1,[2]]", b"[" * 40),
)
"""What may stand where JSON has a value."""


def mutate(random: Random, content: bytes, changes: int = 3) -> bytes:
    """The bytes with one or more changes.

    Args:
        random: Decides.
        content: What is changed.
        changes: Most changes.
    """
    for _ in range(1 + int(random.random() * changes)):
        change = _CHANGES[int(random.random() * len(_CHANGES))]
        content = change(random, content)
    return content


def choose(random: Random, options: Sequence[bytes]) -> bytes:
    """One of several; faster than :meth:`Random.choice`."""
    return options[int(random.random() * len(options))]


def _at(random: Random, content: bytes) -> int:
    return int(random.random() * (len(content) + 1))


def _flip(random: Random, content: bytes) -> bytes:
    at = _at(random, content)
    return content[:at] + bytes([int(random.random() * 256)]) + content[at + 1 :]


def _insert(random: Random, content: bytes) -> bytes:
    at = _at(random, content)
    return content[:at] + choose(random, TOKENS) + content[at:]


def _replace(random: Random, content: bytes) -> bytes:
    at, token = _at(random, content), choose(random, TOKENS)
    return content[:at] + token + content[at + len(token) :]


def _remove(random: Random, content: bytes) -> bytes:
    at = _at(random, content)
    return content[:at] + content[at + 1 + int(random.random() * 16) :]


def _repeat(random: Random, content: bytes) -> bytes:
    at = _at(random, content)
    stop = at + 1 + int(random.random() * 64)
    times = 2 if random.random() < 0.95 else 200
    return content[:at] + content[at:stop] * times + content[stop:]


def _cut(random: Random, content: bytes) -> bytes:
    return content[: _at(random, content)]


def _move(random: Random, content: bytes) -> bytes:
    at, to = _at(random, content), _at(random, content)
    part = content[at : at + 32]
    rest = content[:at] + content[at + 32 :]
    return rest[:to] + part + rest[to:]


def _value(random: Random, content: bytes) -> bytes:
    """Another value after one of the colons, so that what comes out is often JSON still."""
    at = content.find(b":", _at(random, content)) + 1
    if not at:
        return _insert(random, content)
    stop = min((end for mark in b",}]" if (end := content.find(mark, at)) >= 0), default=len(content))
    return content[:at] + choose(random, VALUES) + content[stop:]


_CHANGES: Final[Sequence[Callable[[Random, bytes], bytes]]] = (
    *(_flip, _flip, _insert, _insert, _replace, _remove, _repeat, _cut, _move),
    *(_value, _value, _value, _value),
)
