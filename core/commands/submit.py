"""The asking side: hand a command to the daemon, and wait for what became of it."""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal
from uuid import UUID, uuid4

import psycopg

from core.clock import monotonic_s
from core.clusters.vault.public_key import PublicKey
from core.clusters.vault.terminal import seal_to_daemon
from core.commands.arguments import ARGUMENTS, SEALED, Arguments, plain
from core.db import notify
from core.errors import Conflict, InputFault, SecretFault, Unknown
from core.secret import Secret

WAIT_S = 60.0
REREAD_S = 0.5
"""Behind a pooler LISTEN stays silent, so the row is read again without being told."""
TAKEN_UP_S = 2.0
"""A daemon that runs takes a command up in milliseconds; after this long we look for one."""
TELL_S = 3.0
DAEMON_SEEN_S = 60
WHY_CHARS_MAX = 1000
PERSON_CHARS_MAX = 255
ARGUMENTS_BYTES_MAX = 64 * 1024
SEALED_BYTES_MAX = 1024 * 1024
"""As the table's own checks say, which hold for whoever writes there without asking us."""

State = Literal["submitted", "working", "done", "refused", "failed"]
ENDED: Final = frozenset({"done", "refused", "failed"})

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Outcome:
    """What is known of a command now: `result` when it is done, `error` when it was not.

    `waits` says in a sentence why it has not ended yet; of one that was put back `error` says why.
    """

    command_id: int
    state: State
    result: dict[str, Any] | None
    error: str
    waits: str = ""

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def summary(self) -> str:
        return str((self.result or {}).get("summary", ""))


def submit(
    connection: Connection,
    name: str,
    arguments: Arguments,
    *,
    dry_run: bool = False,
    why: str = "",
    sealed: Mapping[str, Secret] | None = None,
    key: UUID | None = None,
    person: str | None = None,
) -> int:
    """Write the command down and return its id; the daemon is told by the database.

    `sealed` holds secrets in the open: they leave this function only sealed to the daemon's public
    key, for this command and submitter. The same `key` again is the same command.
    """
    assert type(arguments) is ARGUMENTS[name], f"{name} takes {ARGUMENTS[name].__name__}"
    key = key or uuid4()
    given = json.dumps(plain(arguments))
    blobs = _seal(connection, name, arguments, key, person, sealed or {})
    _require_small(
        ("The reason", len(why), WHY_CHARS_MAX, "characters"),
        ("The user's id", len(person or ""), PERSON_CHARS_MAX, "characters"),
        ("What was given", len(given), ARGUMENTS_BYTES_MAX, "bytes"),
        ("What is sealed", len(blobs or ""), SEALED_BYTES_MAX, "bytes"),
    )
    row = connection.execute(
        "INSERT INTO hopsmeter.commands (key, person, name, arguments, sealed, dry_run, why)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (key) DO NOTHING RETURNING id",
        [key, person, name, given, blobs, dry_run, why],
    ).fetchone()
    if row is None:
        return _already(connection, key, person, name, given, dry_run=dry_run)
    return int(row[0])


def _require_small(*sizes: tuple[str, int, int, str]) -> None:
    for what, size, most, unit in sizes:
        if size > most:
            sentence = f"{what} has {size} {unit}; at most {most} are taken. Nothing was sent."
            raise InputFault(sentence)


def submitter(role: str, person: str | None) -> str:
    """Return whom a sealed secret is bound to: the role, and whom it speaks for."""
    return f"{role} as {person}" if person else role


def outcome(connection: Connection, command_id: int) -> Outcome:
    """Read what became of a command until now."""
    row = connection.execute(
        "SELECT state, result, coalesce(error, '') FROM hopsmeter.commands WHERE id = %s",
        [command_id],
    ).fetchone()
    if row is None:
        raise Unknown(f"There is no command {command_id}.")
    return Outcome(command_id, *row)


def wait(
    connection: Connection,
    command_id: int,
    timeout_s: float = WAIT_S,
    *,
    tell: Callable[[Outcome], None] = lambda _: None,
) -> Outcome:
    """Wait until the command has ended; earlier only where no daemon is there to take it.

    `tell` is called once, where it takes longer than people wait without a word.
    The connection must be in autocommit: what others commit is seen only between transactions.
    """
    started_s = monotonic_s()
    told = False
    notify.listen(connection, notify.ENDED)
    try:
        while True:
            found = outcome(connection, command_id)
            waited_s = monotonic_s() - started_s
            if found.ended:
                return found
            untouched = found.state == "submitted" and waited_s >= min(TAKEN_UP_S, timeout_s)
            if untouched and not daemon_seen(connection):
                return _waiting(found, "it waits; start hopsmeterd")
            if waited_s >= timeout_s:
                return _waiting(found, f"it is not finished after {timeout_s:g} s; it goes on")
            if not told and waited_s >= TELL_S:
                told = True
                tell(found)
            pause_s = min(REREAD_S, timeout_s - waited_s)
            notify.wait(connection, pause_s)
    finally:
        if not connection.closed:
            connection.execute("UNLISTEN hopsmeter_ended")


def daemon_seen(connection: Connection) -> bool:
    """Say whether a daemon gave a sign of life a short while ago, and has not stopped since."""
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM hopsmeter.daemons WHERE stopped_at IS NULL"
        " AND seen_at > now() - make_interval(secs => %s))",
        [DAEMON_SEEN_S],
    ).fetchone()
    return bool(row and row[0])


def _waiting(found: Outcome, why: str) -> Outcome:
    because = f", {found.error}" if found.error else ""
    sentence = f"Command {found.command_id} is {found.state}: {why}{because}."
    return Outcome(found.command_id, found.state, None, "", sentence)


def _seal(
    connection: Connection,
    name: str,
    arguments: Arguments,
    key: UUID,
    person: str | None,
    secrets: Mapping[str, Secret],
) -> str | None:
    """Return {field: base64 blob} as JSON, None where there is no secret."""
    assert SEALED.get(name, frozenset()).issuperset(secrets), f"{name} brings no such secret"
    if not secrets:
        return None
    row = connection.execute(
        "SELECT session_user, (SELECT public_key FROM hopsmeter.secret_keys WHERE is_primary)"
    ).fetchone()
    assert row is not None
    role, public_key = row
    if public_key is None:
        raise SecretFault(
            "The daemon has not published its public key yet; start hopsmeterd once, then try"
            " again. Nothing was sent."
        )
    cluster: str = getattr(arguments, "cluster")  # noqa: B009 - the base Struct has no such field
    blobs = {
        field: base64.b64encode(
            seal_to_daemon(
                PublicKey.from_text(public_key),
                secret,
                command_id=str(key),
                cluster=cluster,
                field=field,
                submitter=submitter(role, person),
            )
        ).decode()
        for field, secret in secrets.items()
    }
    return json.dumps(blobs)


def _already(
    connection: Connection, key: UUID, person: str | None, name: str, given: str, *, dry_run: bool
) -> int:
    row = connection.execute(
        "SELECT id, role = session_user AND name = %s AND arguments = %s AND dry_run = %s"
        " AND person IS NOT DISTINCT FROM %s FROM hopsmeter.commands WHERE key = %s",
        [name, given, dry_run, person, key],
    ).fetchone()
    assert row is not None, "a key that collides is there"
    if not row[1]:
        raise Conflict(f"The key {key} belongs to another command already. Nothing was changed.")
    return int(row[0])
