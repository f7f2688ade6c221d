"""One connection of HTTP/1.1 for a listener of few words: a request, its answer, the next request.

The parser is llhttp, by httptools; what stands here are limits, and the order of answers. A framework
between the socket and the commit would cost half of what the endpoint can take (docs/performance.md).
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import httptools

from core.clock import monotonic_s

HEAD_BYTES_MAX: Final = 16 * 1024
REQUEST_MAX_S: Final = 10.0
"""From a request's first byte to its last: who dribbles holds a place no longer."""
IDLE_MAX_S: Final = 75.0
"""Between two requests; longer than proxies keep a line, so that it is they who close it."""
LINGER_MAX_S: Final = 2.0
"""After a refusal: closed at once, what is still being sent would wipe the answer out."""
SWEEP_S: Final = 1.0
REASONS: Final = {
    200: b"OK",
    204: b"No Content",
    400: b"Bad Request",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    413: b"Content Too Large",
    431: b"Request Header Fields Too Large",
    503: b"Service Unavailable",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered; an empty `said` with 204 has no body at all."""

    status: int
    said: str = ""
    more: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(slots=True)
class Request:
    """One request, whole; names of headers are in small letters, and the last of a name counts."""

    method: bytes = b""
    path: bytes = b""
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""


Take = Callable[[Request, Callable[[Answer], None]], None]
"""Takes a whole request, and calls back, once, with its answer; in the loop, now or later."""


class Lines:
    """The open lines of a listener. `body_max`: how much of a body is read.

    `refused` is told what a line answered by itself, before a request was whole.
    """

    def __init__(
        self, take: Take, refused: Callable[[Answer], None], *, body_max: int, lines_max: int
    ) -> None:
        self.take, self.refused = take, refused
        self.body_max, self.lines_max = body_max, lines_max
        self.open: set[Line] = set()
        self._sweep = asyncio.get_running_loop().call_later(SWEEP_S, self._end_old)

    def make(self) -> "Line":
        return Line(self)

    def make_room(self) -> bool:
        """End the line whose time would be over first; False where all wait for an answer of ours.

        Who holds lines open and sends nothing whole keeps nobody out that way.
        """
        idle = [line for line in self.open if not line.is_owed]
        if not idle:
            return False
        first = min(idle, key=lambda line: line.until_s)
        self.open.discard(first)
        first.abort()
        return True

    def close(self) -> None:
        """End all of them."""
        self._sweep.cancel()
        for line in list(self.open):
            line.close()

    def _end_old(self) -> None:
        now_s = monotonic_s()
        for line in list(self.open):
            line.end_if_late(now_s)
        self._sweep = asyncio.get_running_loop().call_later(SWEEP_S, self._end_old)


class Line(asyncio.Protocol):
    """The transport calls it from outside, and the parser from within `data_received`."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._request = Request()
        self._url = b""
        self._parts: list[bytes] = []
        self._size = self._head = self._seen = self._unseen = 0
        self._begun = self._answering = self._refused = self._last = False
        self._until_s = monotonic_s() + REQUEST_MAX_S

    @property
    def is_owed(self) -> bool:
        """Whether a whole request of it waits for its answer."""
        return self._answering

    @property
    def until_s(self) -> float:
        """When its time is over, by the monotonic clock."""
        return self._until_s

    def abort(self) -> None:
        """End it at once."""
        if self._transport is not None:
            self._transport.abort()

    # ── the transport's side ────────────────────────────────────────────────────────────────

    def connection_made(self, transport: Any) -> None:
        """Take a line up, unless there are too many that wait for answers."""
        self._transport = transport
        if len(self._lines.open) >= self._lines.lines_max and not self._lines.make_room():
            transport.write(_bytes(Answer(503, "Too many lines are open; come again."), last=True))
            transport.close()
        self._lines.open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._lines.open.discard(self)
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """Read on; what is no HTTP ends the line."""
        if self._refused:
            return
        if self._answering:
            # A second request before the first was answered is not read: who sent it sees the line
            # close after the first answer, and sends it again.
            self._last = True
            return
        seen, begun = self._seen, self._begun
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError:
            raise
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as fault:
            self._end_after(fault)
            return
        self._limit_unseen(len(data) if begun and self._seen == seen else 0)

    def _limit_unseen(self, size: int) -> None:
        """Refuse what the parser gathers and shows us no part of: a header, or a trailer, without end.

        It shows a header when it is over, and until then would keep as much of it as comes.
        """
        self._unseen = self._unseen + size if size else 0
        if self._unseen > HEAD_BYTES_MAX:
            self._refuse(_HEAD_TOO_LARGE)

    def _end_after(self, fault: Exception) -> None:
        """What follows is no request: first comes the answer to the one before it, if one is owed.

        Who wishes for another protocol has his request answered, and no other protocol.
        """
        if self._answering:
            self._last = True
        elif isinstance(fault, httptools.HttpParserUpgrade):
            self.close()
        else:
            self._refuse(Answer(400, "That is no HTTP/1.1 request."))

    def eof_received(self) -> bool:
        """Keep a line that was half closed until its answer is out."""
        return self._answering

    def pause_writing(self) -> None:
        """Read nothing more of one who does not read our answers: they would gather here."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def close(self) -> None:
        """End it once its answers are out; where that was asked for before, at once."""
        if self._transport is None:
            return
        if self._transport.is_closing():
            self._transport.abort()
        else:
            self._transport.close()

    def end_if_late(self, now_s: float) -> None:
        """End a line whose time is over; one that waits for our answer has as long as that takes."""
        if self._answering or now_s < self._until_s:
            return
        if self._begun and not self._refused:
            self._refuse(Answer(408, f"The request did not come within {REQUEST_MAX_S:g} s."))
        else:
            self.close()

    # ── the parser's side ───────────────────────────────────────────────────────────────────

    @property
    def _deaf(self) -> bool:
        """Whether what the parser reads is none of the request that is to be taken next."""
        return self._answering or self._refused

    def on_message_begin(self) -> None:
        """Begin a request, unless one waits for its answer: then this line ends with that."""
        self._seen += 1
        if self._deaf:
            self._last = True
            return
        self._request, self._parts, self._url = Request(), [], b""
        self._size = self._head = 0
        self._begun, self._until_s = True, monotonic_s() + REQUEST_MAX_S

    def on_url(self, url: bytes) -> None:
        self._seen += 1
        if not self._deaf:
            self._url += url
            self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._seen += 1
        if not self._deaf:
            self._request.headers[name.lower()] = value
            self._count_head(len(name) + len(value))

    def on_headers_complete(self) -> None:
        """Refuse at once what says itself that it is too large."""
        said = self._request.headers.get(b"content-length", b"")
        if not self._deaf and said.isdigit() and int(said[:20]) > self._lines.body_max:
            self._refuse(self._too_large())

    def on_body(self, body: bytes) -> None:
        """Keep a part of a body; the whole has a limit."""
        self._seen += 1
        if self._deaf:
            return
        self._size += len(body)
        if self._size > self._lines.body_max:
            self._refuse(self._too_large())
        else:
            self._parts.append(body)

    def on_message_complete(self) -> None:
        """Hand the request over; until it is answered nothing more is read."""
        if self._deaf:
            return
        request = self._request
        request.method = self._parser.get_method()
        request.path = self._url.partition(b"?")[0]
        request.body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._last = not self._parser.should_keep_alive()
        self._begun, self._answering = False, True
        self._lines.take(request, self._answer)

    def _count_head(self, size: int) -> None:
        self._head += size
        if self._head > HEAD_BYTES_MAX:
            self._refuse(_HEAD_TOO_LARGE)

    def _too_large(self) -> Answer:
        return Answer(413, f"The body is larger than {self._lines.body_max} bytes.")

    # ── answers ─────────────────────────────────────────────────────────────────────────────

    def _answer(self, answer: Answer) -> None:
        """Write the answer to what was asked last; the line goes on if both sides want it to."""
        self._answering = False
        if self._transport is None or self._transport.is_closing():
            return
        bare = self._request.method == b"HEAD"
        self._transport.write(_bytes(answer, last=self._last, bare=bare))
        if self._last:
            self._transport.close()
        else:
            self._until_s = monotonic_s() + IDLE_MAX_S

    def _refuse(self, answer: Answer) -> None:
        """Answer before all of a request was read; the rest is read and thrown away."""
        if self._refused or self._transport is None:
            return
        self._refused = True
        self._lines.refused(answer)
        self._until_s = monotonic_s() + LINGER_MAX_S
        self._transport.write(_bytes(answer, last=True))
        if self._transport.can_write_eof():
            self._transport.write_eof()


def _bytes(answer: Answer, *, last: bool, bare: bool = False) -> bytes:
    if answer.status == 204 and not last and not answer.more:
        return _NOTHING_MORE
    body = f"{answer.said}\n".encode() if answer.said else b""
    lines = [b"HTTP/1.1 %d %s" % (answer.status, REASONS[answer.status])]
    lines += [b"%s: %s" % pair for pair in answer.more]
    if body:
        lines.append(b"content-type: text/plain; charset=utf-8")
    if answer.status != 204:
        lines.append(b"content-length: %d" % len(body))
    if last:
        lines.append(b"connection: close")
    return b"\r\n".join((*lines, b"", b"" if bare else body))


_HEAD_TOO_LARGE: Final = Answer(431, f"The head is larger than {HEAD_BYTES_MAX} bytes.")
_NOTHING_MORE: Final = b"HTTP/1.1 204 No Content\r\n\r\n"
