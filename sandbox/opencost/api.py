"""The handlers: /allocation, /allocation/compute, /healthz."""

import asyncio
import json
import re
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import parse_qs, unquote, urlsplit

from core.clock import Clock
from sandbox.faults import Fault, FaultBook, Moment
from sandbox.opencost import spoil
from sandbox.opencost.rows import Scope, gather
from sandbox.opencost.shape import Rows, go_rows
from sandbox.opencost.window import IllegalWindow, parse_step, parse_window
from sandbox.story import Story

PATHS = ("/allocation", "/allocation/compute")
KEPT_ASKS_MAX = 10_000
CACHE_BYTES_MAX = 96 * 2**20
SETS_MAX = 2000

FAULTS = [
    "slow",
    "error_500",
    "html_502",
    "empty_200",
    "truncated",
    "empty_set",
    "huge",
    "restated",
    "shrunken",
    "negative_idle",
    "negative_minutes",
    "absurd",
    "null_total",
    "wrong_window",
    "two_sets",
    "two_clusters",
    "no_sentinel",
    "double_name",
    "long_minutes",
]
HTML_502 = (
    b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n"
    b"<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n"
    b"</body>\r\n</html>\r\n"
)


_WINDOW = re.compile(r"[?&]window=([^&\s]+)")
_SHAPING = ("aggregate", "includeIdle", "includeAggregatedMetadata", "step", "accumulate")
_EMPTY_ACCUMULATION = (
    "error accumulating by all: error accumulating all:"
    "AllocationSetRange has empty AssetSet in accumulation"
)


@dataclass(frozen=True)
class Reply:
    """What OpenCost says on its port 9003."""

    status: int
    body: bytes = field(repr=False)
    content_type: str = "application/json"


@dataclass(frozen=True)
class Ask:
    """One request for allocations, kept so that tests see what was asked and in which order."""

    at: datetime
    target: str
    start: datetime | None
    end: datetime | None


@dataclass
class Opencost:
    story: Story
    cluster_id: str
    now: Clock
    faults: FaultBook
    retention: timedelta
    asks: deque[Ask] = field(default_factory=lambda: deque(maxlen=KEPT_ASKS_MAX))
    _cache: "OrderedDict[tuple[str, ...], bytes]" = field(default_factory=OrderedDict)

    async def get(self, target: str) -> Reply:
        """Answer GET `target` (path and query); slow if it is told to be."""
        parts = urlsplit(target)
        if parts.path == "/healthz":
            return Reply(200, b"", "text/plain; charset=utf-8")
        if parts.path not in PATHS:
            return Reply(404, b"404 page not found\n", "text/plain; charset=utf-8")
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        try:
            start, end = parse_window(query.get("window", ""), self.now())
        except IllegalWindow as error:
            self.asks.append(Ask(self.now(), target, None, None))
            return bad_window(error)
        self.asks.append(Ask(self.now(), target, start, end))
        struck = self.faults.take(FAULTS, Moment(start, end))
        if slow := struck.pop("slow", None):
            await asyncio.sleep(slow.seconds)
        return self._answer(query, start, end, struck)

    def _answer(
        self, query: dict[str, str], start: datetime, end: datetime, struck: dict[str, Fault]
    ) -> Reply:
        if broken := _broken(struck):
            return broken
        if start >= end:
            return failure(500, "illegal window: window start must be before its end")
        try:
            step = parse_step(query["step"]) if "step" in query else end - start
        except IllegalWindow as error:
            return bad_window(error)
        key = (query.get("window", ""), *(query.get(name, "") for name in _SHAPING))
        keeps = not struck and self._is_settled(start, end)
        if keeps and key in self._cache:
            self._cache.move_to_end(key)
            return Reply(200, self._cache[key])
        body = self._body(query, (start, end), step, struck)
        if isinstance(body, Reply):
            return body
        if keeps:
            self._remember(key, body)
        return Reply(200, body)

    def _body(
        self,
        query: dict[str, str],
        window: tuple[datetime, datetime],
        step: timedelta,
        struck: dict[str, Fault],
    ) -> bytes | Reply:
        if "wrong_window" in struck:
            window = (window[0] - step, window[1] - step)
        sets: list[Rows] = []
        begin = window[0]
        while begin < window[1] and len(sets) < SETS_MAX:
            sets.append(gather(self._scope(query), (begin, begin + step)))
            begin += step
        if _flag(query, "accumulate"):
            if not any(sets):
                return failure(500, _EMPTY_ACCUMULATION)
            sets = [gather(self._scope(query), window)]
        sets = spoil.sets(sets, struck, self.cluster_id)
        data = ",".join(go_rows(rows) for rows in sets)
        body = f'{{"code":200,"status":"success","data":[{data}]}}'.encode()
        return spoil.body(body, struck)

    def _scope(self, query: dict[str, str]) -> Scope:
        now = self.now()
        return Scope(
            story=self.story,
            cluster_id=self.cluster_id,
            from_at=now - self.retention,
            until_at=now,
            aggregate=query.get("aggregate", ""),
            idle=_flag(query, "includeIdle"),
            metadata=_flag(query, "includeAggregatedMetadata"),
        )

    def _is_settled(self, start: datetime, end: datetime) -> bool:
        return end <= self.now() and start >= self.now() - self.retention + timedelta(hours=1)

    def _remember(self, key: tuple[str, ...], body: bytes) -> None:
        self._cache[key] = body
        while len(self._cache) > 1 and sum(map(len, self._cache.values())) > CACHE_BYTES_MAX:
            self._cache.popitem(last=False)


def moment_in(text: str, now: datetime) -> Moment:
    """Return the window that a URL asks for, however deep it is quoted in `text`."""
    match = _WINDOW.search(unquote(unquote(text)))
    try:
        return Moment(*parse_window(match[1], now)) if match else Moment()
    except IllegalWindow:
        return Moment()


def _broken(struck: dict[str, Fault]) -> Reply | None:
    if "html_502" in struck:
        return Reply(502, HTML_502, "text/html")
    if fault := struck.get("error_500"):
        return failure(500, fault.body or "error querying the kubernetes api: context canceled")
    if "empty_200" in struck:
        return Reply(200, b"")
    return None


def failure(status: int, message: str) -> Reply:
    """Return an error as OpenCost's WriteError puts it: the status twice, `data` null."""
    body = {"code": status, "status": "", "data": None, "message": f"Error: {message}"}
    return Reply(status, (json.dumps(body, separators=(",", ":")) + "\n").encode())


def bad_window(error: IllegalWindow) -> Reply:
    """Plain text that calls itself JSON: so it is upstream."""
    return Reply(400, f"Invalid 'window' parameter: illegal window: {error}\n".encode())


def _flag(query: dict[str, str], name: str) -> bool:
    return query.get(name, "").lower() in ("1", "t", "true")
