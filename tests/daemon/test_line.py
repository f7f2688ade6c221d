"""A line of HTTP/1.1: one answer for each request, in order, and limits for all that comes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest

from daemon.web import line
from daemon.web.line import Answer, Lines, Request

BODY_MAX = 1_000
LIMIT_S = 10.0
PAUSE_S = 0.1


@dataclass
class Taker:
    """Takes requests, and answers 200 with the body; `held` waits for `release`."""

    taken: list[Request] = field(default_factory=list)
    refused: list[Answer] = field(default_factory=list)
    hold: bool = False
    held: list[Callable[[], None]] = field(default_factory=list)

    async def has_taken(self, count: int) -> None:
        """Wait until so many requests came."""
        for _ in range(int(LIMIT_S / 0.01)):
            if len(self.taken) >= count:
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"{len(self.taken)} requests of {count} came")

    def take(self, request: Request, answer: Callable[[Answer], None]) -> None:
        self.taken.append(request)

        def go() -> None:
            answer(Answer(200, request.body.decode() or "nothing"))

        if self.hold:
            self.held.append(go)
        else:
            go()


@dataclass
class Client:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, text: str) -> None:
        self.writer.write(text.encode())

    def post(self, body: str, *headers: str) -> None:
        head = "\r\n".join(("POST /x?y=1 HTTP/1.1", f"Content-Length: {len(body)}", *headers))
        self.send(f"{head}\r\n\r\n{body}")

    async def read(self) -> tuple[int, str]:
        """Return the next answer: its status and what it says."""
        async with asyncio.timeout(LIMIT_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = head.partition("content-length: ")[2].partition("\r\n")[0]
            said = await self.reader.readexactly(int(length or 0))
        return int(head[9:12]), said.decode().strip()

    async def rest(self) -> bytes:
        async with asyncio.timeout(LIMIT_S):
            return await self.reader.read()


@dataclass
class Place:
    port: int
    taker: Taker

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield Client(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    taker = Taker()
    lines = Lines(taker.take, taker.refused.append, body_max=BODY_MAX, lines_max=4)
    server = await asyncio.get_running_loop().create_server(lines.make, "127.0.0.1", 0)
    yield Place(server.sockets[0].getsockname()[1], taker)
    server.close()
    lines.close()
    await asyncio.sleep(0)


async def test_a_line_takes_one_request_after_the_other(place: Place) -> None:
    async with place.client() as client:
        for body in ("one", "two", ""):
            client.post(body, "X-Name: value")
            assert await client.read() == (200, body or "nothing")
        client.send("POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nfou\r\n1\r\nr\r\n")
        client.send("0\r\n\r\n")
        assert await client.read() == (200, "four")
    first = place.taker.taken[0]
    assert (first.method, first.path, first.headers[b"x-name"]) == (b"POST", b"/x", b"value")


async def test_a_body_that_comes_in_drops_is_taken_whole(place: Place) -> None:
    async with place.client() as client:
        for letter in "POST /x HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc":
            client.send(letter)
            await asyncio.sleep(0)
        assert await client.read() == (200, "abc")


async def test_a_request_before_the_last_was_answered_ends_the_line_after_that_answer(
    place: Place,
) -> None:
    place.taker.hold = True
    async with place.client() as client:
        client.post("one")
        client.post("two")
        await asyncio.sleep(PAUSE_S)
        client.post("three")
        await asyncio.sleep(PAUSE_S)
        assert [request.body for request in place.taker.taken] == [b"one"]
        place.taker.held.pop()()
        assert await client.read() == (200, "one")
        assert await client.rest() == b""


@pytest.mark.parametrize("hold", [False, True])
@pytest.mark.parametrize("more", ["", "nonsense\r\n\r\n"])
async def test_a_wish_for_another_protocol_is_answered_in_this_one(
    place: Place, hold: bool, more: str
) -> None:
    place.taker.hold = hold
    async with place.client() as client:
        client.send(f"GET /x HTTP/1.1\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n{more}")
        await asyncio.sleep(PAUSE_S)
        for answer in place.taker.held:
            answer()
        assert await client.read() == (200, "nothing")
        assert await client.rest() == b""


async def test_nonsense_behind_a_request_waits_for_its_answer(place: Place) -> None:
    place.taker.hold = True
    async with place.client() as client:
        client.send("GET /x HTTP/1.1\r\n\r\nnonsense\r\n\r\n")
        await asyncio.sleep(PAUSE_S)
        place.taker.held.pop()()
        assert await client.read() == (200, "nothing")
        assert await client.rest() == b""


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("nonsense\r\n\r\n", 400),
        ("POST /x HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        ("POST /x HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (f"POST /x HTTP/1.1\r\nContent-Length: {BODY_MAX + 1}\r\n\r\n", 413),
        (f"POST /x HTTP/1.1\r\nContent-Length: {10**30}\r\n\r\n", 400),
        ("POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\n" + "x" * 4095, 413),
        ("POST /" + "x" * line.HEAD_BYTES_MAX + " HTTP/1.1\r\n\r\n", 431),
        ("POST /x HTTP/1.1\r\n" + "a: b\r\n" * line.HEAD_BYTES_MAX + "\r\n", 431),
    ],
)
async def test_what_is_no_request_for_us_is_refused_once_and_the_line_ends(
    place: Place, text: str, status: int
) -> None:
    async with place.client() as client:
        client.send(text)
        assert (await client.read())[0] == status
        assert await client.rest() == b""
    assert place.taker.taken == []
    assert [answer.status for answer in place.taker.refused] == [status]


async def test_a_refusal_reaches_who_is_still_sending(place: Place) -> None:
    async with place.client() as client:
        client.send(f"POST /x HTTP/1.1\r\nContent-Length: {10**6}\r\n\r\n")
        for _ in range(50):
            client.send("x" * 10_000)
            await asyncio.sleep(0)
        assert (await client.read())[0] == 413


async def test_the_last_answer_closes_the_line_where_it_was_asked_to(place: Place) -> None:
    async with place.client() as client:
        client.post("one", "Connection: close")
        assert await client.read() == (200, "one")
        assert await client.rest() == b""
    async with place.client() as client:
        client.send("HEAD /x HTTP/1.1\r\nConnection: close\r\n\r\n")
        answer = await client.rest()
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert answer.endswith(b"\r\n\r\n")


async def test_who_dribbles_is_ended_and_who_is_idle_as_well(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line, "REQUEST_MAX_S", 0.1)
    monkeypatch.setattr(line, "IDLE_MAX_S", 0.1)
    async with place.client() as dribbling, place.client() as idle:
        dribbling.send("POST /x HTTP/1.1\r\nContent-Length: 3\r\n\r\na")
        idle.post("one")
        assert await idle.read() == (200, "one")
        assert (await dribbling.read())[0] == 408
        assert await idle.rest() == b""


async def test_one_line_too_many_takes_the_place_of_one_that_sends_nothing_whole(
    place: Place,
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(place.client()) for _ in range(4)]
        clients[1].send("POST /x HTTP/1.1\r\nContent-Le")
        good = await stack.enter_async_context(place.client())
        good.post("good")
        assert await good.read() == (200, "good")
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await clients[0].reader.readexactly(1)
        clients[3].post("later")
        assert await clients[3].read() == (200, "later")


async def test_where_every_line_waits_for_its_answer_another_is_told_to_come_again(
    place: Place,
) -> None:
    place.taker.hold = True
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(place.client()) for _ in range(4)]
        for number, client in enumerate(clients):
            client.post(f"n{number}")
            await place.taker.has_taken(number + 1)
        late = await stack.enter_async_context(place.client())
        assert (await late.read())[0] == 503
        for go in place.taker.held:
            go()
        for number, client in enumerate(clients):
            assert await client.read() == (200, f"n{number}")


@pytest.mark.parametrize(
    "begin",
    [
        "POST /x HTTP/1.1\r\nx-endless: ",
        "POST /x HTTP/1.1\r\n",
        "POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;",
        "POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx-endless: ",
    ],
    ids=["value", "name", "chunk", "trailer"],
)
async def test_what_has_no_end_is_refused_before_its_time_is_over(place: Place, begin: str) -> None:
    async with place.client() as client:
        client.send(begin)
        for _ in range(4):
            await asyncio.sleep(PAUSE_S / 10)
            client.send("x" * line.HEAD_BYTES_MAX)
        async with asyncio.timeout(LIMIT_S / 5):
            assert (await client.read())[0] == 431
    assert place.taker.taken == []


async def test_who_does_not_read_his_answers_is_not_read_either(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line, "IDLE_MAX_S", 0.1)
    monkeypatch.setattr(line, "REQUEST_MAX_S", 0.1)
    async with place.client() as client:
        many = "GET /x HTTP/1.1\r\n\r\n" * 2_000
        with pytest.raises(OSError):  # noqa: PT012 - which of them ends the line is the kernel's choice
            for _ in range(400):
                client.send(many)
                async with asyncio.timeout(LIMIT_S):
                    await client.writer.drain()
        taken = len(place.taker.taken)
    assert taken < 400 * 2_000
