"""A visit's own process: it takes asks until the daemon closes or kills it."""

import resource
import socket
import ssl
import time
from pathlib import Path

from core.clock import monotonic_s
from core.clusters.connection import steps, wire
from core.clusters.connection.client import CURE_LARGE, KubeClient, read_credentials
from core.clusters.connection.fetch import ExecTransport, ProxyTransport, Transport
from core.clusters.connection.trouble import Trouble, short

PAUSE_S = 0.5
"""Before the first retry; each further one waits twice as long."""
MEMORY_SPARE_BYTES = 96 * 1024 * 1024
"""What a visit may take beyond what it began with and three copies of the largest answer."""


def warm() -> None:
    """Pay once, before any fork, for what the first TLS context costs."""
    ssl.create_default_context()


def run(line: socket.socket) -> None:
    """Serve one visit; returns when the daemon's end is closed."""
    try:
        opening = wire.receive_order(line)
        assert isinstance(opening, wire.Open)
        errand = Errand(line, opening)
        while True:
            order = wire.receive_order(line)
            _limit_memory(opening.size_max_bytes)
            errand.serve(order)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def _limit_memory(size_max_bytes: int) -> None:
    """Set a backstop for what no size check sees, such as one endless websocket frame."""
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = taken + 3 * size_max_bytes + MEMORY_SPARE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))


class Errand:
    def __init__(self, line: socket.socket, opening: wire.Open) -> None:
        self._line, self._opening = line, opening
        self._client: KubeClient | None = None
        self._transport: Transport | None = None

    def serve(self, order: wire.ToChild) -> None:
        """Answer one order; a fault goes back as a message and leaves the visit usable."""
        try:
            if isinstance(order, wire.Ask):
                body = self._get(order.path, monotonic_s() + order.answer_s)
                wire.send_answer(self._line, body)
            elif isinstance(order, wire.Check):
                self._check(monotonic_s() + order.answer_s)
        except Trouble as problem:
            self._report(problem)
        except MemoryError:
            # The report needs some, and what filled it is freed only when this handler ends.
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
            message = "the answer is larger than a visit may hold, and was not read on."
            self._report(Trouble(self._opening.transport, message, CURE_LARGE))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            raise
        except Exception as error:  # noqa: BLE001 -- the edge of a process: a bug must reach the daemon as a fault
            self._report(Trouble("visit", _bug(error), "Please report this."))

    def _get(self, path: str, deadline_s: float) -> bytes | bytearray:
        pause_s = PAUSE_S
        for tries_left in range(self._opening.retries_max, -1, -1):
            try:
                return self._once(path, deadline_s)
            except Trouble as problem:
                last = tries_left == 0 or monotonic_s() + pause_s >= deadline_s
                if last or not problem.transient:
                    raise
                if self._transport:
                    self._transport.forget()
            time.sleep(pause_s)
            pause_s *= 2
        raise AssertionError("the last try returns or raises")

    def _once(self, path: str, deadline_s: float) -> bytes | bytearray:
        if self._transport is None:
            kind = ExecTransport if self._opening.transport == "exec" else ProxyTransport
            self._transport = kind(self._open_client(), self._opening)
        return self._transport.get(path, deadline_s)

    def _open_client(self) -> KubeClient:
        if self._client is None:
            self._announce("kubeconfig")
            credentials = read_credentials(self._opening.kubeconfig)
            self._client = KubeClient(credentials, self._opening.connect_s, self._announce)
        return self._client

    def _announce(self, step: str) -> None:
        wire.send(self._line, wire.Step(step))

    def _check(self, deadline_s: float) -> None:
        walk = steps.Walk(self._opening, self._open_client, deadline_s)
        for found in walk.steps():
            wire.send(self._line, found)
        wire.send(self._line, wire.Done())

    def _report(self, problem: Trouble) -> None:
        hide = self._client.hide if self._client else short
        fault = wire.Fault(problem.step, hide(problem.message), problem.cure, problem.timeout)
        wire.send(self._line, fault)


def _bug(error: Exception) -> str:
    """Say where, never what: the text of a foreign exception may quote a header with a token."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    where = f"{trace.tb_frame.f_code.co_qualname}:{trace.tb_lineno}" if trace else "?"
    return f"an unforeseen {type(error).__name__} at {where}."
