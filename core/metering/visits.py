"""One visit to one cluster: ask hour after hour, oldest first, and say what came of each."""

import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

import psycopg
import zstandard

from core.clock import Clock, hour_text
from core.clusters.connection import ClusterAccess, Reach
from core.db.queries import queries_beside
from core.errors import AnswerRefused, ClusterFault, HopsmeterError, LeaseLost, place_of
from core.metering import windows
from core.metering.hours import Asked, Claim, RawAnswer, Stored
from core.metering.policy import Policy, pause
from core.metering.windows import ClusterWork, cluster_pause
from core.metering.writer import Writer
from core.opencost.answer import Complaint, Limits
from core.opencost.ask import allocation_path

_SQL = queries_beside(__file__)
HOURS_MAX = 1_000
"""Asked in one visit; then others get their turn."""
IN_FLIGHT_MAX = 4
"""Answers of one visit that wait to be stored while the next hour is asked for."""
FAILURES_MAX = 3
"""Hours in a row that get no answer, before the cluster is left alone for a while."""
_ASKED = frozenset({"exec", "proxy", "opencost", "visit"})
"""Steps at which the question was put already; those before them are about the cluster alone. At
`visit` our own process ended, which an answer can have done."""
ANSWERED_TOLD_EVERY = timedelta(seconds=5)
STORED_TIMEOUT_S = 300.0
COMPRESSION = 1

Connection = psycopg.Connection[Any]


class Teller(Protocol):
    """Who is told of each event: the daemon's log and counters."""

    def __call__(self, event: str, **facts: Any) -> None: ...


@dataclass(frozen=True)
class Tools:
    """What a visit works with; one set for all visits of a daemon."""

    connect: Callable[[], Connection]
    access: Callable[[Connection, int], ClusterAccess]
    """Opens a cluster's sealed kubeconfig, in memory."""
    open_reach: Callable[[ClusterAccess], Reach]
    writer: Writer
    policy: Policy
    clock: Clock
    tell: Teller
    stopping: threading.Event


@dataclass(frozen=True)
class _Waiting:
    """An answer that was handed over to be stored."""

    claim: Claim
    raw: RawAnswer
    done: "Future[Stored]"


@dataclass
class _Tally:
    asked: int = 0
    answered: int = 0
    stored: int = 0
    failures: int = 0
    answered_told_at: datetime | None = None
    source: str | None = None
    fault: ClusterFault | None = None
    """Of the hour that failed last."""
    trouble: ClusterFault | None = None
    """What ends the visit: it is the cluster, not an hour."""
    waiting: list[_Waiting] = field(default_factory=list)


def visit_cluster(tools: Tools, work: ClusterWork) -> int:
    """Ask for every due hour of one cluster, until none is left or it fails; return how many."""
    with tools.connect() as connection:
        row = connection.execute(_SQL["limits"], {"cluster_id": work.cluster_id}).fetchone()
        if row is None:
            return 0
        *columns, failed_before = row
        limits, tally = Limits(*columns), _Tally()
        try:
            reach = tools.open_reach(tools.access(connection, work.cluster_id))
        except HopsmeterError as fault:
            tally.trouble = ClusterFault(work.cluster, "kubeconfig", fault.message)
        else:
            try:
                _ask_all(tools, connection, work, reach, limits, tally)
            finally:
                reach.close()
        _await_stored(tools, connection, tally)
        _conclude(tools, connection, work, tally, failed_before)
        return tally.answered


def _ask_all(
    tools: Tools,
    connection: Connection,
    work: ClusterWork,
    reach: Reach,
    limits: Limits,
    tally: _Tally,
) -> None:
    while tally.asked < HOURS_MAX and not tools.stopping.is_set():
        claims = windows.claim(
            connection,
            work.cluster_id,
            tools.clock(),
            policy=tools.policy,
            store_backend=tools.writer.backend,
        )
        if not claims:
            return
        tally.asked += 1
        try:
            _ask_one(tools, connection, claims[0], reach, limits, tally)
        except LeaseLost:
            tools.tell("lease_lost", cluster=work.cluster, hour=hour_text(claims[0].hour))
        if tally.trouble is not None:
            return


def _ask_one(
    tools: Tools,
    connection: Connection,
    claim: Claim,
    reach: Reach,
    limits: Limits,
    tally: _Tally,
) -> None:
    try:
        body = reach.get(allocation_path(claim.hour))
    except ClusterFault as fault:
        _failed(tools, connection, claim, fault, tally)
        return
    tally.answered += 1
    now = tools.clock()
    _tell_answered(connection, claim.cluster_id, now, tally)
    sha256 = hashlib.sha256(body).digest()
    if sha256 == claim.raw_sha256:
        windows.unchanged(connection, [claim], now, tools.policy)
        tools.tell("hour_unchanged", cluster=claim.cluster, hour=hour_text(claim.hour))
        tally.failures = 0
        return
    raw = _raw(body, sha256, now, tools.policy)
    tally.failures = 0
    # The first answer of all tells which cluster this is; another one's is then refused.
    known = replace(limits, cluster_id=limits.cluster_id or tally.source)
    done = tools.writer.store(Asked(claim, body, known, raw))
    tally.waiting.append(_Waiting(claim, raw, done))
    if known.cluster_id is None or len(tally.waiting) >= IN_FLIGHT_MAX:
        _await_stored(tools, connection, tally)


