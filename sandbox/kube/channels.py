"""The websocket of exec: channels in the first byte of each frame, v5 and v4."""

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import datetime
from email.utils import format_datetime

from websockets.exceptions import NegotiationError
from websockets.http11 import Request as Handshake
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from sandbox.wire import Request, hang_up

V5, V4 = Subprotocol("v5.channel.k8s.io"), Subprotocol("v4.channel.k8s.io")
STDOUT, STDERR, ERROR = 1, 2, 3
FRAME_BYTES = 32 * 1024
READ_BYTES = 64 * 1024
GOODBYE_S = 2.0
"""How long the server waits for the client's half of the closing handshake."""


class Channels:
    """One exec connection, after its HTTP request was let through."""

    def __init__(
        self,
        request: Request,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        offered: Sequence[Subprotocol],
    ) -> None:
        self._reader, self._writer = reader, writer
        self._protocol = ServerProtocol(
            subprotocols=offered, select_subprotocol=_select, max_size=1024 * 1024
        )
        self._request = request

    @property
    def subprotocol(self) -> str | None:
        return self._protocol.subprotocol

    async def open(self, at: datetime) -> bool:
        """Answer the handshake; False when the two sides share no subprotocol."""
        # Without its URL: that is routed already, and longer than the library's limit on lines.
        self._protocol.receive_data(b"GET / HTTP/1.1\r\n" + self._request.head.split(b"\r\n", 1)[1])
        for event in self._protocol.events_received():
            if isinstance(event, Handshake):
                response = self._protocol.accept(event)
                del response.headers["Date"]
                response.headers["Date"] = format_datetime(at, usegmt=True)
                self._protocol.send_response(response)
        await self._flush()
        return self._protocol.state is State.OPEN

    async def send(self, channel: int, data: bytes) -> None:
        """Send data in frames of at most 32 kB, as a real server does; empty makes one frame."""
        prefix = bytes([channel])
        for start in range(0, max(len(data), 1), FRAME_BYTES):
            self._protocol.send_binary(prefix + data[start : start + FRAME_BYTES])
            await self._flush()

    async def until_client_leaves(self) -> None:
        """Read what the client sends (pings, the close of stdin) until it goes."""
        with contextlib.suppress(ConnectionError):
            while self._protocol.state is not State.CLOSED:
                data = await self._reader.read(READ_BYTES)
                if not data:
                    return
                self._protocol.receive_data(data)
                self._protocol.events_received()
                await self._flush()
                if self._protocol.close_rcvd is not None:
                    return

    async def close(self, listening: "asyncio.Task[None]") -> None:
        """Say goodbye and wait a little for the answer."""
        with contextlib.suppress(ConnectionError):
            if self._protocol.state is State.OPEN:
                self._protocol.send_close(1000)
                await self._flush()
            await asyncio.wait([listening], timeout=GOODBYE_S)

    async def cut(self) -> None:
        await hang_up(self._writer)

    async def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._writer.write(data)
        await self._writer.drain()


def _select(protocol: ServerProtocol, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    for ours in protocol.available_subprotocols or ():
        if ours in offered:
            return ours
    raise NegotiationError("unable to upgrade: no subprotocol in common")
