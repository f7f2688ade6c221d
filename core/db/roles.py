"""Who may touch what in the database, enforced by the database.

| role | logs in | may |
|---|---|---|
| the owner of the schema | set-up only | migrate, make roles |
| hopsmeter_audit | never | owns the trail, so that nobody who works can change its rules |
| hopsmeter_daemon | the daemon | read all, write; append-only tables it can only append to |
| hopsmeter_person | as a group | read all but what is sealed; submit commands, and nothing else |

Rights are given from scratch each time, so a table that a migration adds is covered by the next
`hopsmeter db roles`, and one that was given by hand is taken back.
"""

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final, LiteralString, cast

import psycopg
from psycopg import sql

from core.errors import Conflict, DatabaseFault, InputFault

AUDIT: Final = "hopsmeter_audit"
DAEMON: Final = "hopsmeter_daemon"
PERSON: Final = "hopsmeter_person"
APPEND_ONLY: Final = (
    "audit_log",
    "allocation_history",
    "rate_plans",
    "rate_plan_versions",
    "ledger_entries",
    "credit_draws",
    "posted_hours",
    "closed_months",
    "statements",
    "stripe_moves",
    "stripe_put_right",
)
NEVER_WRITTEN: Final = ("alembic_version", "allocation_kinds", "ledger_codes")
"""By the daemon: migrations fill them."""
DELETED_FROM: Final = (
    "raw_answers",
    "user_projects",
    "plan_assignments",
    "billing_modes",
    "usage_daily",
    "cost_daily",
    "included_used_daily",
    "logins",
)
SEALED: Final = {
    "commands": ("sealed",),
    "hopsworks_clusters": ("api_key_sealed", "kubeconfig_sealed"),
    "secret_keys": ("canary",),
}
SUBMITTED: Final = ("key", "person", "name", "arguments", "sealed", "dry_run", "why")
RACES_MAX = 20
RACE_PAUSE_S = 0.05
ROLE_BYTES_MAX = 63

Connection = psycopg.Connection[Any]


def ensure_roles(connection: Connection) -> None:
    """Make the roles and give each exactly its rights; as the schema's owner, or a superuser.

    Roles belong to the whole server: two databases on it that are set up at once take turns.
    """
    for turn in range(RACES_MAX):
        try:
            with connection.transaction():
                _ensure(connection)
        except (
            psycopg.errors.DuplicateObject,
            psycopg.errors.UniqueViolation,
            psycopg.errors.InternalError_,  # "tuple concurrently updated"
        ):
            if turn == RACES_MAX - 1:
                raise
            time.sleep(RACE_PAUSE_S)
        except psycopg.errors.InsufficientPrivilege as fault:
            raise DatabaseFault(
                f"The role that is connected may not set roles up ({_first_line(fault)}); connect"
                " as the owner of the schema with CREATEROLE, or as a superuser."
            ) from None
        else:
            return


def ensure_login_role(connection: Connection, role: str) -> None:
    """Make a role for one person, in the group, where it is missing; it gets no password here."""
    if not role or len(role.encode()) > ROLE_BYTES_MAX or not role.isprintable():
        raise InputFault(f"{role[:80]!r} is no name for a database role.")
    if role in (AUDIT, DAEMON, PERSON):
        raise Conflict(f"{role} is a role of hopsmeter itself, no person's.")
    if not _role_exists(connection, PERSON):
        ensure_roles(connection)
    try:
        if not _role_exists(connection, role):
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)))
        connection.execute(
            sql.SQL("GRANT {} TO {}").format(sql.Identifier(PERSON), sql.Identifier(role))
        )
    except psycopg.errors.InsufficientPrivilege as fault:
        raise DatabaseFault(
            f"The role that is connected may not make roles ({_first_line(fault)}); connect as the"
            " owner of the schema with CREATEROLE, or as a superuser."
        ) from None


def revocation(role: str) -> str:
    """Return the statement by which a role reads nothing of ours any more; for the owner to run."""
    quoted = role.replace('"', '""')
    return f'REVOKE {PERSON} FROM "{quoted}";'


def roles_present(connection: Connection) -> bool:
    """Say whether `db roles` was run for this database: the trail belongs to nobody who works."""
    row = connection.execute(
        "SELECT pg_get_userbyid(relowner) = %s FROM pg_class"
        " WHERE oid = to_regclass('hopsmeter.audit_log')",
        [AUDIT],
    ).fetchone()
    return bool(row and row[0])


def _ensure(connection: Connection) -> None:
    for role, login in ((AUDIT, "NOLOGIN"), (PERSON, "NOLOGIN"), (DAEMON, "LOGIN")):
        if not _role_exists(connection, role):
            connection.execute(
                sql.SQL("CREATE ROLE {} {}").format(sql.Identifier(role), sql.SQL(login))
            )
    for role in (DAEMON, PERSON):
        _run(connection, "GRANT USAGE ON SCHEMA hopsmeter TO {}", role)
    with _as_owner_of_trail(connection):
        _grant_table(connection, "audit_log", _columns(connection, "audit_log"))
    for table in _own_tables(connection):
        _grant_table(connection, table, _columns(connection, table))
    _grant_functions(connection)


