"""Presses an endpoint: a few connections, each with its next request as soon as it was answered.

    python -m tests.bench.presser HOST PORT PATH CONNECTIONS COUNT PREFIX

One loop over raw sockets and requests that were signed before it begins, so that what is measured is
the endpoint and not its client. Prints one line of JSON: seconds, statuses, quantiles in ms.
"""

import json
import selectors
import socket
import sys
from collections import Counter
from collections.abc import Iterator
from time import perf_counter
from typing import Any

from tests.core.webhooks.sender import bytes_of, signature, snapshot

PATIENCE_S = 30.0
READ_BYTES = 65_536
LAST_CHUNK = b"0\r\n\r\n"
PADDING = {"description": "x" * 60, "lines": [{"id": f"il_{n}", "amount": n} for n in range(80)]}
"""An invoice's event has some three kilobytes."""


def requests(host: str, path: str, count: int, prefix: str) -> list[bytes]:
    """Return whole requests, each of an event of its own, signed with the tests' secret."""
    invoice = {"id": "in_1", "object": "invoice", "customer": "cus_1", **PADDING}
    made = []
    for number in range(count):
        body = bytes_of(snapshot(f"evt_{prefix}{number}", thing=invoice))
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nStripe-Signature: {signature(body)}\r\n\r\n"
        )
        made.append(head.encode() + body)
    return made


class _Line:
    """One connection: what was sent last, when, and what has come back of the answer."""

    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port), timeout=PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.answer = b""
        self.sent_s = 0.0

    def send(self, request: bytes) -> None:
        self.answer, self.sent_s = b"", perf_counter()
        self.socket.sendall(request)

    def read(self) -> int | None:
        """Return the status once the whole answer is there."""
        more = self.socket.recv(READ_BYTES)
        assert more, "it hung up"
        self.answer += more
        head, end, body = self.answer.partition(b"\r\n\r\n")
        if not end:
            return None
        status = int(head[9:12])
        if b"transfer-encoding: chunked" in head.lower():
            return status if body.endswith(LAST_CHUNK) else None
        length = 0 if status == 204 else _length(head)
        return status if len(body) >= length else None


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line[15:])
    return 0


def press(host: str, port: int, path: str, connections: int, count: int, prefix: str) -> Any:
    """Send `count` events over `connections`; return what came of it."""
    left: Iterator[bytes] = iter(requests(host, path, count, prefix))
    statuses: Counter[int] = Counter()
    took_s: list[float] = []
    with selectors.DefaultSelector() as selector:
        begun_s = perf_counter()
        open_lines = 0
        for request in (request for _, request in zip(range(connections), left, strict=False)):
            line = _Line(host, port)
            selector.register(line.socket, selectors.EVENT_READ, line)
            line.send(request)
            open_lines += 1
        while open_lines:
            ready = selector.select(PATIENCE_S)
            assert ready, "no answer came"
            for key, _ in ready:
                status = key.data.read()
                if status is None:
                    continue
                took_s.append(perf_counter() - key.data.sent_s)
                statuses[status] += 1
                request_next = next(left, None)
                if request_next is None:
                    selector.unregister(key.data.socket)
                    key.data.socket.close()
                    open_lines -= 1
                else:
                    key.data.send(request_next)
        whole_s = perf_counter() - begun_s
    took_s.sort()
    return {
        "seconds": whole_s,
        "per_s": count / whole_s,
        "statuses": dict(statuses),
        "p50_ms": took_s[len(took_s) // 2] * 1000,
        "p99_ms": took_s[int(len(took_s) * 0.99)] * 1000,
        "max_ms": took_s[-1] * 1000,
    }


if __name__ == "__main__":
    _, given_host, given_port, given_path, lines, events, name = sys.argv
    result = press(given_host, int(given_port), given_path, int(lines), int(events), name)
    sys.stdout.write(json.dumps(result) + "\n")
