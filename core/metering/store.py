"""Store: raw answers, allocations with their owners frozen in, and windows, in one transaction.

Several clusters that are ready together share their COPYs and one commit; answers are read while the
database takes in those before them. The transaction's last statement checks every lease; one that
was lost rolls everything back, and the caller then stores one by one, so that a bad cluster blocks
no other.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec
import psycopg

from core.db.begin import beginning_with
from core.db.locks import Lock, taking
from core.db.queries import queries_beside
from core.errors import AnswerRefused, LeaseLost
from core.metering.attribution import Attribution
from core.metering.hours import Asked, Claim, Fetched, RawAnswer, Stored, key_of, keys_of
from core.metering.pack import Attributed, pack_block
from core.metering.policy import Policy
from core.metering.revise import revise
from core.metering.sink import Sink
from core.opencost.answer import Summary
from core.opencost.opening import NotPlainError
from core.opencost.read import Question
from core.opencost.stream import Stream, block_of

_SQL = queries_beside(__file__)
_JSON = msgspec.json.Encoder()
_LOCKING = taking(Lock.ATTRIBUTION, shared=True)

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class _Locked:
    """A claimed window as it stands inside the transaction."""

    revision: int
    raw_sha256: bytes | None


@dataclass(frozen=True)
class _End:
    """What `finish` writes of one window."""

    claim: Claim
    raw: RawAnswer
    summary: Summary
    revision: int
    changed: bool
    raw_sha256: bytes
    accepted_by: str | None = None
    why: str = ""


def store_answers(
    connection: Connection,
    asked: Sequence[Asked],
    *,
    attribution: Attribution,
    policy: Policy,
    now: datetime,
) -> dict[UUID, Stored | AnswerRefused]:
    """Read and store answers of different (cluster, hour)s; return what came of each, by token.

    Those that are refused are left out, of the others all or nothing is stored, in one transaction.
    LeaseLost where an hour is no longer ours. Needs an autocommit connection of its own.
    """
    ordered = sorted(asked, key=lambda each: (each.claim.cluster_id, each.claim.hour))
    try:
        with _storing_of_sources(connection, ordered, attribution) as known:
            done = _stream_within(connection, known, attribution, policy, now)
        return {each.claim.token: each for each in done}
    except NotPlainError:
        return _store_with_care(connection, ordered, attribution, policy, now)


def _keep_sources(connection: Connection, ordered: Sequence[Asked], done: Sequence[Stored]) -> None:
    """With its first stored hour a cluster's OpenCost is known, whatever becomes of the visit."""
    unknown = {each.claim.cluster_id for each in ordered if not each.limits.cluster_id}
    found = {each.claim.cluster_id: each.source for each in done if each.source}
    ids = sorted(unknown & found.keys())
    if ids:
        values = {"ids": ids, "sources": [found[number] for number in ids]}
        connection.execute(_SQL["keep_sources"], values)


def _store_with_care(
    connection: Connection,
    ordered: Sequence[Asked],
    attribution: Attribution,
    policy: Policy,
    now: datetime,
) -> dict[UUID, Stored | AnswerRefused]:
    """Read all of each answer before anything is stored; what is refused says so."""
    came: dict[UUID, Stored | AnswerRefused] = {}
    fetched = []
    with _storing_of_sources(connection, ordered, attribution) as known:
        for each in known:
            try:
                fetched.append(each.read())
            except AnswerRefused as refused:
                came[each.claim.token] = refused
        stored = store_within(connection, fetched, attribution, policy, now) if fetched else []
        _keep_sources(connection, known, stored)
        came.update((each.claim.token, each) for each in stored)
    return came


@contextmanager
def _storing_of_sources(
    connection: Connection, ordered: Sequence[Asked], attribution: Attribution
) -> Iterator[Sequence[Asked]]:
    """Hold a transaction and ATTRIBUTION shared; give the same, each with the source that is known of it.

    Of a cluster that has no stored answer yet, the first in order tells; its row stays locked, so
    that no other daemon takes another one's. Before ATTRIBUTION, as whoever edits a cluster does.
    """
    claims = [each.claim for each in ordered]
    if all(each.limits.cluster_id for each in ordered):
        with _storing(connection, claims, attribution, _LOCKING):
            yield ordered
        return
    with _storing(connection, claims, attribution, b""):
        ids = sorted({each.claim.cluster_id for each in ordered if not each.limits.cluster_id})
        sources = dict(connection.execute(_SQL["sources"], {"ids": ids}).fetchall())
        connection.execute(_LOCKING)
        yield [_of_source(each, sources.get(each.claim.cluster_id)) for each in ordered]


