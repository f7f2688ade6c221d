"""Store: raw answers, allocations with their owners frozen in, and windows, in one transaction.

Several clusters that are ready together share one COPY and one commit. The transaction's last
statement checks every lease; one that was lost rolls everything back, and the caller then stores
one by one, so that a bad cluster blocks no other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import psycopg

from core.db.locks import Lock, take
from core.db.queries import queries_beside
from core.errors import LeaseLost
from core.metering.attribution import Attribution
from core.metering.hours import Claim, Fetched, RawAnswer, Stored, key_of, keys_of
from core.metering.pack import COPY_COLUMNS, copy_stream, pack_rows
from core.metering.policy import Policy
from core.metering.revise import revise

_SQL = queries_beside(__file__)
_COPY = f"COPY hopsmeter.allocations ({COPY_COLUMNS}) FROM STDIN (FORMAT BINARY)"

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class _Locked:
    """A claimed window as it stands inside the transaction."""

    revision: int
    raw_sha256: bytes | None


@dataclass(frozen=True)
class _End:
    """What `finish` writes of one window."""

    fetched: Fetched
    revision: int
    changed: bool
    raw_sha256: bytes


def store_hours(
    connection: Connection,
    fetched: Sequence[Fetched],
    *,
    attribution: Attribution,
    policy: Policy,
    now: datetime,
) -> list[Stored]:
    """Store answers of different (cluster, hour)s in one transaction; all or nothing.

    LeaseLost where an hour is no longer ours. Needs an autocommit connection of its own.
    """
    ordered = sorted(fetched, key=lambda each: (each.claim.cluster_id, each.claim.hour))
    name_backend(connection, [each.claim for each in ordered])
    try:
        with connection.transaction():
            take(connection, Lock.ATTRIBUTION, shared=True)
            return store_within(connection, ordered, attribution, policy, now)
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
    locked, epoch = _lock(connection, ordered)
    fresh = [each for each in ordered if locked[each.claim.token].revision == 0]
    again = [each for each in ordered if locked[each.claim.token].revision > 0]
    done = [_fresh_outcome(each) for each in fresh]
    ends = [_End(each, 1, changed=True, raw_sha256=each.raw.sha256) for each in fresh]
    if fresh:
        owned = [(each, attribution.of(connection, each, epoch)) for each in fresh]
        with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
            copy.write(copy_stream(pack_rows(owned, revision=1)))
    for each in again:
        whose = attribution.of(connection, each, epoch)
        before = locked[each.claim.token]
        outcome = revise(connection, each, whose, before.revision, policy)
        done.append(outcome)
        if outcome.outcome == "held":
            keep_raw(connection, [(each.claim, each.raw)], "held")
            _hold(connection, each, outcome.why)
        elif outcome.outcome == "revised":
            ends.append(_End(each, before.revision + 1, True, each.raw.sha256))
        else:
            assert before.raw_sha256 is not None
            ends.append(_End(each, before.revision, False, before.raw_sha256))
    _finish(connection, ends, policy, now)
    return done


def _lock(connection: Connection, ordered: Sequence[Fetched]) -> tuple[dict[UUID, _Locked], int]:
    keys = keys_of([each.claim for each in ordered])
    rows = connection.execute(_SQL["lock_claimed"], keys).fetchall()
    if len(rows) != len(ordered):
        raise LeaseLost
    return {row[0]: _Locked(row[1], row[2]) for row in rows}, rows[0][3]


def _fresh_outcome(each: Fetched) -> Stored:
    return Stored(each.claim, "stored", len(each.answer.names), each.answer.total_nano)


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
    claims = [end.fetched.claim for end in ends]
    raws = [end.fetched.raw for end in ends]
    settled = [
        end.fetched.accepted_by is not None or now >= policy.settles_at(end.fetched.claim.hour)
        for end in ends
    ]
    row = connection.execute(
        _SQL["finish"],
        {
            "now": now,
            **keys_of(claims),
            "states": ["settled" if done else "collected" for done in settled],
            "next": [
                None if done else policy.settles_at(claim.hour)
                for claim, done in zip(claims, settled, strict=True)
            ],
            "why": [end.fetched.why for end in ends],
            "deciders": [end.fetched.accepted_by for end in ends],
            # One text a row: arrays of arrays would have to be of one length.
            "flags": [_array(end.fetched.answer.remarks) for end in ends],
            "revisions": [end.revision for end in ends],
            "named": [end.raw_sha256 for end in ends],
            "row_counts": [len(end.fetched.answer.names) for end in ends],
            "totals": [end.fetched.answer.total_nano for end in ends],
            "changed": [end.changed for end in ends],
            "hashes": [raw.sha256 for raw in raws],
            "sizes": [raw.size_bytes for raw in raws],
            "bodies": [raw.body for raw in raws],
            "asked": [raw.asked_at for raw in raws],
        },
    ).fetchone()
    assert row is not None
    if row[0] != len(ends):
        raise LeaseLost


def _array(words: Sequence[str]) -> str:
    """Write words of ours (letters and hyphens) as a PostgreSQL array."""
    return "{" + ",".join(words) + "}"