@contextlib.contextmanager
def _as_owner_of_trail(connection: Connection) -> Iterator[None]:
    """Make the trail its own role's; whoever sets up is in that role only for this moment."""
    row = connection.execute(
        "SELECT current_user::text, rolsuper FROM pg_roles WHERE rolname = current_user"
    ).fetchone()
    assert row is not None
    user, is_super = row
    if not is_super:
        _run(connection, "GRANT {} TO {}", AUDIT, user)
    if not roles_present(connection):
        _run(connection, "GRANT USAGE, CREATE ON SCHEMA hopsmeter TO {}", AUDIT)
        _run(connection, "ALTER TABLE hopsmeter.audit_log OWNER TO {}", AUDIT)
        _run(connection, "REVOKE CREATE ON SCHEMA hopsmeter FROM {}", AUDIT)
    _run(connection, "GRANT SELECT, INSERT ON hopsmeter.audit_log TO {}", user)
    yield
    if not is_super:
        _run(connection, "REVOKE {} FROM {}", AUDIT, user)


def _grant_table(connection: Connection, table: str, columns: list[str]) -> None:
    """Take everything back, then give the daemon and the persons what is theirs."""
    place = sql.Identifier("hopsmeter", table)
    for role in ("PUBLIC", DAEMON, PERSON):
        who = sql.SQL("PUBLIC") if role == "PUBLIC" else sql.Identifier(role)
        connection.execute(sql.SQL("REVOKE ALL ON {} FROM {}").format(place, who))
    rights = ["SELECT"]
    if table not in NEVER_WRITTEN:
        rights += ["INSERT"] if table in APPEND_ONLY else ["INSERT", "UPDATE"]
    if table in DELETED_FROM:
        rights += ["DELETE"]
    _give(connection, place, ", ".join(rights), None, DAEMON)
    readable = [column for column in columns if column not in SEALED.get(table, ())]
    _give(connection, place, "SELECT", readable if table in SEALED else None, PERSON)
    if table == "commands":
        _give(connection, place, "INSERT", list(SUBMITTED), PERSON)


def _give(
    connection: Connection,
    place: sql.Identifier,
    rights: LiteralString,
    columns: Sequence[str] | None,
    role: str,
) -> None:
    only: sql.Composable = sql.SQL("")
    if columns is not None:
        only = sql.SQL(" ({})").format(sql.SQL(", ").join(map(sql.Identifier, columns)))
    connection.execute(
        sql.SQL("GRANT {}{} ON {} TO {}").format(sql.SQL(rights), only, place, sql.Identifier(role))
    )


def _grant_functions(connection: Connection) -> None:
    """Whatever runs with its owner's rights is the daemon's alone."""
    for signature, definer in connection.execute(
        "SELECT oid::regprocedure::text, prosecdef FROM pg_proc"
        " WHERE pronamespace = 'hopsmeter'::regnamespace ORDER BY oid"
    ).fetchall():
        # The server's own spelling, quoted by it.
        function = sql.SQL(cast("LiteralString", signature))
        for word, role in (("REVOKE ALL ON", "FROM PUBLIC"), ("GRANT EXECUTE ON", "TO {}")):
            who = [sql.Identifier(DAEMON), *([] if definer else [sql.Identifier(PERSON)])]
            connection.execute(
                sql.SQL(f"{word} FUNCTION {{}} {role}").format(function, sql.SQL(", ").join(who))
            )


def _own_tables(connection: Connection) -> list[str]:
    """Return tables and views but the trail; partitions are reached through their parents."""
    rows = connection.execute(
        "SELECT relname::text FROM pg_class WHERE relnamespace = 'hopsmeter'::regnamespace"
        " AND relkind IN ('r', 'p', 'v') AND NOT relispartition AND relname <> 'audit_log'"
        " ORDER BY relname"
    ).fetchall()
    return [row[0] for row in rows]


def _columns(connection: Connection, table: str) -> list[str]:
    rows = connection.execute(
        "SELECT attname::text FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"
        " AND NOT attisdropped ORDER BY attnum",
        [f"hopsmeter.{table}"],
    ).fetchall()
    return [row[0] for row in rows]


def _role_exists(connection: Connection, role: str) -> bool:
    row = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [role]).fetchone()
    return row is not None


def _run(connection: Connection, statement: LiteralString, *names: str) -> None:
    connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


def _first_line(fault: psycopg.Error) -> str:
    return str(fault).partition("\n")[0].rstrip(".")
