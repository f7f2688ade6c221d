"""Tests speak to loopback only: anything else fails the test that tries."""

import ipaddress
import socket
from typing import Any

import pytest

_LOCAL_NAMES = ("localhost", ".localhost")


def guard(patch: pytest.MonkeyPatch) -> None:
    """Make connecting, sending and looking up names outside loopback fail, in every thread.

    `pytest.fail` raises what is no Exception, so code that takes a dead network in its stride
    cannot swallow it.
    """
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex
    look_up = socket.getaddrinfo

    def guarded_connect(self: socket.socket, address: Any) -> None:
        _require_local(self.family, address)
        connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:
        _require_local(self.family, address)
        return connect_ex(self, address)

    def guarded_look_up(host: Any, *rest: Any, **named: Any) -> Any:
        if host:
            _require_host(host)
        return look_up(host, *rest, **named)

    patch.setattr(socket.socket, "connect", guarded_connect)
    patch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
    patch.setattr(socket, "getaddrinfo", guarded_look_up)


def _require_local(family: int, address: Any) -> None:
    if family in {socket.AF_INET, socket.AF_INET6}:
        _require_host(address[0])


def _require_host(host: str | bytes) -> None:
    name = host.decode() if isinstance(host, bytes) else host
    if name.endswith(_LOCAL_NAMES):
        return
    try:
        if ipaddress.ip_address(name.partition("%")[0]).is_loopback:
            return
    except ValueError:
        pass  # another name: its look-up alone would leave the machine
    pytest.fail(f"a test tried to reach {name}; tests speak to loopback only")
