from __future__ import annotations

import asyncio
import socket
import stat
from pathlib import Path

import pytest

from tandem.stores import open_store
from tandem_cli.local import valkey
from tandem_cli.local.ports import socket_path
from tandem_cli.local.processes import StackError, stop, wait_until


async def round_trip(url: str) -> list[bytes | None]:
    store = open_store(url)
    await store.put([(b"key", b"row")])
    rows = await store.get([b"key"])
    await store.close()
    return rows


def test_valkey_has_no_port_and_its_socket_is_this_users(tmp_path: Path) -> None:
    child = valkey.start(tmp_path)
    try:
        wait_until(lambda: valkey.answers(tmp_path), [child], seconds=30.0, what="valkey")
        (path,) = tmp_path.glob("*.sock")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert asyncio.run(round_trip(valkey.url(tmp_path))) == [b"row"]
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
            connection.sendall(b"CONFIG GET port\r\n")
            assert connection.recv(100) == b"*2\r\n$4\r\nport\r\n$1\r\n0\r\n"
    finally:
        stop([child])


def test_a_socket_needs_a_short_path(tmp_path: Path) -> None:
    assert socket_path(Path("/run"), "valkey") == Path("/run/valkey.sock")
    with pytest.raises(StackError, match="the limit for a socket") as caught:
        socket_path(tmp_path / ("d" * 100), "valkey")
    assert caught.value.advice == "set TMPDIR to a shorter directory"
