"""Leases on commands: who works on one, and how a dead or frozen worker's is taken over.

The claim and the work are on one connection, so the pid that the claim notes is the backend that
does the work. Where that backend is gone, so is whoever worked: a person need not wait for the
lease of a daemon that was killed. A frozen client is ended by no timeout of the server's once it
is inside a statement; whoever takes over ends its backend first, and the token makes what it did
not commit impossible to commit.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from core.errors import LeaseLost

LEASE_S = 300
"""Longer than a check of a cluster may take, and than any statement."""
TRIES_MAX = 5
TERMINATE_WAIT_MS = 5_000

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Claim:
    """A command that is ours to carry out while `token` stands in its row."""

    id: int
    key: UUID
    role: str
    person: str | None
    name: str
    arguments: Any
    sealed: dict[str, str] | None = field(repr=False)
    dry_run: bool
    why: str
    tries: int
    token: UUID


def claim_next(
    connection: Connection,
    *,
    after: int,
    only: Collection[str] | None = None,
    but: Collection[str] = (),
    lease_s: float = LEASE_S,
) -> Claim | None:
    """Take the oldest open command with an id beyond `after`; None where there is none."""
    wanted = list(only) if only is not None else None
    claimed = _claim(
        connection,
        "state = 'submitted' AND id > %s"
        " AND (%s::text[] IS NULL OR name = ANY(%s)) AND NOT name = ANY(%s)",
        [after, wanted, wanted, list(but)],
        lease_s,
    )
    return claimed or _take_over(connection, after, wanted, list(but), lease_s)


def _claim(
    connection: Connection, condition: str, values: list[Any], lease_s: float
) -> Claim | None:
    query = (
        "UPDATE hopsmeter.commands c SET state = 'working', tries = c.tries + 1, lease_token = %s,"
        " lease_until = clock_timestamp() + make_interval(secs => %s),"
        " lease_pid = pg_backend_pid()"
        f" FROM (SELECT id FROM hopsmeter.commands WHERE {condition}"
        "       ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED) open"
        " WHERE c.id = open.id RETURNING c.id, c.key, c.role::text, c.person, c.name, c.arguments,"
        " c.sealed, c.dry_run, c.why, c.tries, c.lease_token AS token"
    )
    with connection.cursor(row_factory=class_row(Claim)) as cursor:
        return cursor.execute(query, [uuid4(), lease_s, *values]).fetchone()


def _take_over(
    connection: Connection, after: int, wanted: list[str] | None, but: list[str], lease_s: float
) -> Claim | None:
    """Read dead leases plainly (SKIP LOCKED would skip a frozen owner for ever)."""
    left = connection.execute(
        "SELECT c.id, c.lease_pid, c.lease_token, begun.at FROM hopsmeter.commands c,"
        " LATERAL (SELECT c.lease_until - make_interval(secs => %s) AS at) begun"
        " WHERE c.state = 'working' AND c.id > %s"
        " AND (%s::text[] IS NULL OR c.name = ANY(%s)) AND NOT c.name = ANY(%s)"
        " AND (c.lease_until < clock_timestamp() OR NOT EXISTS (SELECT FROM pg_stat_activity a"
        "      WHERE a.pid = c.lease_pid AND coalesce(a.backend_start <= begun.at, true)))"
        " ORDER BY c.id",
        [lease_s, after, wanted, wanted, but],
    ).fetchall()
    for command_id, pid, token, claimed_at in left:
        # A pid is used again some day: only a backend older than the lease can be the lease's.
        connection.execute(
            "SELECT pg_terminate_backend(pid, %s) FROM pg_stat_activity WHERE pid = %s"
            " AND datname = current_database() AND usename = current_user"
            " AND backend_start <= %s AND pid <> pg_backend_pid()",
            [TERMINATE_WAIT_MS, pid, claimed_at],
        )
        ours = _claim(connection, "id = %s AND lease_token = %s", [command_id, token], lease_s)
        if ours:
            return ours
    return None


def finish(
    connection: Connection,
    claim: Claim,
    state: str,
    *,
    result: dict[str, Any] | None = None,
    error: str | None = None,
) -> None:
    """Write the end down and erase the sealed blobs; LeaseLost where it is not ours any more."""
    _let_go(
        connection,
        claim,
        "state = %s, result = %s, error = %s, sealed = NULL, ended_at = clock_timestamp()",
        [state, Jsonb(result) if result is not None else None, error],
    )


def put_back(connection: Connection, claim: Claim, why: str, *, counts: bool) -> None:
    """Leave the command to the next round, with a sentence for who waits; `counts` as a try, or not."""
    _let_go(
        connection,
        claim,
        "state = %s, error = %s, tries = tries - %s",
        ["submitted", why, 0 if counts else 1],
    )


def _let_go(connection: Connection, claim: Claim, what: str, values: list[Any]) -> None:
    done = connection.execute(
        f"UPDATE hopsmeter.commands SET {what},"
        " lease_token = NULL, lease_until = NULL, lease_pid = NULL"
        " WHERE id = %s AND lease_token = %s",
        [*values, claim.id, claim.token],
    )
    if done.rowcount != 1:
        raise LeaseLost