def _of_source(asked: Asked, source: str | None) -> Asked:
    if asked.limits.cluster_id or source is None:
        return asked
    return replace(asked, limits=replace(asked.limits, cluster_id=source))


def store_hours(
    connection: Connection,
    fetched: Sequence[Fetched],
    *,
    attribution: Attribution,
    policy: Policy,
    now: datetime,
) -> list[Stored]:
    """Store answers that were read, of different (cluster, hour)s; all or nothing.

    LeaseLost and the connection as in `store_answers`.
    """
    ordered = sorted(fetched, key=lambda each: (each.claim.cluster_id, each.claim.hour))
    claims = [each.claim for each in ordered]
    with _storing(connection, claims, attribution, _LOCKING):
        return store_within(connection, ordered, attribution, policy, now)


@contextmanager
def _storing(
    connection: Connection, claims: Sequence[Claim], attribution: Attribution, first: bytes
) -> Iterator[None]:
    """Hold a transaction that begins with `first`; what it learned of owners ends with it where it fails."""
    name_backend(connection, claims)
    try:
        with beginning_with(connection, first):
            yield
    except BaseException:
        attribution.forget()
        raise


def name_backend(connection: Connection, claims: Sequence[Claim]) -> None:
    """Make sure that whoever takes over ends this backend; commits, so that it shows."""
    pid = connection.info.backend_pid
    strangers = [claim for claim in claims if claim.lease_pid != pid]
    if strangers:
        name = connection.info.parameter_status("application_name")
        connection.execute(_SQL["renew_pid"], {**keys_of(strangers), "name": name})


def store_within(
    connection: Connection,
    ordered: Sequence[Fetched],
    attribution: Attribution,
    policy: Policy,
    now: datetime,
) -> list[Stored]:
    """Store inside the caller's transaction, which holds ATTRIBUTION at least shared."""
    locked, epoch = _lock(connection, [each.claim for each in ordered])
    fresh = [each for each in ordered if locked[each.claim.token].revision == 0]
    if fresh:
        owned = [
            (each.claim, attribution.of(connection, each.claim, each.answer.names, epoch))
            for each in fresh
        ]
        with Sink(connection) as sink:
            block = block_of([each.answer for each in fresh])
            sink.write(pack_block(block, owned, revision=1), len(block.flags))
    done = [_stored(each.claim, each.answer.summary) for each in fresh]
    ends = [_end(each, 1, changed=True, raw_sha256=each.raw.sha256) for each in fresh]
    for each in ordered:
        before = locked[each.claim.token]
        if before.revision:
            whose = attribution.of(connection, each.claim, each.answer.names, epoch)
            done.append(_revise(connection, each, whose, before, policy, ends))
    _finish(connection, ends, policy, now)
    return done


def _stream_within(
    connection: Connection,
    ordered: Sequence[Asked],
    attribution: Attribution,
    policy: Policy,
    now: datetime,
) -> list[Stored]:
    """As `store_within`, reading as it goes; NotPlainError where that will not do."""
    locked, epoch = _lock(connection, [each.claim for each in ordered])
    fresh = [each for each in ordered if locked[each.claim.token].revision == 0]
    summaries = _stream(connection, fresh, attribution, epoch) if fresh else []
    done = [_stored(each.claim, told) for each, told in zip(fresh, summaries, strict=True)]
    ends = [
        _End(each.claim, each.raw, told, 1, True, each.raw.sha256)
        for each, told in zip(fresh, summaries, strict=True)
    ]
    for each in ordered:
        before = locked[each.claim.token]
        if before.revision:
            fetched = _read(each)
            whose = attribution.of(connection, each.claim, fetched.answer.names, epoch)
            done.append(_revise(connection, fetched, whose, before, policy, ends))
    _finish(connection, ends, policy, now)
    _keep_sources(connection, ordered, done)
    return done


def _read(asked: Asked) -> Fetched:
    try:
        return asked.read()
    except AnswerRefused:
        raise NotPlainError from None


def _stream(
    connection: Connection, fresh: Sequence[Asked], attribution: Attribution, epoch: int
) -> list[Summary]:
    """Read and COPY, block after block; the server takes in one while the next is read.

    Whose the rows are is asked for the whole answer where it is not known of a part of it.
    """
    stream = Stream([Question(each.body, each.claim.hour, each.limits) for each in fresh])
    with Sink(connection, stream.rows_left) as sink:
        for block in stream.blocks():
            owned = []
            for part in block.parts:
                claim, names = fresh[part.number].claim, stream.names(part)
                whose = attribution.known(claim, names, part.first, epoch)
                if whose is None:
                    sink.pause()
                    every = attribution.of(connection, claim, stream.whole(part), epoch)
                    whose = every.part(part.rows)
                owned.append((claim, whose))
            records = pack_block(block, owned, revision=1)
            sink.write(records, len(block.flags), left=stream.rows_left)
    return stream.summaries()


