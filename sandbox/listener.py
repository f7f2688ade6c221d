"""A listening socket and a task per client, none of which outlives it.

Not asyncio's own server: a task of it that is cancelled before its first step closes nothing,
and the process then ends with a warning of a socket left open.
"""

import asyncio
import socket
from collections.abc import Callable, Coroutine

BACKLOG = 512
Serve = Callable[[socket.socket], Coroutine[None, None, None]]


class Listener:
    """`start()` listens on loopback; each client is handed to `serve`, its socket closed after."""

    def __init__(self, serve: Serve, port: int = 0) -> None:
        self._serve = serve
        self.port = port
        """The port; a free one is taken at the start where it is 0."""
        self._listening: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Listen; in the loop that is to serve."""
        self._listening = socket.create_server(("127.0.0.1", self.port), backlog=BACKLOG)
        self._listening.setblocking(False)
        self.port = self._listening.getsockname()[1]
        # Not sock_accept(): cancelled in the turn in which it accepts, it loses the connection.
        asyncio.get_running_loop().add_reader(self._listening, self._accept, self._listening)

    async def stop(self) -> None:
        """Listen no longer, and end all conversations."""
        if self._listening:
            asyncio.get_running_loop().remove_reader(self._listening)
            self._listening.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, listening: socket.socket) -> None:
        try:
            connection, _ = listening.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # the client left before it was let in
        connection.setblocking(False)
        # asyncio does it only for sockets it made; without, each answer waits 40 ms for an ACK.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task = asyncio.get_running_loop().create_task(self._serve(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # After the transport's own farewell, if the task came to make one.
        task.add_done_callback(lambda _: connection.close())
