"""What a visit's two processes say to each other, in frames, each wait with a deadline.

A frame is 8 bytes of length and a message; an `Answer` is followed by its bytes as they are, so
that an answer of megabytes is never encoded. Messages are plain records (no pickle): the process
that reads what a cluster sends must not be able to make the daemon run anything.
"""

import socket
import struct

import msgspec

from core.clock import monotonic_s

READY = b"ready"
"""What the fork server says when it can fork, and with each descriptor it passes."""

_LENGTH = struct.Struct(">Q")
MESSAGE_MAX_BYTES = 4 * 1024 * 1024
CHUNK_BYTES = 1024 * 1024


class Open(msgspec.Struct, frozen=True, tag=True):
    """The first message to the child: where to go. It holds secrets; it has no use in a log."""

    cluster: str
    kubeconfig: bytes
    transport: str
    namespace: str
    selector: str
    container: str | None
    port: int
    service: str
    connect_s: float
    size_max_bytes: int
    retries_max: int

    def __repr__(self) -> str:
        return f"Open({self.cluster!r})"


class Ask(msgspec.Struct, frozen=True, tag=True):
    path: str
    answer_s: float


class Check(msgspec.Struct, frozen=True, tag=True):
    answer_s: float


class Step(msgspec.Struct, frozen=True, tag=True):
    """The child begins a step; should it hang there, the parent can say where."""

    name: str


class Answer(msgspec.Struct, frozen=True, tag=True):
    size: int


class Fault(msgspec.Struct, frozen=True, tag=True):
    step: str
    message: str
    cure: str
    timeout: bool


class Found(msgspec.Struct, frozen=True, tag=True):
    """One step of a check is done."""

    name: str
    outcome: str
    saw: str
    cure: str


class Done(msgspec.Struct, frozen=True, tag=True):
    """The check is done."""


ToChild = Open | Ask | Check
ToParent = Step | Answer | Fault | Found | Done

_encoder = msgspec.msgpack.Encoder()
_to_child: msgspec.msgpack.Decoder[ToChild] = msgspec.msgpack.Decoder(ToChild)
_to_parent: msgspec.msgpack.Decoder[ToParent] = msgspec.msgpack.Decoder(ToParent)


def send(sock: socket.socket, message: ToChild | ToParent) -> None:
    data = _encoder.encode(message)
    sock.sendall(_LENGTH.pack(len(data)) + data)


def send_answer(sock: socket.socket, body: bytes | bytearray) -> None:
    send(sock, Answer(len(body)))
    sock.sendall(body)


def receive_order(sock: socket.socket) -> ToChild:
    """Wait for the parent's next message; EOFError once it is gone."""
    return _to_child.decode(_frame(sock, None))


def receive_report(sock: socket.socket, deadline_s: float) -> ToParent:
    """Wait for the child's next message; TimeoutError at the deadline, EOFError if it is gone."""
    return _to_parent.decode(_frame(sock, deadline_s))


def receive_body(sock: socket.socket, size: int, deadline_s: float) -> bytes:
    return _exactly(sock, size, deadline_s)


def _frame(sock: socket.socket, deadline_s: float | None) -> bytes:
    (size,) = _LENGTH.unpack(_exactly(sock, _LENGTH.size, deadline_s))
    if size > MESSAGE_MAX_BYTES:
        raise EOFError("a message longer than any that we send")
    return _exactly(sock, size, deadline_s)


def _exactly(sock: socket.socket, size: int, deadline_s: float | None) -> bytes:
    chunks: list[bytes] = []
    missing = size
    while missing:
        if deadline_s is not None:
            left_s = deadline_s - monotonic_s()
            if left_s <= 0:
                raise TimeoutError
            sock.settimeout(left_s)
        chunk = sock.recv(min(missing, CHUNK_BYTES))
        if not chunk:
            raise EOFError
        chunks.append(chunk)
        missing -= len(chunk)
    return b"".join(chunks)
