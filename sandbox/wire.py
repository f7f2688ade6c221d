"""As much HTTP/1.1 as the sandbox's servers need, over asyncio streams.

Written by hand because faults live here: an answer that breaks off after so many bytes, a
connection that says nothing. A web framework hides exactly that.
"""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime
from http import HTTPStatus
from urllib.parse import parse_qs, unquote, urlsplit

from sandbox.listener import Listener

HEAD_BYTES_MAX = 256 * 1024
"""Exec requests carry their argv in the URL; 7 kB were seen to pass a real server."""
BODY_BYTES_MAX = 4 * 1024 * 1024
WRITE_BYTES = 256 * 1024


class Broken(Exception):
    """What the client sent is no HTTP request that this server understands."""


@dataclass(frozen=True)
class Request:
    method: str
    target: str
    headers: Mapping[str, str]
    head: bytes = field(repr=False)
    body: bytes = b""

    @property
    def path(self) -> str:
        return unquote(urlsplit(self.target).path)

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query, keep_blank_values=True)

    def first(self, name: str, default: str = "") -> str:
        return self.query.get(name, [default])[0]

    @property
    def upgrades_to_websocket(self) -> bool:
        return self.headers.get("upgrade", "").lower() == "websocket"


@dataclass(frozen=True)
class Response:
    status: int
    body: bytes
    content_type: str = "application/json"
    cut_after_bytes: int | None = None
    """Send only so much of the body, then break the connection."""
    headers: Mapping[str, str] = field(default_factory=dict)
    silent: bool = False
    """Say nothing at all, and break the connection."""


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    """Return the next request of a connection, None when the client has left."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
        return None
    lines = head.decode("latin-1").split("\r\n")
    try:
        method, target, _version = lines[0].split(" ")
        pairs = [line.split(":", 1) for line in lines[1:] if line]
        headers = {name.strip().lower(): value.strip() for name, value in pairs}
        length = int(headers.get("content-length", "0"))
    except ValueError:
        raise Broken(lines[0][:80]) from None
    if length > BODY_BYTES_MAX:
        raise Broken(f"a body of {length} bytes")
    body = await reader.readexactly(length) if length else b""
    return Request(method, target, headers, head, body)


async def write_response(writer: asyncio.StreamWriter, response: Response, at: datetime) -> bool:
    """Send a response; False when the connection was broken on purpose."""
    if response.silent:
        await hang_up(writer)
        return False
    more = "".join(f"{name}: {value}\r\n" for name, value in response.headers.items())
    head = (
        f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}\r\n"
        f"Date: {format_datetime(at, usegmt=True)}\r\n"
        f"Content-Type: {response.content_type}\r\n"
        f"{more}"
        f"Content-Length: {len(response.body)}\r\n\r\n"
    )
    writer.write(head.encode("latin-1"))
    body = memoryview(response.body)
    if response.cut_after_bytes is not None:
        body = body[: response.cut_after_bytes]
    for start in range(0, len(body), WRITE_BYTES):
        writer.write(body[start : start + WRITE_BYTES])
        await writer.drain()
    await writer.drain()
    if response.cut_after_bytes is None:
        return True
    await hang_up(writer)
    return False


async def hang_up(writer: asyncio.StreamWriter) -> None:
    """Break a connection as a dying server does: no goodbye."""
    # What was written before should still arrive; abort() throws away what the socket has not
    # taken yet.
    with contextlib.suppress(ConnectionError):
        await writer.drain()
    writer.transport.abort()


Handler = Callable[[Request], Awaitable[Response]]


def plain_server(handler: Handler, now: Callable[[], datetime]) -> Listener:
    """Return what serves plain HTTP on a free loopback port once it is started."""

    async def converse(connection: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=connection, limit=HEAD_BYTES_MAX)
        try:
            while request := await read_request(reader):
                if not await write_response(writer, await handler(request), now()):
                    break
        except (Broken, ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    return Listener(converse)