def _tell_answered(connection: Connection, cluster_id: int, now: datetime, tally: _Tally) -> None:
    """A catch-up of weeks is one visit: who looks on sees meanwhile that the cluster answers."""
    if tally.answered_told_at is None or now - tally.answered_told_at >= ANSWERED_TOLD_EVERY:
        windows.answered(connection, cluster_id, now)
        tally.answered_told_at = now


def _raw(body: bytes, sha256: bytes, now: datetime, policy: Policy) -> RawAnswer:
    packed = zstandard.ZstdCompressor(level=COMPRESSION).compress(body)
    kept = packed if len(packed) <= policy.raw_max_bytes else None
    return RawAnswer(sha256, len(body), kept, now)


def _failed(
    tools: Tools, connection: Connection, claim: Claim, fault: ClusterFault, tally: _Tally
) -> None:
    """Whether it is this hour or the cluster: a question that was put can be about an hour.

    A query that kills its process, or an answer that is too large, is one hour's and must not
    hold back the others; several in a row are the cluster's.
    """
    tally.failures += 1
    tally.fault = fault
    now = tools.clock()
    asked = fault.step in _ASKED
    if not asked or tally.failures >= FAILURES_MAX:
        tally.trouble = fault
    # Where it is the cluster, its own pause governs; the hour is then asked for at once again.
    again_at = now + pause(claim.tries) if asked else now
    windows.fail(connection, claim, f"no-answer-{fault.step}", fault.message, again_at)
    tools.tell(
        "hour_failed",
        cluster=claim.cluster,
        hour=hour_text(claim.hour),
        step=fault.step,
        why=fault.message,
    )


def _await_stored(tools: Tools, connection: Connection, tally: _Tally) -> None:
    for each in tally.waiting:
        told = {"cluster": each.claim.cluster, "hour": hour_text(each.claim.hour)}
        try:
            stored = _outcome(tools, connection, each, told)
        except LeaseLost:
            tools.tell("lease_lost", **told)
            continue
        if stored is not None:
            tally.stored += 1
            tally.source = tally.source or stored.source
            _tell_stored(tools, stored)
    tally.waiting.clear()


def _outcome(
    tools: Tools, connection: Connection, each: _Waiting, told: dict[str, str]
) -> Stored | None:
    """Wait until an answer is stored, or write down why it is not."""
    claim = each.claim
    try:
        return each.done.result(STORED_TIMEOUT_S)
    except LeaseLost:
        raise
    except AnswerRefused as refused:
        complaint = Complaint(refused.fault, refused.message)  # type: ignore[arg-type]  # from one
        now = tools.clock()
        state = windows.refuse(connection, claim, each.raw, complaint, now, tools.policy)
        tools.tell(f"hour_{state}", **told, fault=refused.fault, why=refused.message)
    except (HopsmeterError, psycopg.Error, TimeoutError) as error:
        # Nothing of it was kept; it is asked for again after a pause, not after its lease.
        if isinstance(error, psycopg.OperationalError) and _went_away(error):
            tools.tell("store_lost", cluster=claim.cluster, why=first_line(error))
            windows.release(connection, [claim])
            return None
        _not_stored(tools, connection, claim, first_line(error), told)
    except Exception as bug:  # noqa: BLE001  # one hour's: it is shown with it, and the others go on
        said = f"hopsmeter failed at it ({type(bug).__name__}). It is a bug: the log has its place."
        _not_stored(tools, connection, claim, said, {**told, "bug": place_of(bug)})
    return None


def _not_stored(
    tools: Tools, connection: Connection, claim: Claim, said: str, told: dict[str, str]
) -> None:
    why = f"The answer could not be stored: {said}"
    tools.tell("store_failed", **told, why=why)
    again_at = tools.clock() + pause(claim.tries)
    windows.fail(connection, claim, "not-stored", why, again_at)


def _went_away(error: psycopg.OperationalError) -> bool:
    """Say whether the server or the line to it ended, so that nothing is wrong with the hour."""
    return error.sqlstate is None or error.sqlstate.startswith(("08", "57P"))


def first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _tell_stored(tools: Tools, stored: Stored) -> None:
    tools.tell(
        f"hour_{stored.outcome}",
        cluster=stored.claim.cluster,
        hour=hour_text(stored.claim.hour),
        rows=stored.rows,
        cost_nano=stored.cost_nano,
        **({"why": stored.why} if stored.why else {}),
    )


def _conclude(
    tools: Tools, connection: Connection, work: ClusterWork, tally: _Tally, failed_before: int
) -> None:
    now = tools.clock()
    # One hour is due each hour: a cluster that does not answer for that one answered nothing, and that is
    # seen. But only its own pause governs then, since another hour may be answered.
    fault = tally.trouble or (None if tally.answered else tally.fault)
    if fault is None and not tally.answered:
        return
    wait = cluster_pause(failed_before + 1)
    windows.visited(
        connection,
        work.cluster_id,
        now,
        answered=tally.answered > 0,
        outcome=fault.message if fault else "ok",
        failed=fault is not None,
        next_visit_at=now + wait if tally.trouble else None,
    )
    tools.tell(
        "cluster_visited",
        cluster=work.cluster,
        asked=tally.asked,
        answered=tally.answered,
        stored=tally.stored,
        ok=fault is None,
    )