def _revise(
    connection: Connection,
    each: Fetched,
    whose: Attributed,
    before: _Locked,
    policy: Policy,
    ends: list[_End],
) -> Stored:
    """Revise one hour that is stored already; add to `ends` how, unless the re-read is held."""
    outcome = revise(connection, each, whose, before.revision, policy)
    if outcome.outcome == "held":
        keep_raw(connection, [(each.claim, each.raw)], "held")
        _hold(connection, each, outcome.why)
    elif outcome.outcome == "revised":
        ends.append(_end(each, before.revision + 1, changed=True, raw_sha256=each.raw.sha256))
    else:
        assert before.raw_sha256 is not None
        ends.append(_end(each, before.revision, changed=False, raw_sha256=before.raw_sha256))
    return outcome


def _end(each: Fetched, revision: int, *, changed: bool, raw_sha256: bytes) -> _End:
    told, accepted_by = each.answer.summary, each.accepted_by
    return _End(each.claim, each.raw, told, revision, changed, raw_sha256, accepted_by, each.why)


def _lock(connection: Connection, claims: Sequence[Claim]) -> tuple[dict[UUID, _Locked], int]:
    """Return the claimed windows by their tokens, locked, and the epoch of ownership."""
    rows = connection.execute(_SQL["lock_claimed"], keys_of(claims)).fetchall()
    if len(rows) != len(claims):
        raise LeaseLost
    return {row[0]: _Locked(row[1], row[2]) for row in rows}, rows[0][3]


def _stored(claim: Claim, told: Summary) -> Stored:
    return Stored(claim, "stored", told.rows, told.total_nano, source=told.cluster_id)


def keep_raw(
    connection: Connection,
    raws: Sequence[tuple[Claim, RawAnswer]],
    verdict: Literal["stored", "refused", "held"],
) -> None:
    """Keep raw answers, once each; of a refused hour only the last distinct one."""
    if not raws:
        return
    connection.execute(
        _SQL["keep_raw"],
        {
            "hours": [claim.hour for claim, _ in raws],
            "clusters": [claim.cluster_id for claim, _ in raws],
            "hashes": [raw.sha256 for _, raw in raws],
            "sizes": [raw.size_bytes for _, raw in raws],
            "bodies": [raw.body for _, raw in raws],
            "asked": [raw.asked_at for _, raw in raws],
            "verdicts": [verdict] * len(raws),
        },
    )


def _hold(connection: Connection, each: Fetched, why: str) -> None:
    values = {**key_of(each.claim), "pending": each.raw.sha256, "why": why}
    if connection.execute(_SQL["hold"], values).rowcount != 1:
        raise LeaseLost


def _finish(connection: Connection, ends: Sequence[_End], policy: Policy, now: datetime) -> None:
    if not ends:
        return
    row = connection.execute(
        _SQL["finish"],
        {
            "now": now,
            "ends": _JSON.encode([_told(end, policy, now) for end in ends]).decode(),
            "bodies": [end.raw.body for end in ends],
            "count": len(ends),
        },
    ).fetchone()
    assert row is not None
    if row[0] != len(ends):
        raise LeaseLost


def _told(end: _End, policy: Policy, now: datetime) -> dict[str, Any]:
    """Return one row of `finish`, but for the body."""
    claim, raw, told = end.claim, end.raw, end.summary
    settles_at = policy.settles_at(claim.hour)
    is_settled = end.accepted_by is not None or now >= settles_at
    return {
        "cluster_id": claim.cluster_id,
        "hour": claim.hour,
        "token": claim.token,
        "state": "settled" if is_settled else "collected",
        "next_try_at": None if is_settled else settles_at,
        "why": end.why,
        "decided_by": end.accepted_by,
        "flags": told.remarks,
        "revision": end.revision,
        "raw_sha256": _bytea(end.raw_sha256),
        "row_count": told.rows,
        "total_nano": told.total_nano,
        "changed": end.changed,
        "sha256": _bytea(raw.sha256),
        "size_bytes": raw.size_bytes,
        "asked_at": raw.asked_at,
    }


def _bytea(value: bytes) -> str:
    return "\\x" + value.hex()
