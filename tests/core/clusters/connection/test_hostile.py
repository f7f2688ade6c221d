"""An API server that means us ill, or one that broke in an unheard-of way."""

import base64
import contextlib
import hashlib
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Self

import pytest

from core.clusters.connection import ClusterAccess, Launcher, Transport, VisitLimits, visit
from core.errors import ClusterFault
from core.secret import Secret
from sandbox.kube.authority import Authority

LIMITS = VisitLimits(answer_s=20, retries_max=0, size_max_bytes=1024 * 1024)
BOTH = pytest.mark.parametrize("transport", ["exec", "proxy"])
POD = {
    "metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z"},
    "spec": {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 9003}]}]},
    "status": {"conditions": [{"type": "Ready", "status": "True"}]},
}

Answer = Callable[[ssl.SSLSocket, bytes], None]


class Hostile:
    """Lists one pod and tells its version as a good server does; all else is as it was told."""

    def __init__(self, answer: Answer) -> None:
        self.heads: list[bytes] = []
        self._answer = answer
        self._authority = Authority("hostile")
        self._context = self._authority.server_context()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)

    def access(self, transport: Transport) -> ClusterAccess:
        cluster = {
            "server": f"https://127.0.0.1:{self.port}",
            "certificate-authority-data": base64.b64encode(self._authority.pem).decode(),
        }
        users = [{"user": {"token": "very-secret-token"}}]
        document = {"clusters": [{"cluster": cluster}], "users": users}
        return ClusterAccess("eu-1", Secret(json.dumps(document)), transport)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):  # the listener was closed: the test is over
            while True:
                plain, _ = self._listener.accept()
                with contextlib.suppress(OSError), plain:
                    self._converse(self._context.wrap_socket(plain, server_side=True))

    def _converse(self, connection: ssl.SSLSocket) -> None:
        with connection:
            head = _head(connection)
            self.heads.append(head)
            if b"/pods?" in head:
                connection.sendall(_http(200, json.dumps({"items": [POD]}).encode()))
            elif b"GET /version " in head:
                connection.sendall(_http(200, b"{}"))
            else:
                self._answer(connection, head)


def _head(connection: ssl.SSLSocket) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        if not byte:
            return b""
        head += byte
    return head


def _http(status: int, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _upgrade(connection: ssl.SSLSocket, head: bytes) -> None:
    key = head.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
    digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11", usedforsecurity=False)
    accept = base64.b64encode(digest.digest()).decode()
    connection.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Protocol: v5.channel.k8s.io\r\n"
        b"Sec-WebSocket-Accept: " + accept.encode() + b"\r\n\r\n"
    )


@contextlib.contextmanager
def hostile(answer: Answer) -> Iterator[Hostile]:
    with Hostile(answer) as server:
        yield server


def fault_of(launcher: Launcher, to: ClusterAccess) -> str:
    with visit(to, LIMITS, launcher) as reach, pytest.raises(ClusterFault) as raised:
        reach.get("/healthz")
    return str(raised.value)


def test_one_endless_frame_fills_no_memory(launcher: Launcher) -> None:
    def endless(connection: ssl.SSLSocket, head: bytes) -> None:
        _upgrade(connection, head)
        connection.sendall(b"\x82\x7f" + (1 << 40).to_bytes(8, "big") + b"\x01")
        while True:
            connection.sendall(bytes(1 << 20))

    with hostile(endless) as server:
        assert "larger than a visit may hold" in fault_of(launcher, server.access("exec"))


def test_an_endless_body_is_not_read_on(launcher: Launcher) -> None:
    def endless(connection: ssl.SSLSocket, _: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            connection.sendall(b"10000\r\n" + bytes(0x10000) + b"\r\n")

    with hostile(endless) as server:
        told = fault_of(launcher, server.access("proxy"))
        assert "larger than 1 MiB" in told
        assert "answer_max_mib" in told


@BOTH
def test_no_redirect_is_followed_so_no_token_goes_astray(
    launcher: Launcher, transport: Transport
) -> None:
    with hostile(lambda connection, _: connection.sendall(_http(200))) as other:

        def elsewhere(connection: ssl.SSLSocket, _: bytes) -> None:
            connection.sendall(_http(307, b"", f"Location: https://127.0.0.1:{other.port}/x"))

        with hostile(elsewhere) as server:
            assert fault_of(launcher, server.access(transport))
        assert not other.heads


@BOTH
def test_a_token_that_comes_back_is_not_shown(launcher: Launcher, transport: Transport) -> None:
    body = json.dumps({"kind": "Status", "message": "bad very-secret-token"}).encode()
    with hostile(lambda connection, _: connection.sendall(_http(403, body))) as server:
        said = fault_of(launcher, server.access(transport))
    assert "bad (token)" in said
    assert "secret" not in said


@BOTH
@pytest.mark.parametrize(
    "nonsense",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.9\r\n\r\n",
        b"HTTP/1.1 999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
    ],
)
def test_nonsense_is_a_fault_with_a_step(
    launcher: Launcher, transport: Transport, nonsense: bytes
) -> None:
    with hostile(lambda connection, _: connection.sendall(nonsense)) as server:
        said = fault_of(launcher, server.access(transport))
    assert said.startswith("eu-1, ")
    assert "unforeseen" not in said
