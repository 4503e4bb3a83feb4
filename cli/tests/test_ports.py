from __future__ import annotations

import socket

from tandem_cli.local.ports import free_ports
from tandem_cli.local.processes import LOOPBACK


def test_no_port_is_given_twice() -> None:
    ports = free_ports(20) + free_ports(20)
    assert len(set(ports)) == 40


def test_the_ports_are_free() -> None:
    for port in free_ports(5):
        with socket.socket() as listener:
            listener.bind((LOOPBACK, port))
